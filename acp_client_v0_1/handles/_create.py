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
from typing import Any

from acp_client_v0_1._errors import AMBIGUOUS
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._text import one_line, short
from acp_client_v0_1.api import AgentsApi, RunsApi
from acp_client_v0_1.exceptions import ApiException, NotFoundException, ResponseValidationError
from acp_client_v0_1.handles._known import utc
from acp_client_v0_1.handles._match import asked_for, differences, is_of
from acp_client_v0_1.handles._rules import Pause, is_unserved
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import CLIENT_TOKEN_KEY, client_token_of, token_of_create
from acp_client_v0_1.handles._wait import Contact, Wait
from acp_client_v0_1.handles.errors import LONGEST_WHY, RunStartAmbiguous
from acp_client_v0_1.models import Run, RunCreate, RunSearchRequest

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

    ``new`` says that no other create has the client token. If it is not new, the runs that are
    found may be of an earlier call, and must have been created with the same input and config.

    ``posts`` limits the number of posts that may have made a run. A post that certainly made no
    run, for example because it got a 429, does not count.

    `search` also finds the run of a create that another process or call has sent. It needs only the
    agent and the client token of that create.
    """

    # Whether some post left open whether a run was made.
    unclear = False
    # The error of the last unclear post.
    _failure: ApiException | None = None
    # The runs that the last search found, or None. Some of them may be of other agents.
    _seen: list[Run] | None = None

    def __init__(self, creation: RunCreate, wait: Wait, posts: int = 1, new: bool = True) -> None:
        self._creation, self._wait, self._posts, self._new = creation, wait, posts, new

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
        self.unclear, self._failure = True, error
        self._posts -= 1
        # After a 503 that may be a rate limit, the server has probably not made a run. So a short
        # search is enough.
        maybe_limited = self._posts > 0 and failure_of(error).limits
        try:
            found = self.search(timing().young if maybe_limited else timing().search)
        except RunStartAmbiguous as ambiguous:
            if self._posts == 0 or not ambiguous.searched or self._wait.stopped:
                raise
            return Pause(0.0)
        return found if self._new else asked_for(found, self._creation)

    def search(self, longest: float | None = None) -> list[Run]:
        """Search until there is a run. Return the runs with the client token, oldest first.

        The search begins after any ``Retry-After``, takes at most ``longest`` seconds, by default
        10, and ends no later than the wait. In a batch, it is repeated until one search works,
        because only then is it known that there is no run.

        If the search ends without a run, raise `RunStartAmbiguous`. If the search is denied, and
        this process has not sent the create, raise its error as it is.
        """
        wait, failure, clock = self._wait, self._failure, timing()
        longest = wait.held + (clock.search if longest is None else longest)
        self._ends = clock.now() + longest
        seconds = math.inf if wait.caller.shared else longest
        self._part = wait.part(seconds)
        self._part.late = lambda _: self._ambiguous()
        self._delay, self._seen, self._failed_alone = clock.search_backoff[0], None, False
        # A create may have failed because the server does not have the agent. This is checked once.
        self._checked = failure is None
        try:
            if client_token_of(self._creation):
                return self._part.perform("search", self._send, probe=self._probe)
            self._server_works()
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
            raise self._ambiguous() from failure or error

    def find(self) -> list[Run]:
        """Search until a search has worked. Return the runs with the client token, oldest first.

        Some of them may be of other agents.
        """
        self._part, self._failed_alone = self._wait, False
        return self._part.perform("search", self._find, probe=self._probe)

    def _find(self, limit: float) -> list[Run]:
        token, agent_id, part = client_token_of(self._creation), self._creation.agent_id, self._part
        return find_by_token(part.contact.runs, token, agent_id or None, part, limit)

    def _send(self, limit: float) -> list[Run] | Pause:
        began, agent_id = timing().now(), self._creation.agent_id or None
        try:
            self._seen = self._find(limit)
        except ApiException as error:
            if not failure_of(error).retry_after:
                self._check_agent()
            raise
        if found := [run for run in self._seen if is_of(run, agent_id)]:
            return found
        self._check_agent()
        # A read replica may get the run only after some seconds. So only a search that begins when
        # the time is over shows that there is no run.
        if began >= self._ends:
            self._part.forget_failures()
            raise self._part.late_error()
        delay, self._delay = self._delay, min(2 * self._delay, timing().search_backoff[1])
        return Pause(max(0.0, min(delay, self._ends - timing().now())))

    def _check_agent(self) -> None:
        if not self._checked:
            self._checked = True
            self._server_works()

    def _probe(self, error: ApiException) -> list[Run] | Pause:
        """Find out why a search has failed.

        - If the server is down, or limits requests, the rules decide: a pause, or an error.
        - If the server works although the search has failed, an outage may just have ended. So the
          first time, the search is sent again.
        - The second time, the server is taken not to support searches, and the error is raised.
        """
        if not self._server_works():
            # The whole server fails, so this is no failure of searches alone.
            return self._part.judge("describe", error)
        if self._failed_alone:
            self._part.contact.health.fails.add("search")
            raise error
        self._failed_alone = True
        return Pause(0.0)

    def _server_works(self) -> bool:
        """Ask the server for the agent, to find out whether the server works.

        - If the request succeeds, or fails with a status that is no sign of an outage, such as 405,
          return True.
        - If the request fails with a sign of an outage, such as a 502 or a timeout, return False.
        - If the server does not know the agent, raise the 404. No create for this agent can make a
          run, so in a batch the 404 ends the batch.
        """
        part, agent_id = self._part, self._creation.agent_id
        read = AgentsApi(part.contact.runs.api_client).get_agent_by_id
        try:
            part.send(
                "describe", lambda limit: read(agent_id, _request_timeout=limit), timing().quick
            )
        except ApiException as error:
            if error.status == 404 and not is_unserved(error):
                error.whose = "all"
            if error.whose:
                raise
            return not failure_of(error).is_outage
        return True

    def _ambiguous(self) -> RunStartAmbiguous:
        """Return the error of a search that is over."""
        client_token, agent_id = client_token_of(self._creation), self._creation.agent_id
        client = self._wait.contact.runs.api_client
        failure, error, seen = self._failure, self._part.error, self._seen
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
            end = f"; {one_line(why, 100)}" if client_token else ""
            began = str(failure.without("method", "url")).partition(f"; {AMBIGUOUS}")[0]
            why = f"{one_line(began, LONGEST_WHY - len(end))}{end}"
        return RunStartAmbiguous(
            client_token=client_token,
            token=token_of_create(client, agent_id, client_token),
            why=why,
            searched=seen == [] and error is None,
        )


def find_by_token(
    runs: RunsApi,
    client_token: str,
    agent_id: str | None = None,
    wait: Wait | None = None,
    limit: float = math.inf,
) -> list[Run]:
    """Search once for the runs with a client token, and return them, oldest first.

    Pages are read until a page has such runs, and at most ten. If the server refuses or ignores
    metadata in a search, these are pages of the agent's runs, or of all runs if ``agent_id`` is
    None. All pages together take at most ``limit`` seconds. With a ``wait``, each request but the
    first takes a turn.

    The server may also return runs of other agents with that client token, so callers filter the
    runs by `is_of`.
    """
    contact = Contact.of(runs) if wait is None else wait.contact
    lacks, ends, offset = contact.health.lacks, timing().now() + limit, 0
    conditions: dict[str, Any] = {"agent_id": agent_id, "limit": _PAGE}
    if _NO_METADATA not in lacks:
        conditions["metadata"] = {CLIENT_TOKEN_KEY: client_token}
    for number in range(_PAGES):
        if wait is not None and number:
            wait.take_turn()
        request = RunSearchRequest(**conditions, offset=offset)
        seconds = None if limit == math.inf else max(0.001, ends - timing().now())
        try:
            page = runs.search_runs(request, _request_timeout=seconds)
        except ApiException as error:
            failure = failure_of(error)
            passes = failure.retry_after or failure.kind in ("denied", "limited")
            if "metadata" not in conditions or error.status is None or passes:
                raise
            if failure.kind in ("lacks", "missing", "refused"):
                lacks.add(_NO_METADATA)
            del conditions["metadata"]
            continue
        marked = (run for run in page if client_token_of(run.creation) == client_token)
        found = {run.run_id: run for run in marked}
        if found or not page:
            return sorted(found.values(), key=lambda run: (utc(run.created_at), run.run_id))
        offset += len(page)
    raise ApiException(reason=f"the run is not among the first {offset} that were found")
