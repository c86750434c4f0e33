"""Makes one run for one create, even if the response to the create is lost.

Strategy: ACP 0.1 has no idempotency key, so each create has a mark of its own in its metadata
(`_marks`). A create that the server certainly did not carry out is posted again. If a failure
leaves open whether the create was carried out, or if the response is of another run, the run is
searched for by its mark alone (`_search`). If the search shows that there is no run, a batch posts
the create again, and any other caller gets a `RunStartAmbiguous`. If the server does not know the
agent, no run was made, and the caller gets the 404.

Invariant: outside a batch, the server carries out at most one create of a call. When a batch posts
a create again, the first request may still be on its way. Then there may be two runs.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Literal

from acp_client_v0_1 import exceptions
from acp_client_v0_1._errors import AMBIGUOUS, is_by_function, moves_elsewhere
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._text import one_line, short
from acp_client_v0_1.api import AgentsApi
from acp_client_v0_1.exceptions import ApiException, NotFoundException
from acp_client_v0_1.handles import _marks
from acp_client_v0_1.handles._known import add_note
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY, Mark
from acp_client_v0_1.handles._match import asked_for, is_of, other_values, plain_id
from acp_client_v0_1.handles._rules import Decided, Pause, is_unserved, undecided
from acp_client_v0_1.handles._search import Search
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import token_of_create
from acp_client_v0_1.handles._wait import Wait
from acp_client_v0_1.handles.errors import LONGEST_WHY, RunStartAmbiguous
from acp_client_v0_1.models import Run, RunCreate


class Unclear(Decided):
    """Nothing shows whether a create has made a run: the error is a `RunStartAmbiguous`."""

    error: RunStartAmbiguous


# Why a response is not believed, if another create was given its run. Neither create is, then.
_EARLIER = "of an earlier create"


class Create:
    """One create: it posts, and if a post is unclear, it reconciles.

    - *Posting*: the create is posted until the server has carried it out or refused it, or until a
      failure leaves open whether the run was made.
    - *Reconciling*: the runs with the mark of the create are searched for. If the search shows that
      there is none, and ``posts`` allows another post, the create is posted again. If the first
      post is still under way at that time, both posts may make a run.

    ``posts`` limits the number of posts that may have made a run. A post that certainly made no
    run, for example because it got a 429, does not count.

    `search` also finds the run of a create that another process or call has sent. It needs only the
    agent and the mark of that create. ``since`` says when that create was posted, at the earliest:
    seconds since the epoch, or minus infinity if that is not known.
    """

    # The run, and after it newer runs that the same create has made.
    found: list[Run]
    # Whether the response to the create has named the run, or the run has shown its mark. If not, a
    # search has found it, at a server that hides marks.
    proven: bool = False
    # Whether this process has posted the create, and the error of the last unclear post.
    _posted = False
    _failure: ApiException | None = None
    # A run that the server returned for the create, although it shows the run of another one.
    _doubted: Run | None = None
    # Whether a create with one mark was sent because the server had refused one with two marks.
    _reduced = False

    def __init__(
        self, creation: RunCreate, wait: Wait, posts: int = 1, since: float = math.inf
    ) -> None:
        self.wait: Wait = wait
        self._posts, self._since = posts, since
        self._habits, self._agent = wait.contact.health.marks, creation.agent_id
        # The create as the server gets it, and its mark.
        self.creation: RunCreate = creation
        self._marks = _marks.marks_of(creation)
        self.mark: Mark | None = self._marks[0] if self._marks else None
        if len(self._marks) > 1 and ("one mark", self._agent) in self._habits.facts:
            self._drop_mark()

    def _drop_mark(self) -> None:
        """Send the caller's client token without the mark of the create."""
        self._marks = self._marks[1:]
        (self.mark,) = self._marks
        metadata = _marks.with_marks(self.creation.metadata or {}, _marks.by_key(*self._marks))
        self.creation = self.creation.model_copy(update={"metadata": metadata})

    def again(self, wait: Wait) -> Create:
        """Return the same create for another wait."""
        return Create(self.creation, wait, since=self._posted_at())

    def _posted_at(self) -> float:
        """When the create was posted, at the earliest."""
        here = timing().calendar() - self.wait.elapsed
        return min(self._since, here if self._posted else math.inf)

    # Posting

    def run(self) -> Create:
        """Create one run, which becomes `found`.

        An error that leaves open whether there is a run gets the token of the create.
        """
        try:
            found = self.wait.perform("create", self._post, longest=math.inf, probe=self._reconcile)
        except BaseException as error:
            self.name_in(undecided(error))
            raise
        self.found = found
        return self

    def _post(self, limit: float) -> list[Run] | Pause:
        seconds, self._posted = None if limit == math.inf else limit, True
        try:
            made = self.wait.contact.runs.create_run(self.creation, _request_timeout=seconds)
        except ApiException as error:
            # The server may limit the number of keys in the metadata.
            if error.status not in (400, 422) or len(self._marks) < 2:
                raise
            self._drop_mark()
            self._reduced = True
            return Pause(0.0)
        if self._reduced:
            self._habits.facts.add(("one mark", self._agent))
        mark = self.mark
        shown = None if mark is None else self._habits.shows(mark, made, self._agent, "create")
        # Another thread may get the same run at the same time. So it is noted before it is judged.
        given = made.run_id, self._marks
        self._habits.made.append(given)
        if not shown and (doubt := self._doubt(made, shown, given)):
            if doubt != _EARLIER:
                with suppress(ValueError):
                    self._habits.made.remove(given)
            # The server has carried out some create, and perhaps this one.
            self._posts, self._doubted = 0, made
            reason = f"the response is of run {short(made.run_id)}, {doubt}"
            raise exceptions.ResponseValidationError(200, reason, body=made.to_json())
        if mark is not None:
            self._habits.given[self._agent, mark.key] = mark
        self.proven = True
        return [made]

    def _doubt(self, made: Run, shown: bool | None, given: object) -> str:
        """Tell why a response that does not show the mark may be of another run, or return ""."""
        habits, mark = self._habits, self.mark
        if shown is False:
            return "with another client token"
        if not is_of(made, self._agent):
            return "of another agent"
        # Some servers give every run a UUID of zeros.
        if plain_id(made.run_id) and habits.made_for_another(made.run_id, mark, given):
            return _EARLIER
        rewrites = ("rewrites", self._agent) in habits.facts
        other = "" if rewrites else other_values(made, self.creation)
        return other and f"with another {other}"

    def name_in(self, error: BaseException) -> None:
        """Give an error the token by which the run can be found, if there may be a run."""
        # Any error of the package says whether the create is unclear. Ctrl-C does not.
        # After an error of a function for credentials, the post was not sent.
        foreign = not (isinstance(error, exceptions.OpenApiException) or is_by_function(error))
        unclear = self._failure is not None or (self._posted and foreign)
        if getattr(error, "token", None) is not None or not (unclear and (token := self._token())):
            return
        vars(error)["token"] = token
        if not isinstance(error, ApiException):
            how = f"RunHandle.from_token({token!r}, client)"
            add_note(error, f"a run may have been started: find it by {how}")

    def _token(self) -> str:
        client = self.wait.contact.runs.api_client
        return token_of_create(client, self._agent, *self._marks)

    # Reconciling

    def _reconcile(self, error: ApiException) -> list[Run] | Pause:
        """Search for the run of an unclear post. If there is none, post again if allowed."""
        self._failure = error
        self._posts -= 1
        # After a 503 that may be a rate limit, the server has probably not made a run. So a short
        # search is enough.
        again = self._posts > 0
        seconds = timing().young if again and failure_of(error).limits else timing().search
        try:
            found = self.search(seconds, proof=again)
        except Unclear as unclear:
            if not again or not unclear.error.searched or self.wait.stopped:
                raise
            return Pause(0.0)
        except Exception as failed:
            if not is_by_function(failed):
                raise
            why = f"a function for the search raised {type(failed).__name__}"
            raise self._unclear(failed, why, whose="all") from None
        doubted = self._doubted
        if doubted is not None and doubted.run_id in [run.run_id for run in found]:
            self.proven = True
        if self.mark is not None and not self.mark.is_random:
            # The server has refused a mark of the create. So runs of earlier calls are found, too.
            found = asked_for(found, self.creation, self._habits)
        if not found:
            raise self._unclear(error)
        return found

    def search(self, longest: float | None = None, *, proof: bool = False) -> list[Run]:
        """Search until there is a run. Return the runs of the create, oldest first, as `found`.

        The search begins after any ``Retry-After``, takes at most ``longest`` seconds, by default
        10, and ends no later than the wait. A batch repeats it until one search works.

        If the search ends without a run, raise `Unclear`. With ``proof``, the `searched` of its
        error says whether there certainly is no run. If the search is denied, and this process has
        not sent the create, raise its error as it is.
        """
        wait, failure, clock = self.wait, self._failure, timing()
        longest = wait.held + (clock.search if longest is None else longest)
        self._ends = clock.now() + longest
        part = wait.part(math.inf if wait.caller.shared else longest)
        part.late = lambda _: self._unclear()
        self._needs_proof = proof
        mark = self.mark or Mark(CLIENT_TOKEN_KEY, "")
        self._begin(part, Search(wait.contact, mark, self._agent, self._posted_at()))
        try:
            if self.mark is None:
                self._server_works()
                raise self._unclear()
            found = part.perform("search", self._send, probe=self._probe)
            self.found, self.proven = found, self._search.proven
            if not self.proven and other_values(found[0], self.creation):
                # The server compares marks, and so shows the input of this create in another way.
                self._habits.facts.add(("rewrites", self._agent))
            self._habits.made.append((found[0].run_id, self._marks))
            return found
        except Unclear as unclear:
            unclear.error.__cause__ = failure or unclear.__cause__
            raise
        except Decided as decided:
            error = decided.error
            # If this process has not sent the create, there is no other error to report. A search
            # that was denied, as by a 401 or 403, would be denied again.
            denied = failure is None and failure_of(error).kind == "denied"
            no_agent = isinstance(error, NotFoundException)
            if failure is not None and self._is_everybodys(error):
                failure.__cause__ = error
                raise Decided(failure, "all") from None
            if decided.whose == "all" and (denied or no_agent or wait.caller.shared):
                error.__cause__ = failure
                raise
            raise self._unclear(failure or error) from None

    def _is_everybodys(self, error: ApiException) -> bool:
        """Tell whether a create and the search for its run have failed as every request would.

        Both were redirected to another path, for example to log in. Or each was the first request
        of a connection over TLS, which the server ended.
        """
        first = self._failure
        if first is None:
            return False
        ended = failure_of(first).ended and failure_of(error).ended
        return ended or (moves_elsewhere(first) and moves_elsewhere(error))

    def find(self) -> list[Run]:
        """Search once for the runs with the caller's client token. Return them, oldest first.

        A run whose digest shows that it was made for the same request is one of them.
        """
        mark = Mark(CLIENT_TOKEN_KEY, _marks.client_token_of(self.creation))
        search = Search(self.wait.contact, mark, self._agent)
        compare = _marks.comparison(self.creation, self._habits)
        search.proves = lambda run: compare(run) == "same"
        self._begin(self.wait, search)
        found = self.wait.perform("search", self._search_once, probe=self._probe)
        if why := search.nobody_knows:
            words = f"a run with the client token {short(mark.value)} may be there or not: {why}"
            raise ApiException(reason=words)
        return found

    def _begin(self, part: Wait, search: Search) -> None:
        self._part, self._search = part, search
        # When the present pass of the search began. None before its first request.
        self._began: float | None = None
        # Whether a search has worked, and whether the next request looks for a proof.
        self._worked = self._proving = False
        # How many searches have failed while the server may work.
        self._failures, self._delay = 0, timing().search_backoff[0]
        # A create may have failed because the server does not have the agent. This is checked once.
        self._checked = self._failure is None

    def _search_once(self, limit: float) -> list[Run] | Pause:
        """Send the next request of a search.

        After two failures while the server works, all runs are read instead. If that fails as well,
        the server is taken not to support searches. A limit is no failure of the search: it would
        limit the other requests, too.
        """
        search, part = self._search, self._part
        try:
            found = search.send(limit)
            self._failures = 0
            return found
        except ApiException as error:
            failure = failure_of(error)
            # The server may limit requests. So from now on there are few searches.
            self._delay = timing().backoff[1]
            if failure.retry_after or is_by_function(error):
                raise
            if self._is_everybodys(error):
                # The rules would ask again.
                raise Decided(error, "all") from None
            self._check_agent()
            self._failures += failure.is_outage and not failure.limits
            most, fails = 2 if search.by_mark else timing().refusals, part.contact.health.fails
            # A caller that survives no failure has only this one.
            at_once = not part.caller.outages or "search" in fails
            if self._failures < (1 if at_once else most) or not self._server_works():
                raise
            if not search.by_mark:
                fails.add("search")
                raise Decided(error) from None
        # The look at the agent has used the turn of this request, and some of the time.
        part.take_turn()
        self._failures, search.fails = 0, True
        search.read_pages()
        return search.send(part.limit(limit))

    def _send(self, limit: float) -> list[Run] | Pause:
        search, clock = self._search, timing()
        if self._began is None:
            self._began = clock.now()
            # A request that hangs must leave time for another one.
            limit = limit if self._worked else min(limit, clock.first_search)
        found = self._search_once(limit)
        if isinstance(found, Pause) or found:
            return found
        self._check_agent()
        self._worked = True
        # A read replica may get the run only after some seconds. So only a search that begins when
        # the time is over shows that there is no run.
        if self._began < self._ends and not search.too_many:
            search.begin()
            self._began = None
            delay, longest = self._delay, max(self._delay, clock.search_backoff[1])
            self._delay = min(2 * delay, longest)
            return Pause(max(0.0, min(delay, self._ends - clock.now())))
        known = search.is_certain or search.nobody_knows or search.compares
        if self._needs_proof and not (self._proving or known):
            self._proving = True
            search.prove()
            return Pause(0.0)
        self._part.forget_failures()
        raise self._part.late_error()

    def _check_agent(self) -> None:
        if not self._checked:
            self._checked = True
            self._server_works()

    def _probe(self, error: ApiException) -> list[Run] | Pause:
        """Judge a failure of a search like one of the whole server: `_search_once` counts it."""
        return self._part.judge("describe", error)

    def _server_works(self) -> bool:
        """Ask the server for the agent, to find out whether the server works.

        - If the request succeeds, or fails with a status that is no sign of an outage, such as 405,
          return True.
        - If the request fails with a sign of an outage, such as a 502 or a timeout, return False.
        - If the server does not know the agent, raise the 404. No create for this agent can make a
          run, so in a batch the 404 ends the batch.
        """
        part, agent_id = self._part, self._agent
        read = AgentsApi(part.contact.runs.api_client).get_agent_by_id
        try:
            part.send(
                "describe", lambda limit: read(agent_id, _request_timeout=limit), timing().quick
            )
        except ApiException as error:
            if error.status == 404 and not is_unserved(error):
                raise Decided(error, "all") from None
            if is_by_function(error):
                raise
            return not failure_of(error).is_outage
        return True

    def _unclear(
        self, cause: Exception | None = None, why: str = "", whose: Literal["run", "all"] = "run"
    ) -> Unclear:
        """Return the error of a search that is over."""
        failure, error, search = self._failure, self._part.error, self._search
        known, why = why, why or search.nobody_knows or "no run with its client token was found"
        if error is not None:
            # If both errors are alike, quote only the first.
            kind = error.status or error.reason
            same = failure is not None and kind == (failure.status or failure.reason)
            words = one_line(error.without("method", "url"), 32)
            why = f"the search {'failed, too' if same else f'for it failed: {words}'}"
        elif not (self._worked or known):
            why = "there was no time to search for it"
        if failure is not None:
            end = f"; {one_line(why, 100)}" if self.mark else ""
            began = str(failure.without("method", "url")).partition(f"; {AMBIGUOUS}")[0]
            # Without a response, the words may end in advice, such as to write https://.
            why = f"{one_line(began, LONGEST_WHY - len(end), 0 if failure.status else 42)}{end}"
        certain = search.is_certain or (search.compares and not search.nobody_knows)
        certain = certain if self._needs_proof else not search.nobody_knows
        ambiguous = RunStartAmbiguous(
            client_token=_marks.client_token_of(self.creation),
            token=self._token(),
            why=why,
            searched=self._worked and error is None and certain,
        )
        ambiguous.__cause__ = cause
        return Unclear(ambiguous, whose)
