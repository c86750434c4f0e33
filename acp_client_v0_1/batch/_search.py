"""The search that tells which runs of a batch are still pending, as far as a server can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acp_client_v0_1.batch._tasks import BATCH_KEY, Plan
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._patience import is_passing
from acp_client_v0_1.models.run_search_request import RunSearchRequest
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1.api.runs_api import RunsApi
    from acp_client_v0_1.batch._gate import Gate

__all__ = ["PendingRuns"]

_MOST_MISTAKES = 100  # until a search is not believed that is wrong more often than right
_PAGE = 1000  # runs; the most that a search gives
_OVERLAP = 100  # runs by which the pages of a search may move while it is read
_SPARE_PAGES = 10  # that a search may have beyond those that the runs in flight fill
_SECONDS = 10.0  # for one page


class PendingRuns:
    """Searches for the runs of a batch that are pending.

    Args:
        plan: What the runs share.
        runs: What searches.
        gate: What each request waits for.

    Attributes:
        usable: False once the server is known not to search, or to be wrong.
        hits: How many runs were taken for ended, and were.
        mistakes: How many were not.
    """

    def __init__(self, plan: Plan, runs: RunsApi, gate: Gate) -> None:
        self._plan = plan
        self._runs = runs
        self._gate = gate
        self.usable = True
        self.hits = self.mistakes = 0

    def find(self, expected: int) -> set[str] | None:
        """Search once, in pages that overlap, as each run that ends moves those after it.

        Args:
            expected: About how many there are.

        Returns:
            The ids of the runs, None if they are not to be had.
        """
        if not self.usable:
            return None
        wanted: dict[str, Any] = {
            "agent_id": self._plan.agent_id,
            "status": RunStatus.PENDING,
            "metadata": {BATCH_KEY: self._plan.batch},
            "limit": _PAGE,
        }
        pending: set[str] = set()
        try:
            for number in range(expected // (_PAGE - _OVERLAP) + _SPARE_PAGES):
                self._gate.wait()
                request = RunSearchRequest(**wanted, offset=number * (_PAGE - _OVERLAP))
                page = self._runs.search_runs(request, _SECONDS)
                pending.update(run.run_id for run in page if run.status == RunStatus.PENDING)
                if len(page) < _PAGE:
                    if self.mistakes > max(_MOST_MISTAKES, self.hits):
                        break
                    return pending
        except ApiException as error:
            if is_passing(error):
                self._gate.heed(error)
                return None
        # It fails, finds what is not of this batch, or does not find what is.
        self.usable = False
        return None
