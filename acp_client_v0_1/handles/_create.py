"""Makes one run for one create, even if the response to the create is lost.

Strategy: ACP 0.1 has no idempotency key, so each create carries a client token in its metadata. A
create that the server certainly did not carry out is posted again. If a failure leaves open whether
the create was carried out, the run is searched for by its client token. If the server does not
search by metadata, the agent's runs are read page by page. If the search worked and found no run, a
batch posts the create again, and any other caller gets a `RunStartAmbiguous`. If the server does
not know the agent, no run was made, and the caller gets the 404.

Invariant: outside a batch, the server carries out at most one create of a call. When a batch posts
a create again, the first request may still be on its way. Then there may be two runs.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from acp_client_v0_1._errors import AMBIGUOUS, one_line, short
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1.api.agents_api import AgentsApi
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    NotFoundException,
    ResponseValidationError,
)
from acp_client_v0_1.handles._core import utc
from acp_client_v0_1.handles._match import differences, is_of
from acp_client_v0_1.handles._perform import AGAIN, Wait
from acp_client_v0_1.handles._rules import Pause, is_unserved
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import (
    CLIENT_TOKEN_KEY,
    RunToken,
    client_token_of,
    encode_token,
    server_of,
)
from acp_client_v0_1.handles.errors import LONGEST_WHY, RunStartAmbiguous
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_search_request import RunSearchRequest

# How many runs one page of a search has: the most that the contract allows.
_PAGE = 1000
# How many pages of a search are read at most.
_PAGES = 10
# `Server.lacks` contains this name if the server does not search by metadata.
_NO_METADATA = "search by metadata"


class NoAgent(Exception):
    """The server does not know the agent."""

    def __init__(self, error: NotFoundException) -> None:
        self.error = error


def create(creation: RunCreate, wait: Wait, *, posts: int = 1) -> list[Run]:
    """Create one run and return it.

    If a failure leaves open whether the run was made, search for the runs with its client token,
    and return them, oldest first. If the search worked and did not find a run, and ``posts`` allows
    another post, post the create again. If the first post is still under way at that time, both
    posts may make a run.

    ``posts`` limits the number of posts that may have made a run. A post that certainly made no
    run, for example because it got a 429, does not count.
    """
    runs = wait.contact.runs

    def post(limit: float) -> list[Run]:
        seconds = None if limit == math.inf else limit
        made = runs.create_run(creation, _request_timeout=seconds)
        # A cache or a proxy may mix up responses.
        if other := differences(made, creation):
            words = f"run {short(made.run_id)}, which has another {' and '.join(other)}"
            reason = f"the server answered the create with {words}"
            raise ResponseValidationError(200, reason, body=made.to_json())
        return [made]

    def probe(error: ApiException) -> Any:
        nonlocal posts
        posts -= 1
        wait.create_was_unclear = True
        server, agent_id = server_of(runs.api_client), creation.agent_id
        known = RunToken(server, agent=agent_id, client_token=client_token_of(creation))
        # After a 503 that may be a rate limit, the server has probably not made a run. So a short
        # search is enough.
        maybe_limited = posts > 0 and failure_of(error).limits
        longest = timing().young if maybe_limited else timing().search
        try:
            return find_created(known, wait, error, longest)
        except RunStartAmbiguous as ambiguous:
            if posts == 0 or not ambiguous.searched or wait.stopped:
                raise
            return AGAIN

    return wait.perform("create", post, longest=math.inf, probe=probe)


def find_created(
    known: RunToken, wait: Wait, failure: ApiException | None = None, longest: float | None = None
) -> list[Run]:
    """Search for the runs of a create until there is a run, and return them, oldest first.

    ``known`` is a token without a run id. ``failure`` is the error of the create, if this process
    has sent the create.

    The search begins after any ``Retry-After``, takes at most ``longest`` seconds, by default 10,
    and ends no later than ``wait``. If the search ends without a run, this raises
    `RunStartAmbiguous`. But in a batch, if the last request of the search failed, the search begins
    again. If the search is denied, and there is no ``failure``, its error is raised as it is.
    """
    clock, contact = timing(), wait.contact
    longest = clock.search if longest is None else longest
    # The runs that the last successful search found, and the time of this search. Some of the runs
    # may be of other agents.
    seen: list[Run] | None = None
    seen_at = -math.inf
    # A create may have failed because the server does not have the agent. This is checked once.
    checked = failure is None
    delay = clock.search_backoff[0]

    def ambiguous(_: Wait, error: ApiException | None = None) -> RunStartAmbiguous:
        """Return the error of a search that is over. ``error`` is its last failure."""
        why = "no run with its client token is there yet"
        if error is not None:
            # Of two errors of one kind, the first one has all the room.
            kind = error.status or error.reason
            same = failure is not None and kind == (failure.status or failure.reason)
            why = f"the search {'failed, too' if same else f'for it failed: {one_line(error, 48)}'}"
        elif seen is None:
            why = "there was no time to search for it"
        elif seen:
            why = f"its client token is of run {seen[0].run_id} of agent {seen[0].agent_id}"
        # If the last request ran out of time, a search that succeeded just before still counts.
        recent = clock.now() - seen_at <= clock.search_backoff[1] + clock.least_left
        worked = error is None or (recent and isinstance(error, ApiTimeoutError))
        if failure is not None:
            end = f"; {one_line(why, 100)}" if known.client_token else ""
            began = str(failure).partition(f"; {AMBIGUOUS}")[0]
            why = f"{one_line(began, LONGEST_WHY - len(end))}{end}"
        return RunStartAmbiguous(
            client_token=known.client_token,
            token=encode_token(known) if known.client_token else "",
            why=why,
            searched=seen == [] and worked,
        )

    # A ``Retry-After`` delays the search by this many seconds.
    held = wait.held
    if failure is not None and contact.ends_batch(failure):
        raise failure
    if wait.remaining() <= held or held > wait.longest_outage:
        raise ambiguous(wait) from failure

    def search(limit: float) -> list[Run] | Pause:
        nonlocal seen, seen_at, checked, delay
        agent_id = known.agent or None
        failed: ApiException | None = None
        found: list[Run] = []
        try:
            seen = find_by_token(contact.runs, known.client_token, agent_id, timeout=limit)
            seen_at = clock.now()
            found = [run for run in seen if is_of(run, agent_id)]
        except ApiException as error:
            failed = error
        must_wait = failed is not None and failure_of(failed).retry_after
        if not (found or checked or must_wait or searching.over):
            checked = True
            server_works(searching, known.agent)
        if failed is not None:
            raise failed
        pause, delay = Pause(delay), min(2 * delay, clock.search_backoff[1])
        return found or pause

    searching = wait.within(held + longest, late=ambiguous)
    while True:
        try:
            if known.client_token:
                probe = partial(probe_search, searching, known.agent)
                return searching.perform("search", search, probe=probe)
            if not held:
                server_works(searching, known.agent)
            raise ambiguous(wait)
        except NoAgent as missing:
            raise missing.error from failure
        except RunStartAmbiguous as error:
            # In a batch, a search that had no time for a request, or whose last request failed (the
            # server is down, or limits requests), does not show that there is no run. So it begins
            # again, with its whole time, until it ends after a success, or the outage has lasted
            # too long. If the last request only ran out of time right after a success, the search
            # ends, too.
            cause = error.__cause__
            unknown = seen is None if cause is None else not error.searched
            if not (contact.pace and unknown) or wait.stopped or wait.remaining() <= 0:
                raise error from failure or cause
            searching.rearm()
        except ApiException as error:
            # If this process has not sent the create, there is no other error to report. A search
            # that was denied, as by a 401 or 403, would be denied again.
            denied = failure is None and failure_of(error).kind == "denied"
            if denied or contact.ends_batch(error):
                raise
            raise ambiguous(wait, error) from failure or error


def server_works(wait: Wait, agent_id: str) -> bool:
    """Ask the server for an agent, to find out whether the server works.

    - If the request succeeds, or fails with a status that is no sign of an outage, such as 405,
      return True.
    - If the request fails with a sign of an outage, such as a 502 or a timeout, return False.
    - If the server does not know the agent, raise `NoAgent`. Then the agent has no runs.
    - If the request fails with a ``Retry-After``, raise its error. Then the search has to wait.
    """
    agents, limit = AgentsApi(wait.contact.runs.api_client), wait.limit(timing().quick)
    try:
        agents.get_agent_by_id(agent_id, _request_timeout=limit)
    except NotFoundException as error:
        if not is_unserved(error):
            raise NoAgent(error) from error
    except ApiException as error:
        failure = failure_of(error)
        if failure.retry_after:
            raise
        return not failure.is_outage
    return True


def probe_search(wait: Wait, agent_id: str, error: ApiException) -> Any:
    """Find out why a search has failed. Return `AGAIN`, or raise an error.

    - If the server is down, or limits requests, do what the rules say: pause and return `AGAIN`,
      or raise.
    - If the server works although the search has failed, an outage may just have ended. So return
      `AGAIN` the first time.
    - The second time, the server is taken not to support searches. Raise ``error``.
    """
    try:
        works = server_works(wait, agent_id)
    except ApiException as limit:
        works, error = False, limit
    if not works:
        wait.handle_failure("search", error, probed=True)
    elif wait.search_failed_alone:
        wait.contact.server.fails.add("search")
        raise error
    else:
        wait.search_failed_alone = True
    return AGAIN


def find_by_token(
    runs: RunsApi, client_token: str, agent_id: str | None = None, *, timeout: float | None = None
) -> list[Run]:
    """Search once for the runs with a client token, and return them, oldest first.

    If the server refuses or ignores metadata in a search, at most ten pages of the agent's runs
    are read. If ``agent_id`` is None, these are pages of all runs. ``timeout``, in seconds, is for
    all pages together.

    The server may also return runs of other agents with that client token, so callers filter the
    runs by `is_of`.
    """
    lacks = runs.api_client.rest_client.server.lacks
    ends = None if timeout is None else timing().now() + timeout
    conditions: dict[str, Any] = {"agent_id": agent_id}
    if _NO_METADATA not in lacks:
        marked = {**conditions, "metadata": {CLIENT_TOKEN_KEY: client_token}}
        try:
            return _search_pages(runs, client_token, marked, ends)
        except ApiException as error:
            failure = failure_of(error)
            if error.status is None or failure.retry_after or failure.kind in ("denied", "limited"):
                raise
            if failure.kind in ("lacks", "missing", "refused"):
                lacks.add(_NO_METADATA)
    return _search_pages(runs, client_token, conditions, ends)


def _search_pages(
    runs: RunsApi, client_token: str, conditions: dict[str, Any], ends: float | None
) -> list[Run]:
    """Search for runs, and return those with a client token, oldest first.

    Pages are read until an empty page, and at most ten. If the conditions contain the client token,
    and all runs of a page have this token, the server searches by metadata. Then no more pages are
    read, because the page has all matches.
    """
    found: dict[str, Run] = {}
    offset = 0
    for _ in range(_PAGES):
        request = RunSearchRequest(**conditions, limit=_PAGE, offset=offset)
        limit = None if ends is None else max(0.001, ends - timing().now())
        try:
            page = runs.search_runs(request, _request_timeout=limit)
        except ApiException:
            # An earlier page had the run, so this error does not matter.
            if found:
                break
            raise
        matching = [run for run in page if client_token_of(run.creation) == client_token]
        found.update((run.run_id, run) for run in matching)
        offset += len(page)
        if not page or ("metadata" in conditions and len(matching) == len(page)):
            break
    else:
        if not found:
            raise ApiException(reason=f"the run is not among the first {offset} that were found")
    return sorted(found.values(), key=lambda run: (utc(run.created_at), run.run_id))
