"""Every match of a search, once, in pages.

Strategy: ACP 0.1 pages by offset and promises neither an order nor a snapshot, so a record that is
created or deleted between two pages moves the others. Pages overlap by one record, the anchor. A
page that begins with the anchor follows the last page. If the anchor comes later in the page,
records were inserted before it. If it is not there, records before it were deleted, and the last
page is read again. Anything else is drift.

Invariants: no record comes twice; drift is detected, not prevented. Collect ids before deleting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from acp_client_v0_1._operation import constructed
from acp_client_v0_1.api.agents_api import AgentsApi
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.api.threads_api import ThreadsApi
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError
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
OnDrift = Literal["raise", "continue"]


def iter_runs(
    runs_api: RunsApi,
    request: RunSearchRequest | Mapping[str, Any] | None = None,
    *,
    on_drift: OnDrift = "raise",
) -> Iterator[Run]:
    """Return an iterator over every run that matches, once, in the order of the server.

    It searches a page at a time; ``next()`` may raise `SearchDrift`, and the errors of
    `RunsApi.search_runs`.

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
    _check_api("runs_api", "a RunsApi", runs_api, "search_runs")
    return _every(runs_api.search_runs, RunSearchRequest, request, lambda run: run.run_id, on_drift)


def iter_agents(
    agents_api: AgentsApi,
    request: AgentSearchRequest | Mapping[str, Any] | None = None,
    *,
    on_drift: OnDrift = "raise",
) -> Iterator[Agent]:
    """Return an iterator over every agent that matches, once; see `iter_runs`.

    Args:
        agents_api: The operations that search.
        request: Which agents, all if None; its ``limit``, 1000 if not set, is the size of a page.
        on_drift: "raise" a `SearchDrift`, or "continue".

    Raises:
        ApiTypeError: ``agents_api`` is not an AgentsApi, or ``request`` neither an
            AgentSearchRequest nor a dict.
        ApiValueError: ``request`` does not fit, or ``on_drift`` is not one of the two.
    """
    _check_api("agents_api", "an AgentsApi", agents_api, "search_agents")
    search = agents_api.search_agents
    return _every(search, AgentSearchRequest, request, lambda agent: agent.agent_id, on_drift)


def iter_threads(
    threads_api: ThreadsApi,
    request: ThreadSearchRequest | Mapping[str, Any] | None = None,
    *,
    on_drift: OnDrift = "raise",
) -> Iterator[Thread]:
    """Return an iterator over every thread that matches, once; see `iter_runs`.

    Args:
        threads_api: The operations that search.
        request: Which threads, all if None; its ``limit``, 1000 if not set, is the size of a page.
        on_drift: "raise" a `SearchDrift`, or "continue".

    Raises:
        ApiTypeError: ``threads_api`` is not a ThreadsApi, or ``request`` neither a
            ThreadSearchRequest nor a dict.
        ApiValueError: ``request`` does not fit, or ``on_drift`` is not one of the two.
    """
    _check_api("threads_api", "a ThreadsApi", threads_api, "search_threads")
    search = threads_api.search_threads
    return _every(search, ThreadSearchRequest, request, lambda thread: thread.thread_id, on_drift)


def _check_api(name: str, kind: str, value: object, operation: str) -> None:
    if not hasattr(value, operation):  # a stand-in of a test has it
        raise ApiTypeError(
            f"{name} must be {kind}, not {type(value).__name__}; "
            f"{kind.split()[1]}(api_client) is one"
        )


def _every(
    search: Callable[[Mapping[str, Any]], list[T]],
    model: type[R],
    request: R | Mapping[str, Any] | None,
    id_of: Callable[[T], str],
    on_drift: OnDrift,
) -> Iterator[T]:
    if isinstance(request, model):
        fields = {name: getattr(request, name) for name in request.model_fields_set}
    elif request is None or isinstance(request, Mapping):
        fields = dict(request or {})
        constructed("request", model, fields)  # which raises if they do not fit
    else:
        raise ApiTypeError(
            f"request must be a {model.__name__} or dict, not {type(request).__name__}"
        )
    if on_drift not in ("raise", "continue"):
        raise ApiValueError(f'on_drift must be "raise" or "continue", not {on_drift!r}')
    return _records(search, fields, id_of, on_drift == "raise")


def _records(
    search: Callable[[Mapping[str, Any]], list[T]],
    request: dict[str, Any],
    id_of: Callable[[T], str],
    raises: bool,
) -> Iterator[T]:
    limit = max(2, request.get("limit") or _PAGE)  # one record of each page is of the last page

    def read(offset: int) -> dict[str, T]:
        """Return the records of a page by their ids, in the order of the server."""
        page = search({**request, "limit": limit, "offset": offset})
        return {id_of(record): record for record in page}

    def note_drift(why: str) -> None:
        if raises:
            raise SearchDrift(offset=offset, why=why)

    seen: set[str] = set()
    offset = before = request.get("offset") or 0
    anchor, rewound, last = "", -1, list[str]()
    while True:
        page = read(offset)
        if anchor and anchor not in page and offset > rewound:
            # Records before the anchor are gone, so it stands in the page before.
            rewound = offset
            earlier = read(before)
            if anchor in earlier:
                offset, page = before, earlier
        ids = list(page)
        place = ids.index(anchor) if anchor in page else -1
        if anchor and place < 0:
            note_drift(f"the record {anchor} is not where it was")
        again = next((name for name in ids[place + 1 :] if name in seen), None)
        if again is not None:
            note_drift(f"the record {again} came again")
        fresh = [name for name in ids if name not in seen]
        seen.update(fresh)
        yield from (page[name] for name in fresh)
        if place <= 0 and place + 1 == len(ids):
            return  # nothing comes after the anchor
        if not fresh and ids == last:
            note_drift("the server returns the same page for another offset")
            return
        before, offset, anchor, last = offset, offset + len(ids) - 1, ids[-1], ids
