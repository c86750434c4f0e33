"""What a server can do, before a script depends on it: `examine`, and ``acp-client doctor``.

Strategy: `_probes` has a table of probes, of which those in `_runs` need an agent. A probe sends
some requests, as a user would, and notes findings. `_report` judges a response by one table, and
the whole server by another. `_words` has what each finding means. `_exam` sends the requests, and
knows the runs of the examination.

Invariants: without an agent, nothing is created. With one, at most `_exam.MOST_RUNS` runs are made,
and none at a server that does not look like ACP 0.1. A run is deleted only if it is this
examination's own, however the examination ends, and a run that may be left is named. Nothing waits
without a limit. A text of a server is one bounded line without control characters.
"""

from acp_client_v0_1.doctor._probes import examine
from acp_client_v0_1.doctor._report import Finding, Report

__all__ = ["Finding", "Report", "examine"]
