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
from collections.abc import Callable
from functools import partial
from typing import Any

from acp_client_v0_1._errors import AMBIGUOUS
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._text import one_line, short
from acp_client_v0_1.api.agents_api import AgentsApi
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import ApiException, NotFoundException, ResponseValidationError
from acp_client_v0_1.handles._known import utc
from acp_client_v0_1.handles._match import differences, is_of
from acp_client_v0_1.handles._rules import Pause, is_unserved
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import (
    CLIENT_TOKEN_KEY,
    RunToken,
    client_token_of,
    encode_token,
    server_of,
)
from acp_client_v0_1.handles._wait import Wait, decided, health_of
from acp_client_v0_1.handles.errors import LONGEST_WHY, RunStartAmbiguous
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_search_request import RunSearchRequest

# How many runs one page of a search has: the most that the contract allows.
_PAGE = 1000
# How many pages of a search are read at most.
_PAGES = 10
# `Health.lacks` contains this name if the server does not search by metadata.
_NO_METADATA = "search by metadata"


class Create:
    """One create: it posts, and if a post is unclear, it reconciles.

    - *Posting*: the create is posted until the server has carried it out or refused it, or until a
      failure leaves open whether the run was made.
    - *Reconciling*: the runs with the client token are searched for. If the search worked and did
      not find a run, and ``posts`` allows another post, the create is posted again. If the first
      post is still under way at that time, both posts may make a run.

    ``posts`` limits the number of posts that may have made a run. A post that certainly made no
    run, for example because it got a 429, does not count.
    """

    # Whether some post left open whether a run was made.
    unclear = False

    def __init__(self, creation: RunCreate, wait: Wait, *, posts: int = 1) -> None:
        self._creation, self._wait, self._posts = creation, wait, posts

    def run(self) -> list[Run]:
        """Create one run. Return the runs with its client token, oldest first."""
        return self._wait.perform("create", self._post, longest=math.inf, probe=self._reconcile)

    def _post(self, limit: float) -> list[Run]:
        seconds = None if limit == math.inf else limit
        made = self._wait.contact.runs.create_run(self._creation, _request_timeout=seconds)
        # A cache or a proxy may mix up responses.
        if other := differences(made, self._creation):
            words = f"run {short(made.run_id)}, which has another {' and '.join(other)}"
            reason = f"the server answered the create with {words}"
            raise ResponseValidationError(200, reason, body=made.to_json())
        return [made]

    def _reconcile(self, error: ApiException) -> list[Run] | Pause:
        """Search for the run of an unclear post. If there is none, post again if allowed."""
        self.unclear = True
        self._posts -= 1
        creation, wait = self._creation, self._wait
        server = server_of(wait.contact.runs.api_client)
        client_token = client_token_of(creation)
        known = RunToken(server, agent=creation.agent_id, client_token=client_token)
        # After a 503 that may be a rate limit, the server has probably not made a run. So a short
        # search is enough.
        maybe_limited = self._posts > 0 and failure_of(error).limits
        longest = timing().young if maybe_limited else timing().search
        try:
            return Search(known, wait, error, longest).run()
        except RunStartAmbiguous as ambiguous:
            if self._posts == 0 or not ambiguous.searched or wait.stopped:
                raise
            return Pause(0.0)


class Search:
    """The search for the runs of a create.

    ``known`` is a token without a run id. ``failure`` is the error of the create, if this process
    has sent the create.

    The search begins after any ``Retry-After``, takes at most ``longest`` seconds, by default 10,
    and ends no later than ``wait``. But in a batch, it ends only after a request that worked:
    otherwise it does not show that there is no run.
    """

    # The runs that the last successful request found. Some of them may be of other agents.
    _seen: list[Run] | None = None

    def __init__(
        self,
        known: RunToken,
        wait: Wait,
        failure: ApiException | None = None,
        longest: float | None = None,
    ) -> None:
        clock = timing()
        self._known, self._wait, self._failure = known, wait, failure
        longest = wait.held + (clock.search if longest is None else longest)
        self._ends = clock.now() + longest
        seconds = math.inf if wait.caller.shared else longest
        self._part = wait.part(seconds, late=lambda _, error: self._ambiguous(error))
        # A create may have failed because the server does not have the agent. This is checked once.
        self._checked = failure is None
        self._delay = clock.search_backoff[0]

    def run(self) -> list[Run]:
        """Search until there is a run. Return the runs with the client token, oldest first.

        If the search ends without a run, raise `RunStartAmbiguous`. If the search is denied, and
        this process has not sent the create, raise its error as it is.
        """
        wait, part, failure, agent_id = self._wait, self._part, self._failure, self._known.agent
        if wait.held >= min(wait.remaining(), wait.caller.survives):
            raise self._ambiguous() from failure
        try:
            if self._known.client_token:
                return search(part, agent_id, self._send)
            if not wait.held:
                server_works(part, agent_id)
            raise self._ambiguous()
        except RunStartAmbiguous as error:
            raise error from failure or error.__cause__
        except ApiException as error:
            # If this process has not sent the create, there is no other error to report. A search
            # that was denied, as by a 401 or 403, would be denied again.
            denied = failure is None and failure_of(error).kind == "denied"
            no_agent = isinstance(error, NotFoundException)
            if error.whose == "all" and (denied or no_agent or wait.caller.shared):
                raise error from failure
            raise self._ambiguous(error) from failure or error

    def _send(self, limit: float) -> list[Run] | Pause:
        part, known, clock = self._part, self._known, timing()
        began = clock.now()
        agent_id = known.agent or None
        failed: ApiException | None = None
        found: list[Run] = []
        try:
            runs, token = part.contact.runs, known.client_token
            self._seen = find_by_token(runs, token, agent_id, timeout=limit, turn=part.take_turn)
            found = [run for run in self._seen if is_of(run, agent_id)]
        except ApiException as error:
            failed = error
        must_wait = failed is not None and failure_of(failed).retry_after
        if not (found or self._checked or must_wait or part.over):
            self._checked = True
            server_works(part, known.agent)
        if failed is not None:
            raise failed
        if found:
            return found
        # A search that began early shows little: a read replica may not have had the run yet. So
        # the last search begins at the end.
        if began >= self._ends:
            raise decided(self._ambiguous())
        delay, self._delay = self._delay, min(2 * self._delay, clock.search_backoff[1])
        return Pause(max(0.0, min(delay, self._ends - clock.now())))

    def _ambiguous(self, error: ApiException | None = None) -> RunStartAmbiguous:
        """Return the error of a search that is over. ``error`` is its last failure."""
        known, failure, seen = self._known, self._failure, self._seen
        why = "no run with its client token is there yet"
        if error is not None:
            # If both errors are alike, quote only the first.
            kind = error.status or error.reason
            same = failure is not None and kind == (failure.status or failure.reason)
            why = f"the search {'failed, too' if same else f'for it failed: {one_line(error, 48)}'}"
        elif seen is None:
            why = "there was no time to search for it"
        elif seen:
            why = f"its client token is of run {seen[0].run_id} of agent {seen[0].agent_id}"
        if failure is not None:
            end = f"; {one_line(why, 100)}" if known.client_token else ""
            began = str(failure).partition(f"; {AMBIGUOUS}")[0]
            why = f"{one_line(began, LONGEST_WHY - len(end))}{end}"
        return RunStartAmbiguous(
            client_token=known.client_token,
            token=encode_token(known) if known.client_token else "",
            why=why,
            searched=seen == [] and error is None,
        )


def server_works(wait: Wait, agent_id: str) -> bool:
    """Ask the server for an agent, to find out whether the server works.

    - If the request succeeds, or fails with a status that is no sign of an outage, such as 405,
      return True.
    - If the request fails with a sign of an outage, such as a 502 or a timeout, return False.
    - If the server does not know the agent, raise the 404. Then the agent has no runs, and the
      error is one of all runs.
    """
    read = AgentsApi(wait.contact.runs.api_client).get_agent_by_id
    try:
        wait.send("describe", lambda limit: read(agent_id, _request_timeout=limit), timing().quick)
    except NotFoundException as error:
        if not is_unserved(error):
            decided(error, "all")
            raise
    except ApiException as error:
        if error.whose:
            raise
        return not failure_of(error).is_outage
    return True


def search(wait: Wait, agent_id: str, send: Callable[[float], list[Run] | Pause]) -> list[Run]:
    """Search by ``send`` until it returns runs. If it fails, find out why.

    - If the server is down, or limits requests, the rules decide: a pause, or an error.
    - If the server works although the search has failed, an outage may just have ended. So the
      first time, the search is sent again.
    - The second time, the server is taken not to support searches, and the error is raised.
    """
    failed_alone = False

    def probe(error: ApiException) -> Pause:
        nonlocal failed_alone
        if not server_works(wait, agent_id):
            decision = wait.judge("search", error, probed=True)
            return decision if isinstance(decision, Pause) else Pause(0.0)
        if failed_alone:
            wait.contact.health.fails.add("search")
            raise error
        failed_alone = True
        return Pause(0.0)

    return wait.perform("search", send, probe=probe)


def _at_once() -> None:
    """Wait for no turn: the requests are of no batch."""


def find_by_token(
    runs: RunsApi,
    client_token: str,
    agent_id: str | None = None,
    *,
    timeout: float | None = None,
    turn: Callable[[], object] = _at_once,
) -> list[Run]:
    """Search once for the runs with a client token, and return them, oldest first.

    If the server refuses or ignores metadata in a search, at most ten pages of the agent's runs
    are read. If ``agent_id`` is None, these are pages of all runs. ``timeout``, in seconds, is for
    all pages together. ``turn`` is called before each request but the first.

    The server may also return runs of other agents with that client token, so callers filter the
    runs by `is_of`.
    """
    lacks = health_of(runs.api_client).lacks
    ends = math.inf if timeout is None else timing().now() + timeout
    search = partial(_search_pages, runs, client_token, ends, turn)
    conditions: dict[str, Any] = {"agent_id": agent_id}
    if _NO_METADATA not in lacks:
        try:
            return search({**conditions, "metadata": {CLIENT_TOKEN_KEY: client_token}})
        except ApiException as error:
            failure = failure_of(error)
            if error.status is None or failure.retry_after or failure.kind in ("denied", "limited"):
                raise
            if failure.kind in ("lacks", "missing", "refused"):
                lacks.add(_NO_METADATA)
        turn()
    return search(conditions)


def _search_pages(
    runs: RunsApi,
    client_token: str,
    ends: float,
    turn: Callable[[], object],
    conditions: dict[str, Any],
) -> list[Run]:
    """Search for runs, and return those with a client token, oldest first.

    Pages are read until an empty page, and at most ten. If the conditions contain the client token,
    and all runs of a page have this token, the server searches by metadata. Then no more pages are
    read, because the page has all matches.
    """
    found: dict[str, Run] = {}
    offset = 0
    for number in range(_PAGES):
        if number:
            turn()
        request = RunSearchRequest(**conditions, limit=_PAGE, offset=offset)
        limit = None if ends == math.inf else max(0.001, ends - timing().now())
        try:
            page = runs.search_runs(request, _request_timeout=limit)
        except ApiException as error:
            # If an earlier page had the run, the error matters only if the server asks for a pause.
            if found and not failure_of(error).retry_after:
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
