"""Every match of a search, once, in pages.

Strategy: ACP 0.1 pages by offset, and promises neither an order nor a snapshot. So a record that is
created or deleted between two pages moves the records after it. Pages overlap by one record, the
anchor: the last record of a page should be the first record of the next page.

- If the page begins with the anchor, nothing has moved.
- If the anchor comes later in the page, records were inserted before it.
- If the anchor is not in the page, records before it may have been deleted. So earlier pages are
  read again, until a page has a record that was seen before.
- If this earlier page does not have the anchor either, the search has drifted. It has also drifted
  if a record after the anchor was seen before.

If a page has only one record, the next page does not overlap with this page, and need not have the
anchor.

Invariants: whatever the server sends, no record is handed out twice, and each record matches the
request. Drift is detected, not prevented. So if you want to delete the records, collect all their
ids first. The ids of all records are kept in memory, so the number of records is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from acp_client_v0_1 import models
from acp_client_v0_1._arguments import check_arguments, wrong_type
from acp_client_v0_1._operation import constructed
from acp_client_v0_1._text import package_logger, short
from acp_client_v0_1.api import AgentsApi, RunsApi, ThreadsApi
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._match import plain_id
from acp_client_v0_1.handles.errors import SearchDrift

__all__ = ["iter_agents", "iter_runs", "iter_threads"]

T = TypeVar("T")
Search = Callable[[Mapping[str, Any]], list[T]]

# How many records one page has: the most that the contract allows.
LARGEST_PAGE = 1000
# A search reads at most `most_pages` pages, and at most `_AVERAGE_PAGE * most_pages` records.
# `most_pages` is large because a server may send small pages.
_AVERAGE_PAGE = 100
OnDrift = Literal["raise", "continue"]


class _Agent(Protocol):
    """An AgentHandle, whose module imports this one."""

    agent_id: str


class _Kind(NamedTuple):
    """What distinguishes the searches for runs, agents and threads."""

    model: type[BaseModel]
    # The name of the attribute that has a record's id.
    id_name: str
    # For each condition of a request, the attribute of a record that has to match.
    attributes: Mapping[str, str]
    most_pages: int = 10_000


_OF_RUN = {"agent_id": "agent_id", "status": "status", "metadata": "creation.metadata"}
_OF_AGENT = {"name": "metadata.ref.name", "version": "metadata.ref.version"}
_OF_THREAD = {"agent_id": "agent_id", "metadata": "metadata"}
_RUNS = _Kind(models.RunSearchRequest, "run_id", _OF_RUN)
_AGENTS = _Kind(models.AgentSearchRequest, "agent_id", _OF_AGENT, most_pages=1_000)
_THREADS = _Kind(models.ThreadSearchRequest, "thread_id", _OF_THREAD)

_log = package_logger(__name__)


def iter_runs(
    runs_api: RunsApi | ApiClient,
    request: models.RunSearchRequest | Mapping[str, Any] | None = None,
    *,
    agent: _Agent | None = None,
    status: models.RunStatus | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    on_drift: OnDrift = "raise",
) -> Iterator[models.Run]:
    """Return an iterator over every run that matches, once, in the order of the server.

    The iterator searches a page at a time. Its ``next()`` may raise `SearchDrift`, and the errors
    of `RunsApi.search_runs`. Runs that the server returns although they do not match are left out,
    with a warning in the log. A search that does not end raises `ApiException` after 10,000 pages
    or a million runs. The iterator keeps the current page, and the ids of all runs, about 120 bytes
    for each run.

    Example:
        >>> for run in iter_runs(client, status="error", metadata={"job": "nightly"}):
        ...     print(RunHandle.of(run, client).failure().description)
        no luck

    Args:
        runs_api: The client, or its operations on runs.
        request: Which runs; None for all. Its ``limit``, 1000 if not set, is the size of a page.
            A limit of 1 counts as 2. Its ``offset`` is the offset of the first run.
        agent: Only runs of this agent, an `AgentHandle`. This condition and the next two override
            those of the request.
        status: Only runs in this status, such as "error".
        metadata: Only runs that have all of these keys and values.
        on_drift: What to do if records moved, so that some may be left out: "raise" a
            `SearchDrift`, or "continue" with the records that there are.

    Raises:
        ApiTypeError: ``runs_api`` is no client and no RunsApi, ``agent`` not an AgentHandle, or
            ``request`` neither a RunSearchRequest nor a dict.
        ApiValueError: A condition does not fit, or ``on_drift`` is not one of the two.
    """
    search = _operations(RunsApi, "runs_api", runs_api).search_runs
    check_arguments(agent=agent)
    agent_id = None if agent is None else agent.agent_id
    conditions = {"agent_id": agent_id, "status": status, "metadata": metadata}
    return _every(search, _RUNS, request, on_drift, conditions)


def iter_agents(
    agents_api: AgentsApi | ApiClient,
    request: models.AgentSearchRequest | Mapping[str, Any] | None = None,
    *,
    on_drift: OnDrift = "raise",
) -> Iterator[models.Agent]:
    """Return an iterator over every agent that matches, once, as `iter_runs` does.

    A search that does not end raises `ApiException` after 1,000 pages or 100,000 agents.

    Args:
        agents_api: The client, or its operations on agents.
        request: Which agents; None for all. Its ``limit``, 1000 if not set, is the size of a page.
            A limit of 1 counts as 2.
        on_drift: "raise" or "continue", as for `iter_runs`.

    Raises:
        ApiTypeError: ``agents_api`` is no client and no AgentsApi, or ``request`` neither an
            AgentSearchRequest nor a dict.
        ApiValueError: ``request`` does not fit, or ``on_drift`` is not one of the two.
    """
    search = _operations(AgentsApi, "agents_api", agents_api).search_agents
    return _every(search, _AGENTS, request, on_drift, {})


def iter_threads(
    threads_api: ThreadsApi | ApiClient,
    request: models.ThreadSearchRequest | Mapping[str, Any] | None = None,
    *,
    on_drift: OnDrift = "raise",
) -> Iterator[models.Thread]:
    """Return an iterator over every thread that matches, once, as `iter_runs` does.

    Args:
        threads_api: The client, or its operations on threads.
        request: Which threads; None for all. Its ``limit``, 1000 if not set, is the size of a page.
            A limit of 1 counts as 2.
        on_drift: "raise" or "continue", as for `iter_runs`.

    Raises:
        ApiTypeError: ``threads_api`` is no client and no ThreadsApi, or ``request`` neither a
            ThreadSearchRequest nor a dict.
        ApiValueError: ``request`` does not fit, or ``on_drift`` is not one of the two.
    """
    search = _operations(ThreadsApi, "threads_api", threads_api).search_threads
    return _every(search, _THREADS, request, on_drift, {})


def _operations(kind: Callable[[Any], T], name: str, given: T | ApiClient) -> T:
    """Return the operations of a client, or those that were given."""
    operations: Any = kind(given) if hasattr(given, "rest_client") else given
    check_arguments(name, **{name: operations})
    return cast(T, operations)


def _matches(request: Mapping[str, Any], record: object, attributes: Mapping[str, str]) -> bool:
    """Return whether a record meets the conditions of a request. A server may ignore them."""
    for name, attribute in attributes.items():
        wanted = to_jsonable_python(request.get(name))
        if wanted is None:
            continue
        found = attrgetter(attribute)(record)
        if isinstance(wanted, dict):
            keys, members = cast("dict[str, Any]", wanted), cast("Mapping[str, Any]", found or {})
            found = {key: value for key, value in members.items() if key in keys}
        elif name == "agent_id":
            found, wanted = plain_id(found), plain_id(wanted)
        if found != wanted:
            return False
    return True


def _matching(records: Iterator[T], request: Mapping[str, Any], kind: _Kind) -> Iterator[T]:
    """Yield the records that meet the conditions of a request. Warn of the first other one."""
    warned = False
    for record in records:
        if _matches(request, record, kind.attributes):
            yield record
        elif not warned:
            warned = True
            words = "the server ignores conditions of the search: %s %s does not match"
            _log.warning(words, kind.id_name, short(attrgetter(kind.id_name)(record)))


def _every(
    search: Search[T],
    kind: _Kind,
    request: BaseModel | Mapping[str, Any] | None,
    on_drift: OnDrift,
    conditions: Mapping[str, Any],
) -> Iterator[T]:
    """Check the arguments of a search, and return its iterator."""
    if request is None or isinstance(request, Mapping):
        request = constructed("request", kind.model, request or {})
    if not isinstance(request, kind.model):
        raise wrong_type("request", f"a dict or {kind.model.__name__}", request)
    check_arguments("on_drift", on_drift=on_drift)
    given = {name: value for name, value in conditions.items() if value is not None}
    asked = [request, constructed("the search", kind.model, given)]
    fields = {name: getattr(each, name) for each in asked for name in each.model_fields_set}
    return _matching(_records(search, kind, fields, on_drift == "raise"), fields, kind)


def _page(
    search: Search[T], kind: _Kind, request: Any, seen: set[str], count: Iterator[int], offset: int
) -> dict[str, T]:
    """Return the records of a page by their ids, in the order of the server."""
    pages = next(count)
    if pages >= kind.most_pages or len(seen) >= _AVERAGE_PAGE * kind.most_pages:
        raise ApiException(
            reason=f"the search does not end: the server sent {pages:,} pages with "
            f"{len(seen):,} records, and has more; search with more conditions"
        )
    # Pages overlap by one record, so each needs at least two.
    limit = max(2, request.get("limit") or LARGEST_PAGE)
    page = search({**request, "limit": limit, "offset": offset})
    return {attrgetter(kind.id_name)(record): record for record in page}


def _records(search: Search[T], kind: _Kind, request: dict[str, Any], raises: bool) -> Iterator[T]:
    """Search page by page, and yield each record only once."""

    def report_drift(why: str) -> None:
        if raises:
            raise SearchDrift(offset=offset, why=why)

    seen: set[str] = set()
    read = partial(_page, search, kind, request, seen, count())
    offset = start = request.get("offset") or 0
    anchor, ids, count_at_rewind = "", list[str](), 0
    while True:
        page, last = read(offset), ids
        overlaps = len(last) > 1
        if overlaps and anchor not in page and len(seen) > count_at_rewind:
            # If records before the anchor are gone, the anchor is on an earlier page now. So the
            # search goes back. It does not go back a second time until it has found new records.
            count_at_rewind = len(seen)
            while offset > start and seen.isdisjoint(page):
                offset = max(start, offset - len(last) + 1)
                page = read(offset)
        ids = list(page)
        index = ids.index(anchor) if anchor in page else -1
        if overlaps and index < 0:
            report_drift(f"the record {short(anchor)} is not where it was")
        again = next((name for name in ids[index + 1 :] if name in seen), None)
        if again is not None:
            report_drift(f"the record {short(again)} came again")
        new = [name for name in ids if name not in seen]
        seen.update(new)
        yield from map(page.__getitem__, new)
        if index <= 0 and index + 1 == len(ids):
            # The page is empty, or has only the anchor. So it is the last page.
            return
        if not new and ids == last:
            report_drift("the server returns the same page for another offset")
            return
        offset, anchor = offset + max(1, len(ids) - 1), ids[-1]
