"""Exactly one run for one create: posted at most once, and looked for if the response is lost.

Strategy: ACP 0.1 has no idempotency key, so each create carries a client token in its metadata. A
create that the server certainly did not carry out (429, no connection) is posted again. After an
ambiguous failure nothing is posted again: the run is searched for by its token, page by page if the
server does not search by metadata.

Invariant: the server carries out at most one create of a call.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.exceptions import ApiException, ApiTypeError, ResponseDecodeError
from acp_client_v0_1.handles._patience import Patience, is_passing, is_unsent
from acp_client_v0_1.handles._token import RunToken, encode_token
from acp_client_v0_1.handles.errors import RunStartAmbiguous
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_search_request import RunSearchRequest

__all__ = [
    "CLIENT_TOKEN_KEY",
    "checked_client_token",
    "client_token_of",
    "create",
    "find_by_token",
    "look_for",
    "new_client_token",
    "server_of",
    "without_retries",
]

CLIENT_TOKEN_KEY = "acp-client-token"
"""The key of the run's metadata that holds the client token."""

_SEARCH_SECONDS = 10.0  # of searching for a run after an ambiguous create
_FIRST_PAUSE = 0.1  # seconds until the second search; doubles
_LONGEST_PAUSE = 1.0  # seconds between two searches
_PAGE = 1000  # runs of one page of a search, the most that the contract allows
_PAGES = 10  # the most that is read where a server does not search by metadata


def new_client_token() -> str:
    """Return a client token that no other run has: the hex digits of a random UUID.

    RFC 9562, section 5.4. A cold `uuid.uuid4` takes a hundredth of a whole create.
    """
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"


def checked_client_token(token: object) -> str:
    """Return a client token if it is a str; no search would find anything else."""
    if isinstance(token, str):
        return token
    raise ApiTypeError(f"client_token must be a str, not {type(token).__name__}")


def client_token_of(run: Run) -> str:
    """Return the client token that a run was created with, "" if it has none."""
    return _mark_of(run.creation)


def _mark_of(creation: RunCreate) -> str:
    mark = (creation.metadata or {}).get(CLIENT_TOKEN_KEY)
    return mark if isinstance(mark, str) else ""


def server_of(client: ApiClient) -> str:
    """Return the origin and base path of a client's server, as a token has them."""
    from acp_client_v0_1._http.urls import parse_target

    return parse_target(client.configuration.host).url.rstrip("/")


def without_retries(runs: RunsApi) -> RunsApi:
    """Return the same operations on the same connections, each request sent once."""
    client = runs.api_client
    if client._retries == 0:  # pyright: ignore[reportPrivateUsage]
        return runs
    return RunsApi(client._with_retries(0))  # pyright: ignore[reportPrivateUsage]


def create(
    runs: RunsApi,
    creation: RunCreate,
    *,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    wait_turn: Callable[[], object] | None = None,
    on_limited: Callable[[float], object] | None = None,
) -> list[Run]:
    """Create one run; return it, or after a lost response all runs with its token, oldest first.

    The timeout, in seconds, includes the search; None is for the client's own limits, and 10
    seconds of searching. ``stop`` ends the pauses; the request after a pause is still sent.
    ``wait_turn`` is called before each POST; what it raises ends the call, and nothing is posted.
    ``on_limited`` is called after a 429 with the seconds to pause, instead of pausing.
    """
    # A part of the time is kept for the search, so that all of it ends in time.
    posting = None if timeout is None else max(timeout - _SEARCH_SECONDS, timeout / 2)
    began = time.monotonic()
    patience: Patience | None = None  # made when it is needed, which is seldom
    once = without_retries(runs)
    while True:
        if wait_turn is not None:
            wait_turn()
        try:
            limit = posting if patience is None or posting is None else patience.limit(posting)
            return [once.create_run(creation, _request_timeout=limit)]
        except ApiException as error:
            if not is_unsent(error):
                # A response that cannot be read says nothing of the run, either.
                unreadable = isinstance(error, ResponseDecodeError) and error.status is not None
                if not error.ambiguous and not unreadable:
                    raise
                left = None if timeout is None else max(0.0, timeout + began - time.monotonic())
                agent_id, mark = creation.agent_id, _mark_of(creation)
                known = RunToken(server_of(runs.api_client), agent=agent_id, client_token=mark)
                return look_for(runs, known, left, stop, error)
            if patience is None:
                spent = time.monotonic() - began
                patience = Patience(None if posting is None else posting - spent, stop)
            if error.status == 429 and on_limited is not None:
                on_limited(patience.pause_after(error))
            elif not patience.survive(error):
                raise


def look_for(
    runs: RunsApi,
    known: RunToken,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    failure: ApiException | None = None,
) -> list[Run]:
    """Search for the runs with the client token of a create until there is one; oldest first.

    ``known`` is what a token without a run id says. The search takes 10 seconds if ``seconds`` is
    None, and ends when ``stop`` is set; then it raises `RunStartAmbiguous`. ``failure`` is that of
    the create, if it is known.
    """
    if not known.client_token:
        raise RunStartAmbiguous(client_token="", token="", why=str(failure)) from failure
    patience = Patience(_SEARCH_SECONDS if seconds is None else seconds, stop)
    pause = _FIRST_PAUSE
    once = without_retries(runs)
    unsearched: ApiException | None = None
    while True:
        try:
            limit = patience.limit()
            found = find_by_token(once, known.client_token, known.agent or None, timeout=limit)
            if found:
                return found
            unsearched = None
        except ApiException as error:
            unsearched = error
            if not is_passing(error):
                break
        patience.pause(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        if patience.over:
            break
    why = "no run with its client token is there yet"
    if unsearched is not None:
        why = f"the search for it failed: {unsearched}"
    raise RunStartAmbiguous(
        client_token=known.client_token,
        token=encode_token(known),
        why=why if failure is None else f"{failure}; and {why}",
        searched=unsearched is None,
    ) from failure or unsearched


def find_by_token(
    runs: RunsApi, client_token: str, agent_id: str | None = None, *, timeout: float | None = None
) -> list[Run]:
    """Search once for the runs with a client token; return them, oldest first.

    If a server refuses or ignores metadata in a search, at most ten pages of the agent's runs are
    read. The timeout, in seconds, includes all pages; None is for the client's own limits.
    """
    mark = {CLIENT_TOKEN_KEY: client_token}
    patience = None if timeout is None else Patience(timeout)
    try:
        return _matching(runs, client_token, agent_id, mark, patience)
    except ApiException as error:
        if error.status in (None, 401, 403, 408, 429):
            raise
        return _matching(runs, client_token, agent_id, None, patience)


def _matching(
    runs: RunsApi,
    client_token: str,
    agent_id: str | None,
    metadata: dict[str, Any] | None,
    patience: Patience | None,
) -> list[Run]:
    found: dict[str, Run] = {}
    offset = 0
    for _ in range(_PAGES):
        request = RunSearchRequest(agent_id=agent_id, metadata=metadata, limit=_PAGE, offset=offset)
        limit = None if patience is None else patience.limit()
        page = runs.search_runs(request, _request_timeout=limit)
        matching = [run for run in page if client_token_of(run) == client_token]
        found.update((run.run_id, run) for run in matching)
        offset += len(page)
        # Where the server filters, its first page has all of them.
        if not page or (metadata is not None and len(matching) == len(page)):
            break
    return sorted(found.values(), key=_age)


def _age(run: Run) -> tuple[datetime, str]:
    """Return the time of a run's creation, as UTC if it has no offset, and its id."""
    created = run.created_at
    return created if created.tzinfo else created.replace(tzinfo=timezone.utc), run.run_id
