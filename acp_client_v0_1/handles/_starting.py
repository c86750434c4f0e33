"""Exactly one run for one create: posted at most once, and looked for if the response is lost.

Strategy: ACP 0.1 has no idempotency key, so the create carries a mark of its own in its metadata,
the client token. What certainly was not carried out (429, no connection) is posted again. After an
ambiguous failure the run is searched for by its mark, also by servers whose search knows no
metadata; nothing is posted again.

Invariant: of one call, the server carries out at most one create.
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
    "age_of",
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

_SEARCH_SECONDS = 10.0  # how long a run is looked for after an ambiguous create
_FIRST_LOOK = 0.1  # seconds until the second look; doubles
_LONGEST_LOOK = 1.0  # seconds between two looks
_PAGE = 1000  # runs of one page of a search, the most that the contract allows
_PAGES = 10  # the most that is read where a server does not search by metadata


def new_client_token() -> str:
    """Return a client token that no other run has: the hex digits of a random UUID.

    RFC 9562, section 5.4. A cold `uuid.uuid4` takes a hundredth of a whole create.
    """
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"


def checked_client_token(token: object) -> str:
    """Refuse what is no str, and so would never equal the mark that a search finds.

    Raises:
        ApiTypeError: It is no str.
    """
    if isinstance(token, str):
        return token
    raise ApiTypeError(f"client_token must be a str, not {type(token).__name__}")


def client_token_of(run: Run) -> str:
    """Give the client token that a run was created with, "" if none."""
    value = (run.creation.metadata or {}).get(CLIENT_TOKEN_KEY)
    return value if isinstance(value, str) else ""


def age_of(run: Run) -> tuple[datetime, str]:
    """Give what runs are sorted by, oldest first; a time without offset is taken as UTC."""
    created = run.created_at
    return created if created.tzinfo else created.replace(tzinfo=timezone.utc), run.run_id


def server_of(client: ApiClient) -> str:
    """Give origin and base path of a client's server, as a token has them."""
    from acp_client_v0_1._http.urls import parse_target

    return parse_target(client.configuration.host).url.rstrip("/")


def without_retries(runs: RunsApi) -> RunsApi:
    """Give the same operations on the same connections, each request sent once."""
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
    """Create one run.

    Args:
        runs: What sends the requests.
        creation: The run, its client token in its metadata.
        timeout: Seconds for all of it, the search included; None for the client's own limits and
            10 seconds of searching.
        stop: Ends the pauses when set; what was to be done after one is still tried once.
        wait_turn: Called before each POST; what it raises ends the call, and nothing is posted.
        on_limited: Called after a 429 with the seconds to pause, instead of pausing.

    Returns:
        The run; after a lost response, all runs with its client token, oldest first.

    Raises:
        RunStartAmbiguous: The response was lost, and no run was found.
        ApiException: The server refused, or could not be reached.
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
                if not error.ambiguous and not _is_unreadable(error):
                    raise
                left = _SEARCH_SECONDS if timeout is None else timeout + began - time.monotonic()
                return _recover(runs, creation, error, max(0.0, left), stop)
            if patience is None:
                patience = Patience(posting, stop)
            if error.status == 429 and on_limited is not None:
                on_limited(patience.pause_after(error))
            elif not patience.survive(error):
                raise


def _is_unreadable(error: ApiException) -> bool:
    """Say whether a response came that only could not be understood."""
    return isinstance(error, ResponseDecodeError) and error.status is not None


def _recover(
    runs: RunsApi,
    creation: RunCreate,
    failure: ApiException,
    seconds: float,
    stop: threading.Event | None,
) -> list[Run]:
    """Look for a run whose create got no usable response."""
    token = (creation.metadata or {}).get(CLIENT_TOKEN_KEY)
    if not isinstance(token, str) or not token:
        raise RunStartAmbiguous(client_token="", token="", why=str(failure)) from failure
    server = server_of(runs.api_client)
    known = RunToken(server=server, agent=creation.agent_id, client_token=token)
    return look_for(runs, known, seconds, stop, failure)


def look_for(
    runs: RunsApi,
    known: RunToken,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    failure: ApiException | None = None,
) -> list[Run]:
    """Look for the run of a token without a run id, whose create failed so.

    Args:
        runs: What searches.
        known: What the token says.
        seconds: How long to look, None for 10 seconds.
        stop: Ends it when set.
        failure: How the create failed, None if that is not known.

    Returns:
        The runs with its client token, oldest first, at least one.

    Raises:
        RunStartAmbiguous: There is none, or the search failed.
    """
    cause = failure
    seconds = _SEARCH_SECONDS if seconds is None else seconds
    try:
        found = _wait_for_token(runs, known.client_token, known.agent or None, seconds, stop)
        if found:
            return found
        why, searched = "no run with its client token is there yet", True
    except ApiException as error:
        why, searched, cause = f"the search for it failed: {error}", False, failure or error
    raise RunStartAmbiguous(
        client_token=known.client_token,
        token=encode_token(known),
        why=why if failure is None else f"{failure}; and {why}",
        searched=searched,
    ) from cause


def _wait_for_token(
    runs: RunsApi,
    client_token: str,
    agent_id: str | None,
    seconds: float,
    stop: threading.Event | None,
) -> list[Run]:
    """Look for the runs with a client token until there are some.

    Raises:
        ApiException: The last search failed, or the server does not search.
    """
    patience = Patience(seconds, stop)
    pause = _FIRST_LOOK
    once = without_retries(runs)
    while True:
        failure: ApiException | None = None
        try:
            found = find_by_token(once, client_token, agent_id, timeout=patience.limit())
            if found:
                return found
        except ApiException as error:
            if not is_passing(error):
                raise
            failure = error
        patience.pause(pause)
        pause = min(2 * pause, _LONGEST_LOOK)
        if patience.over:
            if failure is not None:
                raise failure
            return []


def find_by_token(
    runs: RunsApi, client_token: str, agent_id: str | None = None, *, timeout: float | None = None
) -> list[Run]:
    """Search once for the runs with a client token.

    A server whose search refuses metadata, or ignores it, is searched by agent, ten pages at most.
    The timeout, in seconds, is for all of it; None is for the client's own limits.

    Raises:
        ApiException: The search failed.
    """
    wanted = {CLIENT_TOKEN_KEY: client_token}
    patience = None if timeout is None else Patience(timeout)
    try:
        return _matching(runs, client_token, agent_id, wanted, patience)
    except ApiException as error:
        if error.status is None or error.status in (401, 403, 408, 429):
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
    return sorted(found.values(), key=age_of)
