"""The handle of an agent: find the agent by its name, and start exactly one run by each call."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from typing_extensions import Self, Unpack

from acp_client_v0_1._arguments import UUID_FORM, check_arguments, refuse_token
from acp_client_v0_1._errors import is_by_function
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._names import our_names
from acp_client_v0_1._operation import identifier
from acp_client_v0_1._text import short, warn_caller
from acp_client_v0_1.api import AgentsApi, RunsApi
from acp_client_v0_1.configuration._checks import NoSettings
from acp_client_v0_1.exceptions import ApiException, ApiValueError, OpenApiException, RunWaitTimeout
from acp_client_v0_1.handles import _marks
from acp_client_v0_1.handles._answering import result_of
from acp_client_v0_1.handles._core import RunCore, create_core, handle_of, typed_result
from acp_client_v0_1.handles._create import Create
from acp_client_v0_1.handles._known import add_note, received_id
from acp_client_v0_1.handles._lookup import explain_id, find_agent, read_agent
from acp_client_v0_1.handles._match import asked_for
from acp_client_v0_1.handles._options import RunOptions, creation_of, given_options, showing
from acp_client_v0_1.handles._rules import settled
from acp_client_v0_1.handles._schemas import Cached, JsonObject, cached_descriptor, check_values
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import token_of_create
from acp_client_v0_1.handles._typed import In, JsonType, Out
from acp_client_v0_1.handles._wait import Contact, Wait
from acp_client_v0_1.handles.conversation import Conversation
from acp_client_v0_1.handles.errors import AgentLookupError, RunStartAmbiguous
from acp_client_v0_1.handles.run import RunHandle
from acp_client_v0_1.models import Agent, RunCreate

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from uuid import UUID

    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.batch import Batch, BatchCounts
    from acp_client_v0_1.handles.interrupts import PendingInterrupt
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor

__all__ = ["AgentHandle", "BatchOptions"]

T = TypeVar("T")
# The types that `AgentHandle.typed` is given.
I = TypeVar("I")  # noqa: E741 - the pair of `O`
O = TypeVar("O")  # noqa: E741

# The creates of this process with a client token of the user that may have made a run, as
# `token_of_create` names them, the oldest first. A create that Ctrl-C has interrupted is not among
# them. To append to a deque is one step, and so is to search it, so there is no lock.
_earlier_creates = deque[str](maxlen=1000)
_MAY_REPEAT = "was given to an earlier create: pass reuse=True, or this may make a second run"


class BatchOptions(RunOptions, total=False):
    """The options of `AgentHandle.map`, which describes them."""

    key: Callable[[Any], str] | None
    concurrency: int
    ordered: bool
    timeout: float | None
    on_interrupt: Callable[[PendingInterrupt], Mapping[str, Any] | None] | None
    check: bool
    journal: str | os.PathLike[str] | None
    retry_failed: bool
    unclear: Literal["raise", "start"]
    on_stop: Literal["leave", "cancel"]
    durable: bool
    progress: Callable[[BatchCounts], object] | bool | None
    total: int | None
    executor: Executor | None
    connect: Callable[[], ApiClient] | None


@our_names
class AgentHandle(NoSettings, Generic[In, Out]):
    """The handle of an agent. Making a handle does no I/O.

    Args:
        agent_id: The agent's id, a str or a `uuid.UUID`; `find` takes its name instead.
        api_client: Client to use; the shared default client if None.

    Attributes:
        agent_id: The agent's id.
        runs: The operations on runs that the handle uses.

    Raises:
        ApiTypeError: ``agent_id`` is not a str or UUID, or ``api_client`` not an ApiClient.
        ApiValueError: ``agent_id`` is empty, or not a segment of a path.
    """

    _input_type: JsonType | None = None
    _result_type: JsonType | None = None

    def __init__(self, agent_id: str | UUID, api_client: ApiClient | None = None) -> None:
        self.agent_id: str = identifier("agent_id", agent_id)
        self.runs: RunsApi = RunsApi(api_client)
        client = self.runs.api_client
        self._contact: Contact | None = None
        self._descriptor = cached_descriptor(client, self.agent_id)
        self._agent = Cached(partial(read_agent, AgentsApi(client), self.agent_id))

    @classmethod
    def find(
        cls,
        name: str,
        api_client: ApiClient | None = None,
        *,
        version: str | None = None,
        timeout: float | None = None,
    ) -> Self:
        """Return the handle of the agent with a name.

        Example:
            >>> AgentHandle.find("counter", client).agent.metadata.ref.version
            '1.0.0'

        Args:
            name: The exact name.
            api_client: Client to use; the shared default client if None.
            version: The exact version. By default any version, but then only one agent may have the
                name.
            timeout: Seconds above 0 for each request. There is one request if the agent is found at
                once. By default the client's own timeouts apply.

        Raises:
            AgentLookupError: No agent has the name and version, or several have. If several have,
                the error lists them. If none has, the error lists the agents of the server, at most
                1,000.
            ApiTypeError: ``name`` or ``version`` is not a str, or ``timeout`` not a number.
            ApiException: The search failed. For a server that does not search, use
                ``AgentHandle(agent_id)``.
        """
        check_arguments("name", name=name, version=version, timeout=timeout)
        client = AgentsApi(api_client).api_client
        agent = find_agent(client, name, version, timeout)
        handle = cls(received_id("agent_id", agent), client)
        handle._agent.note(agent)
        return handle

    @classmethod
    def get(
        cls, id_or_name: str, api_client: ApiClient | None = None, *, timeout: float | None = None
    ) -> Self:
        """Return the handle of an agent, from a text that is the agent's id or its name.

        A UUID is taken for an id, without I/O. Any other text is taken for a name first, and this
        name is searched for. If no agent has the name, or the server does not search, the text is
        taken for an id, and the agent is read.

        Args:
            id_or_name: The id, or the exact name.
            api_client: Client to use; the shared default client if None.
            timeout: Seconds for each request, as in `find`.

        Raises:
            AgentLookupError: No agent has that name or id, or several have the name.
            ApiException: The server could not be reached, or refused.
        """
        handle = cls(identifier("id_or_name", id_or_name), api_client)
        if UUID_FORM.fullmatch(handle.agent_id):
            return handle
        try:
            return cls.find(id_or_name, api_client, timeout=timeout)
        except ApiException as error:
            failed = error.status is None or failure_of(error).kind == "denied"
            if failed and not isinstance(error, AgentLookupError):
                raise
            with contextlib.suppress(ApiException):
                if handle._agent.get(timeout).agent_id:
                    return handle
            raise

    @property
    def name(self) -> str:
        """The agent's name, from `agent`."""
        return self.agent.metadata.ref.name

    @property
    def version(self) -> str:
        """The agent's version, from `agent`."""
        return self.agent.metadata.ref.version

    @property
    def agent(self) -> Agent:
        """The agent as the server describes it, read on first use and kept for 300 seconds.

        Raises:
            ApiException: The agent cannot be read; `NotFoundException` if there is no such agent.
        """
        return self._explained(self._agent.get)

    def descriptor(self) -> AgentACPDescriptor:
        """Return a copy of the agent's capabilities and schemas, which are kept for 300 seconds.

        Raises:
            ApiException: They cannot be read; `NotFoundException` if there is no such agent.
        """
        return self._explained(self._descriptor.get)

    def _explained(self, work: Callable[[], T]) -> T:
        """Call ``work``. If its error says that the agent is missing, add a hint to the error.

        The hint is that ``agent_id`` may be a name.
        """
        try:
            return work()
        except ApiException as error:
            explain_id(self.agent_id, error)
            raise

    def check(self, *, input: JsonObject | None = None, config: JsonObject | None = None) -> None:
        """Check input and config against the schemas of the agent's descriptor.

        If a schema cannot be used, there is a warning. The check needs the extra ``validation``.

        Args:
            input: The input, unless None.
            config: The configuration, unless None.

        Raises:
            SchemaMismatch: Input or config does not fit; the error names the paths.
            ApiValueError: The package ``jsonschema-rs`` is missing: ``pip install
                'acp-client-v0-1[validation]'``.
            ApiException: The descriptor cannot be read.
        """
        check_values(self.descriptor(), input, config)

    @overload
    def typed(self, input: type[I], result: type[O]) -> AgentHandle[I, O]: ...
    @overload
    def typed(self, input: type[I], result: None = None) -> AgentHandle[I, dict[str, Any]]: ...
    @overload
    def typed(self, input: None = None, *, result: type[O]) -> AgentHandle[JsonObject, O]: ...
    @overload
    def typed(self, input: Any = None, result: Any = None) -> AgentHandle[Any, Any]: ...
    def typed(self, input: Any = None, result: Any = None) -> AgentHandle[Any, Any]:
        """Return a handle of the same agent whose inputs and results have types.

        A type is what pydantic's ``TypeAdapter`` takes: a model, a dataclass, a ``TypedDict``, an
        ``Annotated[…]``, a union. `run`, `RunHandle.result` and `drive`, conversations and the
        items of `map` give results of the type. A journal holds the JSON of the server, so the same
        call with another type reads its results from the file.

        An input may be an instance, or a mapping of its fields. It is validated before anything is
        sent: an `ApiValueError` names the fields that do not fit. A result that does not fit is a
        `ResultMismatch`.

        Example:
            >>> class Counted(pydantic.BaseModel):
            ...     count: int
            >>> counter.typed(result=Counted).run({"count": 3}, timeout=60).count
            3

        Args:
            input: The type of the inputs. By default an input is any JSON object.
            result: The type of the results. By default a result is a dict.

        Raises:
            ApiTypeError: ``input`` or ``result`` is no type that pydantic can validate by.
        """
        handle: AgentHandle[Any, Any] = object.__new__(type(self))
        vars(handle).update(vars(self))
        handle._input_type = None if input is None else JsonType("input", input)
        handle._result_type = None if result is None else JsonType("result", result)
        return handle

    @showing(RunOptions)
    def start(
        self,
        input: In | Mapping[str, Any] | None = None,
        *,
        thread_id: str | None = None,
        client_token: str | None = None,
        reuse: bool = False,
        check: bool = False,
        timeout: float | None = None,
        **options: Unpack[RunOptions],
    ) -> RunHandle[Out]:
        """Start exactly one run and return its handle, without waiting for the run.

        The run's metadata gets a client token of its own. The server carries out at most one
        create. If the response is lost, the run is searched for by the client token, for
        at most 10 seconds, and within ``timeout``.

        Example:
            >>> run = counter.start({"count": 3}, metadata={"job": "nightly"})
            >>> run.result(timeout=60)
            {'count': 3, 'of': 3}

        Args:
            input: The agent's input, in its own schema.
            thread_id: The thread to run on.
            client_token: The client token of the run. By default this is a new one; "" sends none.
                Use your own for one run only: if the response to the create is lost, the oldest run
                of the agent with the client token, this input and this config is taken for the run
                of this call.
            reuse: Search for a run with ``client_token`` first. If there is one, return its handle.
                Search and create are two requests, so two callers at once can still make two runs.
            check: Check input and config first, as the method `check` does. No input counts as {}.
            timeout: Seconds above 0 for the whole call. By default there is no limit for the call:
                each create has the client's own timeouts. After a failure that made no run, such as
                a 429, the create is sent again for up to five minutes.
            config: The agent's configuration, in its own schema.
            metadata: Keys and values to find the run by.
            webhook: The URL that receives each change of the run's status.
            streaming: "result" or "custom", to follow the run by `RunHandle.events`.
            extra: Fields that the server takes and the contract lacks.

        Raises:
            RunStartAmbiguous: The response was lost and no run was found; the error has a token to
                search for it later.
            SchemaMismatch: ``check`` is true, and input or config does not fit.
            ApiException: The server refused, or could not be reached.
            ApiTypeError: An argument has the wrong type.
            ApiValueError: An argument cannot be used; ``reuse`` needs a ``client_token``. Or the
                client token is of an earlier run with another input or config.
        """
        check_arguments(reuse=reuse, check=check, timeout=timeout, thread_id=thread_id)
        sent = self._sent(input)
        given = given_options(AgentHandle.start, options, input=sent, thread_id=thread_id)
        creation, new = self._creation(given, client_token, reuse=reuse)
        if timeout == 0:
            raise ApiValueError("the timeout must be above 0 seconds: a start sends a request")
        create = Create(creation, self._wait(timeout))
        core, _ = self._start(create, new=new, reuse=reuse, check=check)
        return handle_of(RunHandle[Out], core, self._result_type)

    @showing(RunOptions)
    def run(
        self,
        input: In | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        on_interrupt: Callable[[PendingInterrupt], Mapping[str, Any] | None] | None = None,
        cancel_on_exit: bool = False,
        thread_id: str | None = None,
        client_token: str | None = None,
        reuse: bool = False,
        check: bool = False,
        **options: Unpack[RunOptions],
    ) -> Out:
        """Run the agent and return its result, in the agent's own schema.

        Example:
            >>> counter = AgentHandle.find("counter", client)
            >>> counter.run({"count": 3}, timeout=60)
            {'count': 3, 'of': 3}

        Args:
            input: The agent's input, in its own schema.
            timeout: Seconds for the start and the wait for the result together. With
                ``on_interrupt``, seconds for the start, and again for each output. By default there
                is no limit. With 0, the start has no limit, and the output is asked for once, for
                at most 10 seconds. So if you compute the seconds that are left, pass at least
                0.001.
            on_interrupt: Called with each question of the run; returns the answer, a JSON object,
                or None to stop. If it calls ``question.answer`` by itself, None does not stop.
            cancel_on_exit: Cancel the run if an exception ends this call, Ctrl-C included. If you
                pass a ``client_token``, the run is cancelled only if the response to the create has
                shown that this call has made it.
            thread_id: The thread to run on.
            client_token: The client token of the run. By default this is a new one; "" sends none.
                Use your own for one run only: if the response to the create is lost, the oldest run
                of the agent with the client token, this input and this config is taken for the run
                of this call.
            reuse: Search for a run with ``client_token`` first. If there is one, wait for that run.
            check: Check input and config first, as the method `check` does. No input counts as {}.
            config: The agent's configuration, in its own schema.
            metadata: Keys and values to find the run by.
            webhook: The URL that receives each change of the run's status.
            streaming: "result" or "custom", for others that follow the run by its events.
            extra: Fields that the server takes and the contract lacks.

        Raises:
            RunFailed: The run ended in error; `RunTimedOut` if in timeout.
            RunInterrupted: The run asks something, and there is no ``on_interrupt``, or it returned
                None.
            RunStartAmbiguous: The create's response was lost, and no run was found.
            RunGone: The run was deleted during the call.
            RunWaitTimeout: There was no result in time. The run may still continue, and
                `RunHandle.from_token` takes the error's ``token``. With ``cancel_on_exit``, the
                message says whether the run was cancelled. For any other exception, a note says
                this. Before Python 3.11, a warning in the log says it instead.
            ResultMismatch: The result does not fit the type of `typed`. The run has succeeded.
            SchemaMismatch: ``check`` is true, and input or config does not fit.
            ApiTypeError, ApiValueError: An argument cannot be used; no run was made. Or
                ``on_interrupt`` returned no JSON object. Or the client token is of an earlier run
                with another input or config.
            ApiException: The server refused, or could not be reached.
        """
        flags = {"cancel_on_exit": cancel_on_exit, "reuse": reuse, "check": check}
        check_arguments(timeout=timeout, on_interrupt=on_interrupt, thread_id=thread_id, **flags)
        sent = self._sent(input)
        given = given_options(AgentHandle.run, options, input=sent, thread_id=thread_id)
        creation, new = self._creation(given, client_token, reuse=reuse)
        core, made_here, wait = None, True, self._wait(timeout)
        create = Create(creation, wait)
        try:
            core, made_here = self._start(create, new=new, reuse=reuse, check=check)
            if on_interrupt is not None:
                handle = handle_of(RunHandle[dict[str, Any]], core)
                result = handle.drive(on_interrupt, timeout=timeout)
            else:
                # A timeout of 0 asks once, and None is no limit, so nothing is subtracted.
                left = timeout and max(0.001, wait.remaining())
                result = core.in_span(result_of, core, core.wait(left))
        except BaseException as error:
            # Two kinds of errors leave open whether the create made a run: `RunStartAmbiguous`, and
            # errors that are not of this package, such as KeyboardInterrupt. After these errors,
            # the run is searched for. After any other error of the create, there is no run.
            search = isinstance(error, RunStartAmbiguous) or not (
                isinstance(error, OpenApiException) or is_by_function(error)
            )
            # A run that `reuse` has found is of another call, and is not cancelled.
            if not (cancel_on_exit and made_here and (core or search)):
                raise
            cancelled, note = self._cancel(wait, core, create)
            if cancelled and isinstance(error, ApiException):
                error.token = ""
            if isinstance(error, RunWaitTimeout):
                late = f"run {short(error.run_id)} has no output after {wait.elapsed:.1f} s; {note}"
                error.reason, error.hint, error.elapsed = late, "", wait.elapsed
            else:
                # An earlier note may say how to wait for the run, which is gone once it is
                # cancelled.
                add_note(error, note, core.noted if core and cancelled else "")
            raise
        # The run has succeeded. An error from here on does not cancel it.
        typed: Out = typed_result(core, result, self._result_type)
        return typed

    def conversation(self, thread_id: str | None = None) -> Conversation[In, Out]:
        """Return a conversation with the agent: runs on one thread of ACP. There is no I/O.

        Example:
            >>> talk = echo.conversation()
            >>> talk.run({"say": "Hello"}, timeout=60)
            {'say': 'Hello'}

        Args:
            thread_id: The id of the thread to continue. By default the first run makes a thread.

        Raises:
            ApiTypeError: ``thread_id`` is not a str or None.
            ApiValueError: ``thread_id`` is empty, or not a segment of a path.
        """
        thread_id = None if thread_id is None else identifier("thread_id", thread_id)
        return Conversation(self.start, self.runs.api_client, thread_id)

    @showing(BatchOptions, concurrency=8, unclear="raise", on_stop="leave")
    def map(
        self, inputs: Iterable[In | Mapping[str, Any] | None], **options: Unpack[BatchOptions]
    ) -> Batch[Out]:
        """Run the agent on many inputs, many at a time.

        Once an input has an outcome, the batch gives an item for the input. The outcome may be an
        error. Nothing starts until you iterate over the batch: the first ``next()`` opens the
        journal. If a batch with a ``journal`` was stopped or killed, the same call with the same
        inputs continues the batch.

        The ``next()`` of the batch raises

        - any exception that ``inputs`` raises;
        - an error that all runs would get, such as 401, a wrong address, or an outage of 300
          seconds which the request for another run confirms. The guide to batches lists them;
        - what ``connect`` raises, but for an `OSError`: this is the error of one item;
        - `JournalError` if the journal is locked, damaged, of another batch, or cannot be used as a
          file;
        - `JournalMismatch` if an input differs from the same input in the journal;
        - after Ctrl-C, a `KeyboardInterrupt` whose message says how many runs are still in flight.

        Example:
            >>> for item in counter.map([{"count": 1}, {"count": 2}], ordered=True):
            ...     print(item.result() if item.ok else item.error)
            {'count': 1, 'of': 1}
            {'count': 2, 'of': 2}

        Args:
            inputs: The inputs, drawn as they are needed, in the thread that iterates. Each is
                copied when it is drawn, so a generator may change one dict and yield it again.
            key: Returns the name of an input, for `BatchItem.key`. By default the name is the
                index.
            concurrency: How many runs may be in flight, by default 8. This is not the number of
                threads.
            ordered: Give the items in the order of the inputs. By default they come as the runs
                end.
            timeout: Seconds above 0 to wait for each output of a run. By default there is no limit.
            on_interrupt: Answers questions, as for `run`. It is called from several threads.
            check: Check each input first, as the method `check` does. None counts as {}.
            journal: The path of the file that records each start and outcome.
            retry_failed: Run an input again if the journal says that its run, or the output of its
                run, has failed. The old run is read first, or its output is asked for. If the
                server has tried the run again, so that its status is not ``error`` or ``timeout``
                any more, or if the output is there, the batch uses the old run instead.
            unclear: What to do with an input whose run may or may not have been started, if a
                search does not show which. "raise", the default, makes a `RunStartAmbiguous` the
                outcome of the input. "start" starts a run, which may be a second one.
            on_stop: What to do with the runs in flight when the batch is stopped: "leave" them, the
                default, or "cancel" them. If the end of the batch interrupts a create, the server
                may have made a run whose id nobody knows. Such a run is not deleted. The message of
                a `KeyboardInterrupt` counts it, and the next call with the journal searches for it.
                A run that only the journal names is deleted if it shows its client token.
            durable: Write each line of the journal to the disk before continuing (fsync).
            progress: Called with a `BatchCounts` whenever the counts have changed. True shows a bar
                on standard error (extra ``cli``).
            total: How many inputs there are. By default this is their ``len``, if they have one.
            executor: An executor, such as a ``ProcessPoolExecutor``, which runs the tasks instead
                of threads of this process. The batch gives it tasks that can be pickled.
            connect: Makes the client of a worker process. By default a client is made from the
                environment of that process.
            config: The agent's configuration, in its own schema.
            metadata: Keys and values to find the runs by.
            webhook: The URL that receives each change of each run's status.
            streaming: "result" or "custom", for others that follow the runs by their events.
            extra: Fields that the server takes and the contract lacks.

        Raises:
            ApiTypeError, ApiValueError: An argument has the wrong type, or an impossible value.
        """
        from acp_client_v0_1.batch import Batch

        types = self._input_type, self._result_type
        return Batch(self, inputs, about=self._agent.latest, types=types, **options)

    def _sent(self, input: Any) -> JsonObject | None:
        """Return what is sent of an input. If inputs have a type, validate it."""
        kind = self._input_type
        return input if kind is None or input is None else kind.given("input", input)

    def _creation(
        self, given: dict[str, Any], client_token: str | None, *, reuse: bool
    ) -> tuple[RunCreate, bool]:
        """Return a create, and whether its client token is new.

        A client token that the caller gave, as ``client_token`` or in the metadata, is not new. A
        create without a client token counts as new. ``client_token`` overrides the metadata, and
        "" removes the client token from the metadata.
        """
        metadata = {**given.pop("metadata", {})}
        key = _marks.CLIENT_TOKEN_KEY
        in_metadata = metadata.pop(key, None) or None
        own = in_metadata if client_token is None else client_token
        if own is not None:
            # A client token that is not a str could not be searched for.
            check_arguments(client_token=own)
        if own:
            self._check_token(own)
        elif reuse:
            raise ApiValueError("reuse needs a client token", hint="pass client_token=")
        # The client token is made before the create is sent. So if Ctrl-C interrupts the create,
        # the run can be found.
        token = _marks.new_client_token((self.agent_id, given)) if own is None else own
        given["metadata"] = _marks.with_marks(metadata, {key: token} if token else {}) or None
        creation = creation_of(self.agent_id, given)
        if own and creation.metadata is not None:
            random = _marks.new_client_token((self.agent_id, given))
            mark = _marks.marker(creation)(random, creation.thread_id)
            creation.metadata[_marks.CREATE_KEY] = mark
        return creation, not own

    def _check_token(self, client_token: str) -> None:
        """Raise `ApiValueError` if the client token of a create names a run in another way."""
        refuse_token("client_token", client_token)
        made = self._wait(None).contact.health.marks.marks_of(client_token)
        if made or _marks.is_mask(client_token):
            what = "the id of a run" if made else "what servers show in place of a secret"
            hint = "choose a text of your own, such as a job's name and its day"
            raise ApiValueError(f"client_token {client_token!r:.40} is {what}", hint=hint)

    def _wait(self, seconds: float | None) -> Wait:
        """Return a `Wait` for a call. 0 seconds mean no limit."""
        self._contact = contact = self._contact or Contact.of(self.runs)
        return Wait(contact, seconds or None)

    def _start(
        self, create: Create, *, new: bool, reuse: bool, check: bool
    ) -> tuple[RunCore, bool]:
        """Start a run, or with ``reuse`` find one.

        Return its core, and whether this call has started it. ``new`` says that the client token
        was made for this call, or that there is none.
        """
        wait, creation = create.wait, create.creation
        if check:
            seconds = None if wait.ends == math.inf else wait.limit(math.inf)
            descriptor = self._explained(partial(self._descriptor.get, seconds))
            check_values(descriptor, creation.input or {}, creation.config)
        habits = wait.contact.health.marks
        # Runs that were made for another request are an error, and on another thread left out.
        found = asked_for(settled(create.find), creation, habits) if reuse else []
        try:
            if found:
                core = RunCore.of_runs(self.runs, found, wait.contact)
            else:
                about = self._agent.latest

                def make() -> RunCore:
                    return settled(create_core, creation, self.runs, about, create.run)

                core = self._explained(make) if new else self._start_by_token(creation, make, reuse)
            core.agent_descriptor, core.agent_name = self._descriptor, self._name()
            return core, not found
        except BaseException as error:
            # An interrupt may come after the create, while nothing has the run yet.
            create.name_in(error)
            raise

    def _start_by_token(
        self, creation: RunCreate, make: Callable[[], RunCore], reuse: bool
    ) -> RunCore:
        """Start a run with a client token of the user, and remember the token."""
        token = _marks.client_token_of(creation)
        mark = _marks.Mark(_marks.CLIENT_TOKEN_KEY, token)
        known = token_of_create(self.runs.api_client, self.agent_id, mark)
        if not reuse and known in _earlier_creates:
            warn_caller(f"client_token {token!r:.40} {_MAY_REPEAT}")
        try:
            core = self._explained(make)
        except RunStartAmbiguous:
            # Of the package's errors, only this error leaves open whether there is a run.
            _earlier_creates.append(known)
            raise
        _earlier_creates.append(known)
        return core

    def _cancel(self, call: Wait, core: RunCore | None, create: Create) -> tuple[bool, str]:
        """Cancel the run of a call that an exception ends.

        Return whether the run was cancelled, and a phrase about this for the message of the error,
        or for its note.

        If the exception came during the create, ``core`` is None. Then the run is searched for,
        unless it has no mark.
        """
        try:
            # The new wait is a part of the call, so a `Retry-After` that came during the call
            # counts.
            wait = Wait(call.contact, timing().exit)
            wait.turns = call.turns
            if core is None:
                again = create.again(wait)
                settled(again.search)
                core = RunCore.of_create(self.runs, again)
            cancelled = core.named(core.cancel, wait, proven=True)
        except ApiException as error:
            if isinstance(error, RunStartAmbiguous) and (error.searched or not error.token):
                return False, "no run was found"
            words = error.without("method", "url", "body")
            return False, f"the run could not be cancelled: {words}"
        except Exception as error:  # noqa: BLE001 - a function for credentials may raise any
            return False, f"the run could not be cancelled: {type(error).__name__}"
        return cancelled, "the run was cancelled" if cancelled else "the run has ended meanwhile"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_contact": None}

    def __repr__(self) -> str:
        name = self._name()
        return f"<AgentHandle{name and ' '}{short(name)} {short(self.agent_id)}>"

    def _name(self) -> str:
        known = self._agent.latest or self._descriptor.latest
        return "" if known is None else known.metadata.ref.name
