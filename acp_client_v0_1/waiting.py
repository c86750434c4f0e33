"""Waiting for the output of a run, with or without a deadline.

In a *long poll*, the server holds the request until there is an output, but for no longer than its
*window*. A wait is a sequence of long polls under one deadline. No window is longer than the time
that remains. `handles` decides what follows after each poll.

Invariants: a wait ends with an output, with an error that waiting cannot mend, or with
`RunWaitTimeout` at the deadline plus scheduling noise. Threads share no state of a wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from acp_client_v0_1._arguments import check_arguments
from acp_client_v0_1._operation import identifier
from acp_client_v0_1.api import RunsApi
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._polls import Polls
from acp_client_v0_1.models import RunOutput, RunStatus

__all__ = ["wait_for_run_output"]


def wait_for_run_output(
    runs_api: RunsApi,
    run_id: str,
    *,
    timeout: float | None = None,
    block_timeout: int = 30,
    on_pending: Callable[[float, RunStatus], object] | None = None,
    stop: threading.Event | None = None,
) -> RunOutput:
    """Wait until a run has an output, and return it: a result, an interrupt or an error.

    The wait survives failures that may pass (a broken connection, a server that is busy or
    fails), with a backoff or after ``Retry-After``.

    Args:
        runs_api: The operations to call.
        run_id: The run.
        timeout: Seconds to wait at most. 0 asks once. By default there is no limit, but if all
            requests fail for five minutes, the wait ends with the last error.
        block_timeout: Seconds for which the server may hold each request, a whole number.
        on_pending: Called after each request that brought no output, even if the request failed,
            and every ``block_timeout`` seconds. The arguments are the seconds elapsed and the run's
            last known status, at first ``pending``. An exception of this function ends the wait.
        stop: When set, ends the wait within about a second.

    Raises:
        RunWaitTimeout: There was no output in time, or ``stop`` was set, or the server asked for a
            pause beyond ``timeout``.
        RunGone: The server does not know the run.
        ApiException: The server refused a request. Without a ``timeout``, also if all requests
            failed for five minutes, or if the server asked for a longer pause than that.
        ApiValueError: ``timeout`` is below 0, or ``block_timeout`` below 1.
        ApiTypeError: An argument has the wrong type.
    """
    check_arguments("runs_api", "block_timeout", runs_api=runs_api, block_timeout=block_timeout)
    check_arguments(on_pending=on_pending, stop=stop, timeout=timeout)
    core = RunCore(runs_api, identifier("run_id", run_id))
    wait = core.wait(timeout, stop, on_pending=on_pending, every=block_timeout)
    return core.named(Polls(core, wait, block_timeout).output)
