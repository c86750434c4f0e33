"""What an agent's descriptor says, and whether a value fits its schemas.

Strategy: only `_schema_faults` uses ``jsonschema-rs``, "the package" in this file. Descriptors are
not trusted. No reference is fetched. Patterns are bounded in size and matched in linear time. A
schema whose check grows exponentially is refused before the package sees it.

The first step is to find out whether a value fits. This step takes no memory. If the value does not
fit, the package can list the faults. Each fault has a copy of a part of the value, so the faults
are listed only if their memory is estimated to be small. If a schema cannot be used, there is only
a warning, because only the server's own check counts.

Invariant: nothing here loads ``jsonschema-rs`` before a value is checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar, cast
from urllib.parse import unquote

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from acp_client_v0_1._arguments import imported, wrong_type
from acp_client_v0_1._operation import Parameter, content_of
from acp_client_v0_1._schema.free_json import JsonCopy, unset_nulls
from acp_client_v0_1._text import one_line, warn_caller, with_article
from acp_client_v0_1.api.agents_api import AgentsApi
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles.errors import SchemaMismatch

if TYPE_CHECKING:
    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor

T = TypeVar("T", bound=BaseModel)

# A fault is the path to a part of a value that does not fit, and a message about the part.
_Fault = tuple[list[str | int], str]

# If a schema has references or an "unevaluated…", the check of one value takes at most this many
# steps.
_MOST_STEPS = 200_000
# The description of a value that does not fit a schema has at most this many characters.
_LONGEST_MESSAGE = 300
# The faults of one value are listed if they are estimated to take at most this many bytes. The
# package makes all faults at once, each with a copy of the part that does not fit: 4,000 faults of
# a value of 200 KB take 3 GB. The estimate may be too low: in measurements, faults took up to 5
# times as much, so at most 170 MB.
_MOST_BYTES = 32 * 1024 * 1024
# A part of a value takes about this many bytes in addition to its text.
_PART = 256
# The most bytes of one compiled pattern, and of all patterns together. The pattern
# "(?:a{0,500}){0,90}b" would take 4 MiB.
_LARGEST_PATTERN = 256 * 1024
_LARGEST_PATTERNS = 16 * 1024 * 1024
# The most bytes of a pattern, times the characters that all patterns are matched against. The time
# to match grows with this product: in measurements, this limit took up to 15 seconds. Nothing can
# interrupt the match.
_MOST_MATCHING = 30_000_000_000
# The schemas in these keywords apply to the members or items of a value, or to the names of the
# members.
_OF_CHILDREN = frozenset(
    (
        *("additionalItems", "additionalProperties", "contains", "items", "patternProperties"),
        *("prefixItems", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_REFERENCES = frozenset(("$ref", "$dynamicRef", "$recursiveRef"))
_UNEVALUATED = frozenset(("unevaluatedItems", "unevaluatedProperties"))
# The schemas in these keywords apply to the value itself.
_IN_PLACE = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "then", "else"))
# These keywords are frequent, and have no faults of their own.
_SILENT = frozenset(("$defs", "default", "description", "examples", "items", "properties", "title"))
# The values of these keywords in a schema add to the size of the faults. A fault of "const", "enum"
# or "pattern" quotes the value of the keyword. Each entry of "dependencies", "dependentRequired" or
# "required" may cause a fault.
_QUOTED = ("const", "dependencies", "dependentRequired", "enum", "pattern", "required")


class _Dataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


# What a caller may pass by mistake, and what to pass instead.
_NOT_INPUTS = {
    "Run": "run.creation.{}",
    "RunCreate": "create.{}",
    "BatchItem": "item.result()",
    "RunEvent": "event.result or event.update",
    "RunOutput": "output.actual_instance.result",
    "RunResult": "result.result",
    "PendingInterrupt": "question.payload",
}

JsonObject: TypeAlias = Mapping[str, Any] | BaseModel | _Dataclass
"""A value that is accepted where the contract has a JSON object."""


def dict_of(name: str, value: object) -> JsonCopy:
    """Copy a JSON object, all of it. A model or a dataclass counts as a JSON object.

    The caller may change the object at any time. So the object becomes JSON text here, once, and
    what is sent, digested and shown comes of this text.
    """
    given = cast("dict[str, Any]", value) if type(value) is dict else _mapping_of(name, value)
    try:
        copy = JsonCopy(to_json(given))
    except ValueError:
        copy = None
    # JSON can hold the object if the copy is equal. A copy of a set, for example, is a list. The
    # copy of an infinite number is equal, though.
    if copy is not None and copy == given and b"Infinity" not in copy.text:
        return copy
    text = content_of(Parameter(name, dict), given)
    try:
        return JsonCopy(text)
    except ValueError as error:
        raise ApiValueError(f"{name} is JSON that cannot be read: {error}") from error


def json_digest(value: object) -> str:
    """Return 32 hexadecimal digits of the hash of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def rows_of(frame: object) -> str:
    """Return the call that gives the rows of a frame of pandas or polars."""
    return "frame.to_dicts()" if hasattr(frame, "to_dicts") else 'frame.to_dict("records")'


def _mapping_of(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {**value}
    for kind in type(value).__mro__:
        if kind.__module__.startswith("acp_client_v0_1."):
            field = name if name in ("config", "metadata") else "input"
            advice = _NOT_INPUTS.get(kind.__name__, "a dict").format(field)
            words = f"not {with_article(kind.__name__)}: pass "
            is_answer = not name.startswith(("input", "config", "metadata"))
            words += "the answer to the question" if is_answer else advice
            raise ApiTypeError(f"{name} must be the agent's own object, {words}")
    try:
        if isinstance(value, BaseModel):
            nulls = unset_nulls(value)
            return _mapping_of(name, value.model_dump(mode="json", by_alias=True, exclude=nulls))
        if is_dataclass(value) and not isinstance(value, type):
            return cast("dict[str, Any]", _without_nulls(value))
    except (PydanticSerializationError, RecursionError) as error:
        raise ApiValueError(f"{name} cannot be written as JSON: {error}") from error
    # Series of pandas have the first of these methods, and named tuples the second.
    method = next((name for name in ("to_dict", "_asdict") if hasattr(value, name)), "")
    hint = f"; pass its {method}()" if method and not isinstance(value, type) else ""
    if isinstance(value, str):
        hint = "; is it JSON text? Then pass json.loads(…)"
    if hasattr(value, "columns") or any(hasattr(part, "to_dict") for part in _list(value)):
        hint = f"; for the rows of a frame, use map({rows_of(value)})"
    if iscoroutine(value):
        # Python warns of a coroutine that was neither awaited nor closed.
        value.close()
        hint = "; this client is synchronous, so the function must not be async"
    raise wrong_type(name, f"a JSON object (dict){hint}", value)


def _without_nulls(value: Any) -> Any:
    """Copy a dataclass as a dict, without the fields that are None by default."""
    if is_dataclass(value) and not isinstance(value, type):
        given = {field: getattr(value, field.name) for field in fields(value)}
        return {
            field.name: _without_nulls(part)
            for field, part in given.items()
            if part is not None or field.default is not None
        }
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return {key: _without_nulls(part) for key, part in members.items()}
    if isinstance(value, (list, tuple)):
        return [*map(_without_nulls, cast("list[Any]", value))]
    return value


def with_nulls(value: Any) -> Any:
    """Copy an object as an earlier release sent it: with each field of a model or a dataclass."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if is_dataclass(value) and not isinstance(value, type):
        return with_nulls(asdict(value))
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return {key: with_nulls(part) for key, part in members.items()}
    if isinstance(value, (list, tuple)):
        return [*map(with_nulls, cast("list[Any]", value))]
    return value


class Cached(Generic[T]):
    """A server's description of an agent, read when it is needed and kept for 300 seconds."""

    __slots__ = ("_at", "_read", "latest")

    def __init__(self, read: Callable[..., T]) -> None:
        self._read = read
        # When `latest` was read.
        self._at = timing().now()
        # The description that was read last, however old it is, or None.
        self.latest: T | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The time of the last read is by a clock that another process does not share.
        return Cached, (self._read,)

    @property
    def fresh(self) -> T | None:
        """The description if it is at most 300 seconds old, or None."""
        return self.latest if timing().now() - self._at <= timing().kept else None

    def get(self, timeout: float | None = None) -> T:
        """Return a copy of the `fresh` description, or read it within ``timeout`` seconds."""
        known = self.fresh
        if known is None:
            known = self._read(_request_timeout=timeout)
            self.note(known)
        return known.model_copy(deep=True)

    def note(self, known: T) -> None:
        """Keep a description that was read just now."""
        self.latest, self._at = known, timing().now()


def cached_descriptor(client: ApiClient, agent_id: str) -> Cached[AgentACPDescriptor]:
    """Return the `Cached` descriptor of an agent. Nothing is read yet."""
    return Cached(partial(AgentsApi(client).get_acp_descriptor_by_id, agent_id))


def check_values(
    descriptor: AgentACPDescriptor, input: JsonObject | None, config: JsonObject | None
) -> None:
    """Check input and config against the schemas of a descriptor. A None is not checked."""
    specs = descriptor.specs
    for what, value, schema in (("input", input, specs.input), ("config", config, specs.config)):
        if value is not None:
            check_value(what, dict_of(what, value), schema)


def check_value(what: str, value: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check a value against a schema of the agent's descriptor.

    ``what`` is "input" or "config". A value that does not fit raises `SchemaMismatch`.
    """
    package = imported("jsonschema_rs", "a check by the schema", "validation")
    try:
        faults = list(_schema_faults(package, value, schema))
    except _UnusableSchema as error:
        why = one_line(error, _LONGEST_MESSAGE)
        warn_caller(f"{what} was not checked: the agent's schema cannot be used: {why}")
        return
    except (TypeError, ValueError) as error:
        # The package raises these for a value that it cannot read.
        raise ApiValueError(f"{what} cannot be checked: {error}") from error
    if faults:
        raise SchemaMismatch(what, [(_path(what, steps), words) for steps, words in faults])


class _UnusableSchema(ValueError):
    """A schema cannot be used. The message says why.

    The schema has at least one of these properties:

    - It is not valid.
    - It refers to another document.
    - It has a pattern that is too large, or needs backtracking.
    - Its check takes too many steps.
    - It has references or an "unevaluated…", and a part of it has an ``$id`` of its own. Such an
      ``$id`` would change where the references lead.
    """


def _schema_faults(package: Any, value: object, schema: Mapping[str, Any]) -> Iterator[_Fault]:
    """Yield the faults of a value by a JSON Schema. No other function uses the package."""
    nodes = list(_nodes(schema))
    patterns = sum(map(_patterns, nodes))
    unevaluated = [node for node in nodes if not _UNEVALUATED.isdisjoint(node)]
    # Without references and "unevaluated…", the number of steps is at most the size of the schema
    # times the size of the value.
    if unevaluated or any(not _REFERENCES.isdisjoint(node) for node in nodes):
        # When the package builds the validator, it has no value yet. Even so, it follows the
        # references and the `_IN_PLACE` keywords of each schema that has an "unevaluated…". These
        # steps are counted with None as the value.
        _refuse_doubling(schema, [(schema, value), *((node, None) for node in unevaluated)])
    matched = 0
    for count, (node, at) in enumerate(_steps(schema, [(schema, value)]) if patterns else ()):
        if count == _MOST_STEPS:
            # Counting on would take too long.
            matched = patterns * len(repr(value))
            break
        matched += _matched(node, at)
    largest = min(_LARGEST_PATTERNS // max(1, patterns), _MOST_MATCHING // max(1, matched))
    try:
        validator = package.validator_for(
            dict(schema),
            retriever=_refuse,
            # This engine does not backtrack. So no pattern takes exponential time, and patterns
            # that need backtracking are refused.
            pattern_options=package.RegexOptions(size_limit=min(_LARGEST_PATTERN, largest)),
        )
    except ValueError as error:
        # The errors of the package about a schema are ValueErrors. It calls a pattern that is too
        # large "not a regex", too.
        words = 'is not a "regex", or takes too long to match'
        why = str(error).partition("\n")[0].replace('is not a "regex"', words)
        raise _UnusableSchema(why) from error
    if validator.is_valid(value):
        return
    if _can_be_listed(schema, value):
        for fault in validator.iter_errors(value):
            yield list(fault.instance_path), one_line(fault.message, _LONGEST_MESSAGE)
    else:
        yield [], "the faults are not listed, as they could fill the memory"


def _patterns(node: object) -> int:
    """Count the patterns that a part of a schema has itself."""
    part = members_of(node)
    return len(members_of(part.get("patternProperties"))) + ("pattern" in part)


def _matched(node: object, at: object) -> int:
    """Count the characters that the patterns of a part of a schema are matched against."""
    part = members_of(node)
    of_names = len(members_of(part.get("patternProperties")))
    of_names += sum(map(_patterns, _nodes(members_of(part.get("propertyNames")))))
    text = len(at) if "pattern" in part and isinstance(at, str) else 0
    return text + of_names * sum(map(len, members_of(at)))


def _nodes(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield all mappings in a schema, however deep they are."""
    pending: list[Any] = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, Mapping):
            yield cast("Mapping[str, Any]", node)
        pending += [*members_of(node).values(), *_list(node)]


def _refuse(uri: str) -> Any:
    raise ValueError(f"it refers to {uri}, and no reference is fetched")


def _refuse_doubling(schema: Mapping[str, Any], pending: list[tuple[Any, Any]]) -> None:
    """Refuse a schema whose references make its check grow exponentially.

    Thirty definitions, each of which refers twice to the next, take two kilobytes and a billion
    steps. So the steps of the check are counted, without checking anything, up to `_MOST_STEPS`.
    """
    for count, (node, _) in enumerate(_steps(schema, pending)):
        if count == _MOST_STEPS:
            raise _UnusableSchema(f"its check takes more than {_MOST_STEPS:,} steps")
        if node is not schema and not {"$id", "id"}.isdisjoint(members_of(node)):
            raise _UnusableSchema("a part of it has an $id of its own")


def _can_be_listed(schema: Mapping[str, Any], value: object) -> bool:
    """Estimate whether the faults of a value take at most `_MOST_BYTES`.

    For each step of the check, the estimated size of its faults is subtracted from `_MOST_BYTES`.
    """
    left = _MOST_BYTES
    for part, at in _steps(schema, [(schema, value)]):
        node = members_of(part)
        quoted = sum(_size(node[keyword]) for keyword in _QUOTED if keyword in node)
        # `copies` estimates how many faults this step can have. Each fault has a copy of `at`, the
        # part of the value. If there is no fault, `_size` is not called, because it writes the
        # whole part as text.
        copies = (part is False) + len(node.keys() - _SILENT) + quoted // _PART
        left -= (copies and copies * _size(at)) + quoted + _PART
        if left < 0:
            return False
    return True


def _size(value: object) -> int:
    """Estimate the bytes of a copy of a value, by the length of its repr."""
    text = repr(value)
    return _PART * (1 + text.count(", ") + text.count(": ")) + len(text)


def _steps(schema: Mapping[str, Any], pending: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Yield the steps of a check: a part of the schema, and the part of the value it applies to.

    ``pending`` has the first steps. If a part of the schema has an "unevaluated…", the package
    checks the `_IN_PLACE` keywords and the references of this part up to three times.
    """
    while pending:
        node, at = pending.pop()
        yield node, at
        in_place = [(each, at) for each in _list(node)]
        for keyword, below in members_of(node).items():
            if keyword in _REFERENCES:
                in_place.append((_referred(schema, str(below)), at))
            elif keyword == "properties":
                members = members_of(at)
                pending += [(s, members[k]) for k, s in members_of(below).items() if k in members]
            elif keyword in _OF_CHILDREN:
                inner = [*members_of(below).values()] if keyword == "patternProperties" else below
                children = [*members_of(at).values(), *_list(at)]
                if keyword == "propertyNames":
                    # For each name that does not fit, the package makes a fault with a copy of the
                    # whole object. Here the view `items()` stands for this copy: the view has a
                    # repr of about the same length, and `_steps` finds no members or items in it.
                    children = [members_of(at).items()] * len(members_of(at))
                pending += [(inner, child) for child in children]
            elif keyword in _IN_PLACE:
                in_place.append((below, at))
            elif keyword in ("dependentSchemas", "dependencies"):
                in_place.append((list(members_of(below).values()), at))
        pending += in_place if _UNEVALUATED.isdisjoint(members_of(node)) else in_place * 3


def members_of(value: Any) -> Mapping[str, Any]:
    """Return a value that is a mapping, or else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else ()


def _referred(schema: Mapping[str, Any], reference: str) -> Any:
    """Return the part of the schema that a reference names by a JSON pointer (RFC 6901)."""
    part: Any = schema
    try:
        for step in unquote(reference).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            part = members_of(part)[name] if name in members_of(part) else _list(part)[int(name)]
    except (IndexError, ValueError):
        part = None
    if part is None or reference.partition("/")[0] != "#":
        raise _UnusableSchema(f"its reference {reference} is not a JSON pointer into it")
    return part


def _path(what: str, steps: list[str | int]) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return one_line(what + path, _LONGEST_MESSAGE)
