"""Makes one run for one create, also if the response is lost.

Strategy: ACP 0.1 has no idempotency key, so each create carries a client token in its metadata. A
create that the server certainly did not carry out is posted again. After an unclear failure the run
is searched for by its token, page by page if the server does not search by metadata. Only a batch
posts again after that, if a search worked and found no run. An agent that the server does not know
has no run.

Invariant: the server carries out at most one create of a call that posts once. A batch posts up to
three times, so a create that is still on its way may make a second run.
"""

from __future__ import annotations

import math
from datetime import datetime
from functools import partial
from typing import Any

from acp_client_v0_1._errors import AMBIGUOUS, one_line
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1.api.agents_api import AgentsApi
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import ApiException, ApiTimeoutError, NotFoundException
from acp_client_v0_1.handles._core import utc
from acp_client_v0_1.handles._perform import AGAIN, Wait
from acp_client_v0_1.handles._rules import Pause, is_unserved
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import (
    CLIENT_TOKEN_KEY,
    RunToken,
    encode_token,
    mark_of,
    server_of,
)
from acp_client_v0_1.handles.errors import LONGEST_WHY, RunStartAmbiguous
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_search_request import RunSearchRequest

# One page of a search has this many runs, the most that the contract allows.
_PAGE = 1000
# If a server does not search by metadata, at most this many pages are read.
_PAGES = 10
# `Server.lacks` has this name if the server does not search by metadata.
_NO_METADATA = "search by metadata"


class NoAgent(Exception):
    """The server does not know the agent of a create."""

    def __init__(self, error: NotFoundException) -> None:
        self.error = error


def create(creation: RunCreate, wait: Wait, *, posts: int = 1) -> list[Run]:
    """Create one run and return it. After a lost response, return all runs with its client token.

    The oldest comes first. After a lost response the create is posted again, up to ``posts`` times
    in all, but only if a search worked and did not find the run. That is as safe as calling again
    after `RunStartAmbiguous`.
    """
    runs = wait.contact.runs

    def post(limit: float) -> list[Run]:
        seconds = None if limit == math.inf else limit
        return [runs.create_run(creation, _request_timeout=seconds)]

    def probe(error: ApiException) -> Any:
        nonlocal posts
        posts -= 1
        agent_id, mark = creation.agent_id, mark_of(creation)
        known = RunToken(server_of(runs.api_client), agent=agent_id, client_token=mark)
        # A server that limits requests has probably not made a run, so a short search is enough.
        limited = posts > 0 and failure_of(error).limits
        longest = timing().young if limited else timing().search
        try:
            return find_created(known, wait, error, longest)
        except RunStartAmbiguous as ambiguous:
            if posts <= 0 or not ambiguous.searched or wait.stopped:
                raise
            return AGAIN

    return wait.perform("create", post, longest=math.inf, probe=probe)


def find_created(
    known: RunToken, wait: Wait, failure: ApiException | None = None, longest: float | None = None
) -> list[Run]:
    """Search for the runs of a create until there is one, and return them, oldest first.

    ``known`` has the fields of a token without a run id. The search takes ``longest`` seconds, by
    default 10, after any ``Retry-After``, but no longer than ``wait``. Then it raises
    `RunStartAmbiguous`. In a batch it begins again while an outage lets no search succeed.
    ``failure`` is the error of the create, if this process has sent it.
    """
    clock, contact = timing(), wait.contact
    longest = clock.search if longest is None else longest
    # The last search that worked found these runs, at this time. Some may be of other agents.
    seen: list[Run] | None = None
    seen_at = -math.inf
    # After a failed create, the server may not have the agent, so that is checked once.
    checked = failure is None
    delay = clock.search_backoff[0]

    def ambiguous(_: Wait, error: ApiException | None = None) -> RunStartAmbiguous:
        why = "no run with its client token is there yet"
        if error is not None:
            same = failure is not None and error.reason == failure.reason
            why = f"the search for it failed{', too' if same else f': {one_line(error, 48)}'}"
        elif seen is None:
            why = "there was no time to search for it"
        elif seen:
            why = f"its client token is of run {seen[0].run_id} of agent {seen[0].agent_id}"
        # If the last search ran out of time, the one just before it still counts.
        recent = clock.now() - seen_at <= clock.search_backoff[1] + clock.last
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

    # The search begins once a Retry-After is over.
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
        limited = failed is not None and failure_of(failed).retry_after
        if not (found or checked or limited or searching.over):
            checked = True
            serves_agent(searching, known.agent)
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
                serves_agent(searching, known.agent)
            raise ambiguous(wait)
        except NoAgent as missing:
            raise missing.error from failure
        except RunStartAmbiguous as error:
            # While a server fails for all runs of a batch, or limits them, no search tells anything
            # about this run. So search again until the outage ends.
            cause = error.__cause__
            unsettled = seen is None if cause is None else not error.searched
            if not (contact.pace and unsettled) or wait.stopped or wait.remaining() <= 0:
                raise error from failure or cause
            searching.rearm()
        except ApiException as error:
            if contact.ends_batch(error):
                raise
            raise ambiguous(wait, error) from failure or error


def serves_agent(wait: Wait, agent_id: str) -> bool:
    """Tell whether the server is not in an outage, by a request for an agent.

    Raises `NoAgent` if it does not know the agent: then no run of it was made.
    """
    agents, limit = AgentsApi(wait.contact.runs.api_client), wait.limit(timing().quick)
    try:
        agents.get_agent_by_id(agent_id, _request_timeout=limit)
    except NotFoundException as error:
        if not is_unserved(error):
            raise NoAgent(error) from error
    except ApiException as error:
        failure = failure_of(error)
        # The search has to wait for this Retry-After, too.
        if failure.retry_after:
            raise
        return not failure.is_outage
    return True


def probe_search(wait: Wait, agent_id: str, error: ApiException) -> Any:
    """Raise the error of a search if the server does not support searches.

    If only searches fail, twice, the server does not support them. A single failure may come from
    an outage that has just ended.
    """
    if not serves_agent(wait, agent_id):
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

    The server may return runs of other agents, too: `is_of` tells.

    If a server refuses or ignores metadata in a search, at most ten pages of the agent's runs are
    read. The timeout, in seconds, includes all pages.
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
    """Read at most ten pages, up to an empty one.

    If the search names the token and all runs of a page have it, the server searches by metadata,
    and that page is the last.
    """
    found: dict[str, Run] = {}
    offset = 0
    for _ in range(_PAGES):
        request = RunSearchRequest(**conditions, limit=_PAGE, offset=offset)
        limit = None if ends is None else max(0.001, ends - timing().now())
        try:
            page = runs.search_runs(request, _request_timeout=limit)
        except ApiException:
            # An earlier page may have the run.
            if found:
                break
            raise
        matching = [run for run in page if mark_of(run.creation) == client_token]
        found.update((run.run_id, run) for run in matching)
        offset += len(page)
        # If the server filters by metadata, its first page has all of them.
        if not page or ("metadata" in conditions and len(matching) == len(page)):
            break
    else:
        if not found:
            raise ApiException(reason=f"the run is not among the first {offset} that were found")
    return sorted(found.values(), key=_age)


def is_of(run: Run, agent_id: str | None) -> bool:
    """Tell whether a run is of an agent. The server may write its id in another case."""
    known = run.agent_id.lower(), run.creation.agent_id.lower()
    return agent_id is None or agent_id.lower() in known


def _age(run: Run) -> tuple[datetime, str]:
    """Return the time of a run's creation, and its id."""
    return utc(run.created_at), run.run_id
