"""What an agent of the local server is: a plain callable, and its description.

An agent is `function(input, config, context)` and takes one of two shapes:

- a plain function returns the result, a dict, or raises;
- a generator function may yield before it returns its result. A yielded dict is an update: an
  event of mode `custom`, a partial result of mode `result`. A yielded `Interrupt` asks the caller
  for input, and the `yield` returns what `resume_run` sent:

      def agent(input, config, context):
          answer = yield Interrupt("approval", {"question": "Go on?"})
          return {"approved": answer["approved"]}

Asking is a `yield` because a suspended generator costs no thread: an interrupted run is an object
at rest until it is resumed, and nothing that ran before the question runs twice.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias, cast

from pydantic import PositiveFloat
from pydantic_core import from_json, to_json

from acp_client_v0_1._arguments import check_arguments, wrong_type
from acp_client_v0_1._names import did_you_mean
from acp_client_v0_1.testing._values import JSON_TYPES, check_given, check_type, json_copy
from acp_client_v0_1.testing.context import AgentContext

__all__ = ["AgentDefinition", "AgentError", "AgentFunction", "Interrupt", "InterruptSpec"]
__all__ += ["JsonObject"]

JsonObject: TypeAlias = dict[str, Any]
AgentFunction: TypeAlias = Callable[[JsonObject, JsonObject, AgentContext], object]

# Ids derived from name and version stay the same from one test run to the next.
_ID_NAMESPACE = uuid.UUID("6f0f0d9c-0d0a-5f7e-9a55-3b0c1f6f7a10")


def _any_object() -> JsonObject:
    return {"type": "object"}


class AgentError(Exception):
    """Raised by an agent to end its run in status `error`.

    Args:
        errcode: The agent's own code, `errcode` of RunError.
        description: One line for a person, `description` of RunError.

    Raises:
        TypeError: `errcode` is not an int, or `description` not a str.
        ValueError: One of them cannot be written as JSON.
    """

    def __init__(self, errcode: int, description: str) -> None:
        for name, value, kind in (("errcode", errcode, int), ("description", description, str)):
            check_type(name, value, kind)
            try:
                # JSON has no half of a surrogate pair, and no int of thousands of digits.
                from_json(to_json(value))
            except ValueError as error:
                raise ValueError(f"{name} cannot be written as JSON: {error}") from error
        super().__init__(errcode, description)
        self.errcode = errcode
        self.description = description


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question to the caller: an agent yields it to be interrupted.

    Args:
        interrupt_type: Which of the agent's interrupts this is.
        payload: What the caller needs to know; the run's output has it beside `interrupt_type`.

    Raises:
        TypeError: `interrupt_type` is not a str.
    """

    interrupt_type: str
    payload: JsonObject = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        check_given(type(self), self)


@dataclass(frozen=True, slots=True)
class InterruptSpec:
    """How an agent's descriptor declares one kind of interrupt.

    Args:
        interrupt_type: The value of `interrupt_type` in the output.
        interrupt_payload: JSON Schema of the question.
        resume_payload: JSON Schema of the body that `resume_run` takes.

    Raises:
        TypeError: `interrupt_type` is not a str, or a schema not a JSON Schema.
    """

    interrupt_type: str
    interrupt_payload: JsonObject = field(default_factory=_any_object)
    resume_payload: JsonObject = field(default_factory=_any_object)

    def __post_init__(self) -> None:
        check_given(type(self), self)
        _copy_schemas(self, "interrupt_payload", "resume_payload")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDefinition:
    """An agent and its description for the protocol. Only the function is required.

    Args:
        function: The agent itself; the module's description has its two shapes.
        name: Name to search by; by default the function's name.
        version: Semantic version to search by.
        description: One line for a person; by default the docstring's first line.
        agent_id: Identifier; by default a UUID derived from name and version.
        input: JSON Schema of `RunCreate.input`. Before a run starts, `required` and the `type` of
            the properties are checked.
        output: JSON Schema of the result.
        config: JSON Schema of `RunCreate.config`, checked like `input`.
        custom_streaming_update: JSON Schema of one update of mode `custom`.
        thread_state: JSON Schema of the thread state. An agent that has one declares threads: each
            of its runs that names no thread gets a new one.
        interrupts: The questions that the agent may ask.
        timeout: Seconds that a run may be pending before it ends in status `timeout`.

    Raises:
        TypeError: `function` cannot be called with three arguments, or is async; `timeout` is not a
            number; the descriptor would not be JSON, or a schema is not a JSON Schema.
        ValueError: `timeout` is not above 0.
    """

    function: AgentFunction
    name: str = ""
    version: str = "0.1.0"
    description: str = ""
    agent_id: str = ""
    input: JsonObject = field(default_factory=_any_object)
    output: JsonObject = field(default_factory=_any_object)
    config: JsonObject = field(default_factory=_any_object)
    custom_streaming_update: JsonObject | None = None
    thread_state: JsonObject | None = None
    interrupts: Sequence[InterruptSpec] = ()
    timeout: PositiveFloat | None = None

    def __post_init__(self) -> None:
        _check_function(self.function)
        check_given(type(self), self)
        name = self.name or getattr(self.function, "__name__", type(self.function).__name__)
        documentation = (inspect.getdoc(self.function) or name).splitlines()[0]
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "description", self.description or documentation)
        _copy_schemas(self, "input", "output", "config", "custom_streaming_update", "thread_state")
        json_copy(self.descriptor() | {"agent_id": self.agent_id}, "the agent's descriptor")
        derived_id = str(uuid.uuid5(_ID_NAMESPACE, f"{name}/{self.version}"))
        object.__setattr__(self, "agent_id", self.agent_id or derived_id)

    def to_wire(self) -> JsonObject:
        """Return the Agent of this definition."""
        return {"agent_id": self.agent_id, "metadata": self._metadata()}

    def descriptor(self) -> JsonObject:
        """Return the AgentACPDescriptor of this definition."""
        call = getattr(self.function, "__call__", None)  # noqa: B004 - an object may be the agent
        # Only generators have updates to stream.
        updates = any(map(inspect.isgeneratorfunction, (inspect.unwrap(self.function), call)))
        specs: JsonObject = {
            "capabilities": {
                "threads": self.thread_state is not None,
                "interrupts": bool(self.interrupts),
                "callbacks": True,
                "streaming": {"result": updates, "custom": updates},
            },
            "input": self.input,
            "output": self.output,
            "config": self.config,
            "custom_streaming_update": self.custom_streaming_update,
            "thread_state": self.thread_state,
            "interrupts": [asdict(interrupt) for interrupt in self.interrupts] or None,
        }
        declared = {name: value for name, value in specs.items() if value is not None}
        return {"metadata": self._metadata(), "specs": declared}

    def resume_schema(self, interrupt_type: str) -> JsonObject:
        """Return the JSON Schema of an interrupt's answer: any object if it is not declared."""
        schemas = {each.interrupt_type: each.resume_payload for each in self.interrupts}
        return schemas.get(interrupt_type, _any_object())

    def _metadata(self) -> JsonObject:
        return {
            "ref": {"name": self.name, "version": self.version},
            "description": self.description,
        }


def _copy_schemas(definition: object, *names: str) -> None:
    """Replace schemas by copies, and refuse forms that JSON Schema does not have."""
    for name in names:
        if getattr(definition, name) is not None:
            schema = json_copy(getattr(definition, name), name)
            required: object = schema.get("required", [])
            if not isinstance(required, list) or set(map(type, cast("Any", required))) - {str}:
                raise TypeError(f"{name}: required must be a list of names")
            if not isinstance(schema.get("properties", {}), dict):
                raise TypeError(f"{name}: properties must be a dict of schemas")
            for part in (schema, *schema.get("properties", {}).values()):
                given: object = cast("Any", part).get("type", []) if type(part) is dict else []
                kinds = cast("list[object]", given) if isinstance(given, list) else [given]
                for kind in map(str, kinds):
                    if kind not in JSON_TYPES:
                        hint = did_you_mean(kind, JSON_TYPES, advice=False)
                        raise TypeError(f"{name}: {kind!r} is not a type of JSON Schema{hint}")
            object.__setattr__(definition, name, schema)


def _check_function(function: object) -> None:
    if isinstance(function, type):
        raise wrong_type("function", "a function agent(input, config, context)", function)
    inner = inspect.unwrap(function) if callable(function) else function
    for each in (inner, getattr(function, "__call__", None)):  # noqa: B004 - as above
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            raise TypeError("function: must not be async: each run has a thread of its own")
    check_arguments(function=function)
