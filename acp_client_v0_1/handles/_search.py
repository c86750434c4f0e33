"""The search for the runs with a mark, also at servers that hide marks or ignore metadata.

Strategy: the server is asked for the runs whose metadata has the mark.

- If it finds runs that show the mark, these are the runs.
- If all that it finds hide their marks, a control follows: a search for a mark that no run has. If
  the control finds nothing, the server compares metadata, so what it has found before are the runs.
- In all other cases the server ignores metadata, or refuses to search for it. Then the agent's runs
  are read page by page. If none of them shows the mark, and some hide theirs, nobody knows.

That nothing was found proves that there is no run only if the server is known to compare marks.
Otherwise `prove` looks for a run that the server has given us, by the mark of that run. If the
server does not find it, all runs are read.

Invariant: each `Search.send` sends one request. So each request takes a turn and can be repeated,
and what was found before is kept meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._known import utc
from acp_client_v0_1.handles._marks import Mark, by_key, new_client_token
from acp_client_v0_1.handles._match import is_of, may_repeat
from acp_client_v0_1.handles._rules import Pause
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._wait import Contact
from acp_client_v0_1.models import Run, RunSearchRequest

# How many runs one page of a search has: the most that the contract allows.
_PAGE = 1000
# How many pages of a search are read at most.
_PAGES = 10
# `Health.lacks` contains this name if the server does not search by metadata.
_NO_METADATA = "search by metadata"

# The local time of a server is behind UTC by at most this many seconds.
_ZONES = 12 * 3600

_NEXT = Pause(0.0)


class Search:
    """One search for the runs with a mark.

    Args:
        contact: How to reach the server.
        mark: The mark.
        agent_id: Only runs of this agent are found. An empty one stands for any agent.
        since: Runs that were created before this time, in seconds since the epoch, have another
            mark, even if they hide it. The server's clock may be slow.
    """

    # Tells whether a run is one of the runs, whatever its mark is.
    proves: Callable[[Run], bool] | None = None

    # Whether the runs that were found show the mark.
    proven: bool = False
    # Why nobody knows whether there is a run, after a pass for which that is so.
    nobody_knows: str = ""
    # Whether the search by the mark has failed, so that each pass reads all runs.
    fails: bool = False

    def __init__(
        self, contact: Contact, mark: Mark, agent_id: str, since: float = -math.inf
    ) -> None:
        self._contact, self._mark, self._agent_id = contact, mark, agent_id
        self._since, self._habits = since, contact.health.marks
        self.begin()

    def begin(self) -> None:
        """Let the next `send` begin another pass of the search."""
        self._first, self._offset, self._pages, self._hides = list[Run](), 0, 0, False
        # Whether all runs were read, and none of them can have the mark.
        self.is_certain: bool = False
        # Whether there were more runs than are read.
        self.too_many: bool = False
        # Sends the next request. Returns the runs with the mark, oldest first, or a `Pause`.
        self.send: Callable[[float], list[Run] | Pause] = self._by_mark
        if self.fails or self._knows("ignores") or _NO_METADATA in self._contact.health.lacks:
            self.read_pages()

    @property
    def _is_unique(self) -> bool:
        """Whether no other run can have such a mark by chance.

        A client token of a caller may share a word with another one. So what a search for it shows
        holds for this client token alone.
        """
        return self.proves is None and self._mark.is_random

    @property
    def by_mark(self) -> bool:
        """Whether the next request asks for the mark."""
        return self.send == self._by_mark

    def read_pages(self) -> None:
        """Read all runs of the agent from now on."""
        self.send = self._by_page

    @property
    def compares(self) -> bool:
        """Whether the server is known to find a run by its mark, if there is one."""
        return self._knows("compares") or self._habits.has_kept(self._mark.key, self._agent_id)

    def prove(self) -> None:
        """Let the next `send` find out whether an empty answer shows that there is no run.

        The server may drop all metadata, so that it finds no run by any mark.
        """
        self.begin()
        self.send = self._by_given

    # The steps

    def _by_mark(self, limit: float) -> list[Run] | Pause:
        try:
            page = self._page(limit, metadata=by_key(self._mark))
        except ApiException as error:
            refused = failure_of(error).kind in ("lacks", "missing", "refused")
            if error.status is None or not refused:
                raise
            self._contact.health.lacks.add(_NO_METADATA)
            self.read_pages()
            return _NEXT
        ours, hidden, strange = self._sort(page)
        if ours or not (hidden or strange):
            self.nobody_knows = ""
            return ours
        # If the server ignores metadata, this is the first page of all runs.
        self._first = page
        if strange:
            return self._take(page)
        if self._is_unique and self._knows("compares"):
            return hidden
        self.send = self._control
        return _NEXT

    def _by_given(self, limit: float) -> list[Run] | Pause:
        """Search for a run that the server has given us. If it is not found, read all runs."""
        known = self._habits.given.get((self._agent_id, self._mark.key))
        if known is None:
            return self._by_page(limit)
        # If the server ignores metadata, it has found any runs that came after the search before.
        self.read_pages()
        if self._page(limit, metadata=by_key(known)):
            self.send = self._control
        return _NEXT

    def _control(self, limit: float) -> list[Run] | Pause:
        key, value, _ = self._mark
        # Servers limit the length of values.
        ending = new_client_token()[:16]
        if self._mark.is_random:
            # A full-text search would find the run by a part of its mark.
            value = value.replace("-", f"{ending}-")
        ignores = self._page(limit, metadata={key: value + ending}, limit=1)
        if self._is_unique:
            self._note("ignores" if ignores else "compares")
        if not ignores:
            return self._sort(self._first)[1]
        self.read_pages()
        return self._take(self._first) if self._first else _NEXT

    def _by_page(self, limit: float) -> list[Run] | Pause:
        return self._take(self._page(limit, offset=self._offset))

    def _take(self, page: list[Run]) -> list[Run] | Pause:
        """Look for the runs in a page of all runs."""
        ours, hidden, _ = self._sort(page, self._may_be_ours)
        if ours:
            return ours
        self.read_pages()
        self._hides |= bool(hidden)
        self._offset, self._pages = self._offset + len(page), self._pages + 1
        if page and self._pages < _PAGES:
            return _NEXT
        self.too_many = bool(page)
        full = f"the run is not among the first {self._offset} that were found"
        hides = "the server hides client tokens and does not search for them" if self._hides else ""
        self.nobody_knows = full if page else hides
        self.is_certain = not self.nobody_knows
        return []

    def _page(self, seconds: float, limit: int = _PAGE, **conditions: Any) -> list[Run]:
        """Ask for a page of the agent's runs that meet the conditions."""
        agent_id, timeout = self._agent_id or None, None if seconds == math.inf else seconds
        request = RunSearchRequest(agent_id=agent_id, limit=limit, **conditions)
        return self._contact.runs.search_runs(request, _request_timeout=timeout)

    def _note(self, fact: str) -> None:
        self._habits.facts.add((fact, self._agent_id, self._mark.key))

    def _knows(self, fact: str) -> bool:
        return (fact, self._agent_id, self._mark.key) in self._habits.facts

    def _sort(
        self, page: list[Run], may_be_ours: Callable[[Run], bool] = lambda _: True
    ) -> tuple[list[Run], list[Run], bool]:
        """Return the runs with the mark, the runs that may have it, and whether there are others.

        The runs are the oldest first. Some servers search by metadata alone, so a run of another
        agent with a caller's client token does not count. But a server may name the agent in
        another way, so a run that shows a unique mark counts.
        """
        mark, agent_id = self._mark, self._agent_id
        ours, hidden, strange = list[Run](), list[Run](), False
        for run in sorted(page, key=lambda run: (utc(run.created_at), run.run_id)):
            if not is_of(run, agent_id or None) and not (self._is_unique and mark.shown_by(run)):
                strange |= not mark.shown_by(run)
                continue
            proven = self.proves is not None and self.proves(run)
            shown = proven or self._habits.shows(mark, run, agent_id, "search")
            if shown:
                ours.append(run)
            elif shown is None and may_be_ours(run):
                hidden.append(run)
            else:
                strange = True
        self.proven = bool(ours)
        return ours, hidden, strange

    def _may_be_ours(self, run: Run) -> bool:
        """Tell whether a run that hides its mark may have this mark.

        It cannot if it was created before the create of the mark was posted, or if an earlier
        create was given its id, which is not given twice.
        """
        habits = self._habits
        # Some servers write the first day of year 1, or of 1970, for a time that they do not know.
        created = utc(run.created_at)
        # Without an offset, it may be the time of any zone.
        behind = timing().slow_clock + (0 if run.created_at.tzinfo else _ZONES)
        older = created.year > 1970 and created.timestamp() < self._since - behind
        unique = not may_repeat(run.run_id)
        return not older and not (unique and habits.made_for_another(run.run_id, self._mark))
