"""Every match of a search, once, in pages.

Strategy: ACP 0.1 pages by offset and promises neither an order nor a snapshot, so a record that is
created or deleted between two pages moves the others. Pages overlap by one record, the anchor. A
page that begins with the anchor follows the last page. If the anchor comes later in the page,
records were inserted before it. If it is not there, records before it were deleted, and pages
before are read again until one has it. Anything else is drift. A server whose pages have one record
has no such overlap.

Invariants: whatever the server sends, no record comes twice, and each is one that the request asked
for; drift is detected, not prevented. Collect ids before deleting. The ids of all records are kept,
so their number is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from acp_client_v0_1._arguments import check_arguments, wrong_type
from acp_client_v0_1._errors import package_logger, short
from acp_client_v0_1._operation import constructed
from acp_client_v0_1.api.agents_api import AgentsApi
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.api.threads_api import ThreadsApi
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles.errors import SearchDrift
from acp_client_v0_1.models.agent import Agent
from acp_client_v0_1.models.agent_search_request import AgentSearchRequest
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_search_request import RunSearchRequest
from acp_client_v0_1.models.thread import Thread
from acp_client_v0_1.models.thread_search_request import ThreadSearchRequest

__all__ = ["iter_agents", "iter_runs", "iter_threads"]

R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")

_PAGE = 1000  # records, the most that the contract allows
_MOST_PAGES = 10_000
_MOST_PAGES_OF_AGENTS = 1_000
_MOST_RECORDS = 100  # for each of these pages: servers may send fewer than asked
OnDrift = Literal["raise", "continue"]

# Where a record has what a condition of the request is compared with.
_OF_RUN = {"agent_id": "agent_id", "status": "status", "metadata": "creation.metadata"}
_OF_AGENT = {"name": "metadata.ref.name", "version": "metadata.ref.version"}
_OF_THREAD = {"agent_id": "agent_id", "metadata": "metadata"}

_log = package_logger(__name__)


def iter_runs(
    runs_api: RunsApi,
    request: RunSearchRequest | Mapping[str, Any] | None = None,
    *,
    on_drift: OnDrift = "raise",
) -> Iterator[Run]:
    """Return an iterator over every run that matches, once, in the order of the server.

    It searches a page at a time; ``next()`` may raise `SearchDrift`, and the errors of
    `RunsApi.search_runs`. Runs that the server returns although they do not match are left out,
    with a warning in the log. A search that does not end raises `ApiException` after 10,000 pages
    or a million runs. Until then it keeps the page and the ids, about 120 bytes for each run.

    Args:
        runs_api: The operations that search.
        request: Which runs, all if None; its ``limit``, 1000 if not set, is the size of a page,
            its ``offset`` the first record.
        on_drift: "raise" a `SearchDrift` if records moved so that some may be left out, or
            "continue" with the records that there are.

    Raises:
        ApiTypeError: ``runs_api`` is not a RunsApi, or ``request`` neither a RunSearchRequest nor
            a dict.
        ApiValueError: ``request`` does not fit, or ``on_drift`` is not one of the two.
    """
    check_arguments("runs_api", runs_api=runs_api)
    return _every(runs_api.search_runs, RunSearchRequest, request, "run_id", _OF_RUN, on_drift)


def iter_agents(
    agents_api: AgentsApi,
    request: AgentSearchRequest | Mapping[str, Any] | None = None,
    *,
    on_drift: OnDrift = "raise",
) -> Iterator[Agent]:
    """Return an iterator over every agent that matches, once, as `iter_runs` does.

    A search that does not end raises `ApiException` after 1,000 pages or 100,000 agents.

    Args:
        agents_api: The operations that search.
        request: Which agents, all if None; its ``limit``, 1000 if not set, is the size of a page.
        on_drift: "raise" a `SearchDrift`, or "continue".

    Raises:
        ApiTypeError: ``agents_api`` is not an AgentsApi, or ``request`` neither an
            AgentSearchRequest nor a dict.
        ApiValueError: ``request`` does not fit, or ``on_drift`` is not one of the two.
    """
    check_arguments("agents_api", agents_api=agents_api)
    search = agents_api.search_agents
    most = _MOST_PAGES_OF_AGENTS
    return _every(search, AgentSearchRequest, request, "agent_id", _OF_AGENT, on_drift, most)


def iter_threads(
    threads_api: ThreadsApi,
    request: ThreadSearchRequest | Mapping[str, Any] | None = None,
    *,
    on_drift: OnDrift = "raise",
) -> Iterator[Thread]:
    """Return an iterator over every thread that matches, once, as `iter_runs` does.

    Args:
        threads_api: The operations that search.
        request: Which threads, all if None; its ``limit``, 1000 if not set, is the size of a page.
        on_drift: "raise" a `SearchDrift`, or "continue".

    Raises:
        ApiTypeError: ``threads_api`` is not a ThreadsApi, or ``request`` neither a
            ThreadSearchRequest nor a dict.
        ApiValueError: ``request`` does not fit, or ``on_drift`` is not one of the two.
    """
    check_arguments("threads_api", threads_api=threads_api)
    search = threads_api.search_threads
    return _every(search, ThreadSearchRequest, request, "thread_id", _OF_THREAD, on_drift)


def _matches(request: Mapping[str, Any], record: object, places: Mapping[str, str]) -> bool:
    """Return whether a record was asked for, as servers may ignore conditions."""
    for name, place in places.items():
        wanted = to_jsonable_python(request.get(name))
        if wanted is None:
            continue
        found = attrgetter(place)(record)
        if isinstance(wanted, dict):
            asked, has = cast("dict[str, Any]", wanted), cast("Mapping[str, Any]", found or {})
            found = {key: value for key, value in has.items() if key in asked}
        if found != wanted:
            return False
    return True


def _every(
    search: Callable[[Mapping[str, Any]], list[T]],
    model: type[R],
    request: R | Mapping[str, Any] | None,
    id_name: str,
    places: Mapping[str, str],
    on_drift: OnDrift,
    most_pages: int = _MOST_PAGES,
) -> Iterator[T]:
    if isinstance(request, model):
        fields = {name: getattr(request, name) for name in request.model_fields_set}
    elif request is None or isinstance(request, Mapping):
        fields = dict(request or {})
        constructed("request", model, fields)  # which raises if they do not fit
    else:
        raise wrong_type("request", f"a {model.__name__} or dict", request)
    check_arguments("on_drift", on_drift=on_drift)
    records = _records(search, fields, attrgetter(id_name), on_drift == "raise", most_pages)
    return _matching(records, fields, places, id_name)


def _matching(
    records: Iterator[T], request: Mapping[str, Any], places: Mapping[str, str], id_name: str
) -> Iterator[T]:
    warned = False
    for record in records:
        if _matches(request, record, places):
            yield record
        elif not warned:
            warned = True
            named = f"{id_name} {short(getattr(record, id_name))}"
            _log.warning("the server ignores conditions of the search: %s does not match", named)


def _records(
    search: Callable[[Mapping[str, Any]], list[T]],
    request: dict[str, Any],
    id_of: Callable[[T], str],
    raises: bool,
    most_pages: int,
) -> Iterator[T]:
    limit = max(2, request.get("limit") or _PAGE)  # one record of each page is of the last page
    pages = 0

    def read(offset: int) -> dict[str, T]:
        """Return the records of a page by their ids, in the order of the server."""
        nonlocal pages
        if pages >= most_pages or len(seen) >= _MOST_RECORDS * most_pages:
            raise ApiException(
                reason=f"the search does not end: the server sent {pages:,} pages with "
                f"{len(seen):,} records, and has more; search with more conditions"
            )
        pages += 1
        page = search({**request, "limit": limit, "offset": offset})
        return {id_of(record): record for record in page}

    def note_drift(why: str) -> None:
        if raises:
            raise SearchDrift(offset=offset, why=why)

    seen: set[str] = set()
    offset = start = request.get("offset") or 0
    anchor, ids, rewound = "", list[str](), 0
    while True:
        page, last = read(offset), ids
        overlaps = len(last) > 1
        if overlaps and anchor not in page and len(seen) > rewound:
            # Records before the anchor are gone, so it stands in one of the pages before.
            rewound = len(seen)
            while offset > start and seen.isdisjoint(page):
                offset = max(start, offset - len(last) + 1)
                page = read(offset)
        ids = list(page)
        place = ids.index(anchor) if anchor in page else -1
        if overlaps and place < 0:
            note_drift(f"the record {short(anchor)} is not where it was")
        again = next((name for name in ids[place + 1 :] if name in seen), None)
        if again is not None:
            note_drift(f"the record {short(again)} came again")
        fresh = [name for name in ids if name not in seen]
        seen.update(fresh)
        yield from (page[name] for name in fresh)
        if place <= 0 and place + 1 == len(ids):
            return  # nothing comes after the anchor
        if not fresh and ids == last:
            note_drift("the server returns the same page for another offset")
            return
        offset, anchor = offset + max(1, len(ids) - 1), ids[-1]
