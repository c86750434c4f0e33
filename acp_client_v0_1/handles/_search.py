"""The search for the runs with a mark, at servers that hide marks or ignore metadata.

Strategy: the server is asked for the runs whose metadata has the mark.

- If it finds runs that show the mark, these are the runs.
- If all that it finds hide their marks, a control follows: a search for a mark that no run has. If
  the control finds nothing, the server compares metadata, so what it has found before are the runs.
- In all other cases the server ignores metadata, or refuses to search for it. Then the agent's runs
  are read page by page. If none of them has the mark, although some hide theirs, nobody knows.

Invariant: each `Search.send` sends one request. So each request takes a turn and can be repeated,
and what was found before is kept meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._text import short
from acp_client_v0_1.api import RunsApi
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._known import utc
from acp_client_v0_1.handles._marks import Mark, new_client_token
from acp_client_v0_1.handles._match import is_of
from acp_client_v0_1.handles._rules import Pause
from acp_client_v0_1.handles._wait import Contact
from acp_client_v0_1.models import Run, RunSearchRequest

# How many runs one page of a search has: the most that the contract allows.
_PAGE = 1000
# How many pages of a search are read at most.
_PAGES = 10
# `Health.lacks` contains this name if the server does not search by metadata.
_NO_METADATA = "search by metadata"

_NEXT = Pause(0.0)


class Search:
    """One search for the runs with a mark.

    Args:
        contact: How to reach the server.
        mark: The mark.
        agent_id: Only runs of this agent are found. By default runs of any agent are found.
        proves: Tells whether a run is one of the runs whatever its mark is.
        since: Runs that were created before this time, in seconds since the epoch, have another
            mark, even if they hide it.
    """

    def __init__(
        self,
        contact: Contact,
        mark: Mark,
        agent_id: str | None,
        proves: Callable[[Run], bool] | None = None,
        since: float = -math.inf,
    ) -> None:
        self._contact, self._mark, self._agent_id = contact, mark, agent_id
        self._proves, self._since = proves, since
        self._habits, self._agent = contact.health.marks, agent_id or ""
        self.begin()

    def begin(self) -> None:
        """Let the next `send` begin another pass of the search."""
        self._first, self._offset, self._pages, self._hides = list[Run](), 0, 0, False
        # Whether a run whose mark the server hides was searched for by its mark.
        self._tried = False
        # Why nobody knows whether there is a run, after a pass for which that is so.
        self.nobody_knows = ""
        # Whether the pass has read all runs, and none of them can have the mark.
        self.shows_all = False
        # Whether the runs that were found show the mark.
        self.proven = False
        self._step = self._by_page if self.is_blind else self._by_mark

    @property
    def is_blind(self) -> bool:
        """Whether the server is known not to search by metadata."""
        ignores = ("ignores", self._agent) in self._habits.facts
        return ignores or _NO_METADATA in self._contact.health.lacks

    @property
    def by_mark(self) -> bool:
        """Whether the next request asks for the mark, and not for a page of all runs."""
        return self._step == self._by_mark

    def read_pages(self) -> None:
        """Read all runs of the agent from now on."""
        self._step = self._by_page

    def check_known(self) -> None:
        """Raise an error if nobody knows whether there is a run with the mark."""
        if self.nobody_knows:
            words = f"a run with the client token {short(self._mark.value)} may be there or not"
            raise ApiException(reason=f"{words}: {self.nobody_knows}")

    def send(self, limit: float) -> list[Run] | Pause:
        """Send the next request. Return the runs with the mark, oldest first, or a `Pause`."""
        found = self._step(limit)
        if isinstance(found, Pause):
            return found
        return sorted(found, key=lambda run: (utc(run.created_at), run.run_id))

    def prove(self, limit: float) -> list[Run] | Pause:
        """Find out whether an empty answer shows that there is no run; `shows_all` says so then.

        The server may drop all metadata, so that it finds no run by any mark. Return the runs with
        the mark, if the server has them by now.
        """
        habits, agent = self._habits, self._agent
        known = None if self._tried else habits.hidden.get(agent)
        if habits.has_shown(agent) or ("compares", agent) in habits.facts:
            self.shows_all = True
            return []
        if known is not None:
            self._tried = True
            if self._page(limit, metadata=dict([known])):
                habits.facts.add(("compares", agent))
            return _NEXT
        page = self._page(limit)
        ours, hidden, _ = self._sort(page)
        self.shows_all = habits.has_shown(agent) or not (hidden or len(page) >= _PAGE)
        return ours

    def _page(self, seconds: float, limit: int = _PAGE, **conditions: Any) -> list[Run]:
        """Ask for a page of the agent's runs that meet the conditions."""
        request = RunSearchRequest(agent_id=self._agent_id, limit=limit, **conditions)
        timeout = None if seconds == math.inf else seconds
        return self._contact.runs.search_runs(request, _request_timeout=timeout)

    # The steps

    def _by_mark(self, limit: float) -> list[Run] | Pause:
        try:
            page = self._page(limit, metadata=dict([self._mark]))
        except ApiException as error:
            failure = failure_of(error)
            if error.status is None or failure.kind not in ("lacks", "missing", "refused"):
                raise
            self._contact.health.lacks.add(_NO_METADATA)
            self.read_pages()
            return _NEXT
        ours, hidden, strange = self._sort(page)
        if ours or not (hidden or strange):
            return ours
        # If the server ignores metadata, this is the first page of all runs.
        self._first = page
        if strange:
            return self._take(page)
        if ("compares", self._agent) in self._habits.facts:
            return hidden
        self._step = self._control
        return _NEXT

    def _control(self, limit: float) -> list[Run] | Pause:
        nobodys = {self._mark.key: self._mark.value + new_client_token()}
        ignores = self._page(limit, metadata=nobodys, limit=1)
        self._habits.facts.add(("ignores" if ignores else "compares", self._agent))
        return self._take(self._first) if ignores else self._sort(self._first)[1]

    def _by_page(self, limit: float) -> list[Run] | Pause:
        return self._take(self._page(limit, offset=self._offset))

    def _take(self, page: list[Run]) -> list[Run] | Pause:
        """Look for the runs in a page of all runs."""
        ours, hidden, _ = self._sort(page)
        if ours:
            return ours
        self._step = self._by_page
        self._hides |= bool(hidden)
        self._offset += len(page)
        self._pages += 1
        if page and self._pages < _PAGES:
            return _NEXT
        if page:
            self.nobody_knows = f"the run is not among the first {self._offset} that were found"
        elif self._hides:
            self.nobody_knows = "the server hides client tokens and does not search for them"
        self.shows_all = not self.nobody_knows
        return []

    def _sort(self, page: list[Run]) -> tuple[list[Run], list[Run], bool]:
        """Return the runs with the mark, the runs that may have it, and whether there are others.

        A run of another agent with the mark does not count: some servers search by metadata alone.
        """
        habits, mark, agent_id = self._habits, self._mark, self._agent_id
        ours, hidden, strange, others = list[Run](), list[Run](), False, set[str]()
        for run in page:
            if not is_of(run, agent_id):
                strange |= not mark.shown_by(run)
                continue
            proven = self._proves is not None and self._proves(run)
            shown = proven or habits.shows(mark, run, self._agent, "search")
            if shown is None and not hidden:
                others = habits.ids_of_others(mark)
            if shown:
                ours.append(run)
            elif shown is None and run.run_id not in others and not self._is_older(run):
                hidden.append(run)
            else:
                strange = True
        self.proven = bool(ours)
        return ours, hidden, strange

    def _is_older(self, run: Run) -> bool:
        """Tell whether a run was created before the create of the mark was posted."""
        # Some servers write the first day of year 1, or of 1970, for a time that they do not know.
        created = utc(run.created_at)
        return created.year > 1970 and created.timestamp() < self._since


def search_once(runs: RunsApi, mark: Mark, agent_id: str | None) -> list[Run]:
    """Search for the runs with a mark, with the client's own retries. Return them, oldest first.

    If the search by the mark fails, all runs are read instead.
    """
    search = Search(Contact.of(runs)._replace(runs=runs), mark, agent_id)
    while True:
        try:
            found = search.send(math.inf)
        except ApiException as error:
            failure = failure_of(error)
            passes = error.status is None or failure.retry_after or failure.limits
            if passes or not (search.by_mark and failure.is_outage):
                raise
            search.read_pages()
            continue
        if not isinstance(found, Pause):
            search.check_known()
            return found
