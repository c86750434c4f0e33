"""Every match of a search, once, in pages.

Strategy: ACP 0.1 pages by offset and promises neither an order nor a snapshot, so a record that is
created or deleted between two pages moves the others. Pages overlap by one record, the anchor. A
page that begins with the anchor follows the last page. If the anchor comes later in the page,
records were inserted before it. If it is not there, records before it were deleted, and pages
before are read again until one has it. Anything else is drift. A server whose pages have one record
has no such overlap.

Invariants: whatever the server sends, no record comes twice, and each matches the request. Drift is
detected, not prevented, so collect ids before deleting. The ids of all records are kept, so their
number is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeVar, cast

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

T = TypeVar("T")
Search = Callable[[Mapping[str, Any]], list[T]]

# One page has this many records, the most that the contract allows.
_PAGE = 1000
# A search ends after this many records for each page that it may read, since pages may be small.
_MOST_RECORDS = 100
OnDrift = Literal["raise", "continue"]


class _Kind(NamedTuple):
    """What distinguishes the searches for runs, agents and threads."""

    model: type[BaseModel]
    # This attribute of a record is its id.
    id_name: str
    # Each condition of a request is compared with this attribute of a record.
    places: Mapping[str, str]
    most_pages: int = 10_000


_RUNS = _Kind(
    RunSearchRequest,
    "run_id",
    {"agent_id": "agent_id", "status": "status", "metadata": "creation.metadata"},
)
_NAMES = {"name": "metadata.ref.name", "version": "metadata.ref.version"}
_AGENTS = _Kind(AgentSearchRequest, "agent_id", _NAMES, most_pages=1_000)
_THREADS = _Kind(ThreadSearchRequest, "thread_id", {"agent_id": "agent_id", "metadata": "metadata"})

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
    return _every(runs_api.search_runs, _RUNS, request, on_drift)


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
    return _every(agents_api.search_agents, _AGENTS, request, on_drift)


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
    return _every(threads_api.search_threads, _THREADS, request, on_drift)


def _matches(request: Mapping[str, Any], record: object, places: Mapping[str, str]) -> bool:
    """Return whether a record meets the conditions of a request, which a server may ignore."""
    for name, place in places.items():
        wanted = to_jsonable_python(request.get(name))
        if wanted is None:
            continue
        found = attrgetter(place)(record)
        if isinstance(wanted, dict):
            keys, members = cast("dict[str, Any]", wanted), cast("Mapping[str, Any]", found or {})
            found = {key: value for key, value in members.items() if key in keys}
        if found != wanted:
            return False
    return True


def _every(
    search: Search[T], kind: _Kind, request: BaseModel | Mapping[str, Any] | None, on_drift: OnDrift
) -> Iterator[T]:
    if request is None or isinstance(request, Mapping):
        request = constructed("request", kind.model, request or {})
    if not isinstance(request, kind.model):
        raise wrong_type("request", f"a {kind.model.__name__} or dict", request)
    check_arguments("on_drift", on_drift=on_drift)
    fields = {name: getattr(request, name) for name in request.model_fields_set}
    return _records(search, kind, fields, on_drift == "raise")


def _records(search: Search[T], kind: _Kind, request: dict[str, Any], raises: bool) -> Iterator[T]:
    id_of = attrgetter(kind.id_name)
    # One record of each page is of the page before.
    limit = max(2, request.get("limit") or _PAGE)
    pages, warned = 0, False

    def read(offset: int) -> dict[str, T]:
        """Return the records of a page by their ids, in the order of the server."""
        nonlocal pages
        if pages >= kind.most_pages or len(seen) >= _MOST_RECORDS * kind.most_pages:
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
        index = ids.index(anchor) if anchor in page else -1
        if overlaps and index < 0:
            note_drift(f"the record {short(anchor)} is not where it was")
        again = next((name for name in ids[index + 1 :] if name in seen), None)
        if again is not None:
            note_drift(f"the record {short(again)} came again")
        new = [name for name in ids if name not in seen]
        seen.update(new)
        for name in new:
            if _matches(request, page[name], kind.places):
                yield page[name]
            elif not warned:
                warned = True
                unwanted = f"{kind.id_name} {short(name)}"
                _log.warning(
                    "the server ignores conditions of the search: %s does not match", unwanted
                )
        if index <= 0 and index + 1 == len(ids):
            # The page has nothing after the anchor, so it is the last one.
            return
        if not new and ids == last:
            note_drift("the server returns the same page for another offset")
            return
        offset, anchor = offset + max(1, len(ids) - 1), ids[-1]
