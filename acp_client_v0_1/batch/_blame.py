"""Whose failure it is, if a request about one run of a batch has failed for an outage.

Strategy: the same request is sent once for a run that has ended, and whose output the server has
served before. If the server serves it again, the failed request is sent once more, and only its
failure is an outcome of the run. If the server does not serve it, or if there is no such run, the
error ends the batch, and the run stays open. So one run that always fails costs one item, and an
outage costs none.
"""

from __future__ import annotations

from collections.abc import Callable

from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._rules import LAST_TRY, Caller, Decided
from acp_client_v0_1.handles._wait import Wait
from acp_client_v0_1.models import Run, RunOutput


class Blame:
    """Finds out whose failure an error is, for the runs of one batch."""

    def __init__(self, wait: Callable[[Caller], Wait], served: str) -> None:
        self._wait = wait
        # The id of a run that has ended, in this call or an earlier one, and whose output the
        # server has served, or "".
        self.served: str = served

    def last_try(self, core: RunCore, failed: Decided) -> RunOutput | Run | None:
        """Send a failed request once more, if the server serves it for another run.

        Return what the server returned, or raise the error. It is of "run" if only this run fails,
        and of "all" if it ends the batch.
        """
        error = failed.error
        try:
            if not self.served:
                raise failed
            self._send(RunCore(core.runs, self.served), failed)
        except (ApiException, Decided):
            raise Decided(error, "all") from None
        try:
            return self._send(core, failed)
        except Decided as last:
            last.error.attempts, last.error.elapsed = error.attempts + 1, error.elapsed
            raise Decided(last.error, "all" if last.whose == "all" else "run") from None

    def _send(self, core: RunCore, failed: Decided) -> RunOutput | Run | None:
        """Send the failed request once for a run. If it gets a limit, send it again."""
        wait = self._wait(LAST_TRY)
        return core.read(wait) if failed.whose == "look" else core.output_now(wait)
