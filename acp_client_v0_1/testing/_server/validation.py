"""Checks a request: strictly by the contract, lightly by an agent's own schemas.

The models take JSON tolerantly and constructor arguments strictly. A request is checked the strict
way: known properties by the constructor; unknown ones pass, as the contract allows them.

ACP 0.1 has one form of error body, a JSON string. Whatever cannot be done raises `Refusal` with a
status and that string, and only app.py and gate.py turn it into a response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from acp_client_v0_1._operation import faults_of
from acp_client_v0_1._schema.free_json import not_json
from acp_client_v0_1.testing._values import JSON_TYPES

M = TypeVar("M", bound=BaseModel)

# The keys of a request's scope for its body, and for the seconds that the replica that responds is
# behind.
BODY = "acp_client_v0_1.body"
LAG = "acp_client_v0_1.lag"

# A long poll lasts at most this many seconds.
LONGEST_BLOCK = 24 * 3600


class JsonResponse(Response):
    """A response whose body is a JSON value, written by pydantic."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


@dataclass(eq=False)
class Refusal(Exception):
    status: int
    message: object
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def json_body(request: Request) -> dict[str, Any]:
    """Return a request's body, which must be a JSON object and declared as one."""
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(422, "the body's Content-Type must be application/json")
    try:
        value = from_json(request.scope[BODY], allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(422, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refusal(422, "the body must be a JSON object")
    # pydantic reads a number that is too large for a float as infinity, and would write that.
    if fault := not_json(cast("object", value), levels=200):
        raise Refusal(422, f"the body{fault}")
    return cast("dict[str, Any]", value)


def checked(model: type[M], body: dict[str, Any]) -> M:
    """Return a request's body as a model, checked strictly."""
    known = {name: body[name] for name in model.model_fields if name in body}
    for name, value in known.items():
        if value is None:
            raise Refusal(422, f"{name}: must not be null")
        if value == "" and name.endswith("_id"):
            raise Refusal(422, f"{name}: must not be empty")
        if isinstance(value, float) and value.is_integer():
            # To JSON Schema 10.0 is an integer (2020-12 validation, 6.1.1).
            known[name] = int(value)
    try:
        return model(**known)
    except ValidationError as error:
        raise Refusal(422, faults_of(error)) from error


def fitting(value: dict[str, Any], schema: dict[str, Any], what: str) -> dict[str, Any]:
    """Return an object that fits an agent's JSON Schema, with ints for its integers, or refuse it.

    Its `required` is checked, and the `type` of the properties if it is a single one. To JSON
    Schema 2.0 is an integer (2020-12 validation, 6.1.1), but not to Python's `range`.
    """
    for name in schema.get("required", ()):
        if name not in value:
            raise Refusal(422, f"{what}.{name}: the agent requires it")
    fit = dict(value)
    for name, expected in schema.get("properties", {}).items():
        kind = cast("Any", expected).get("type") if isinstance(expected, dict) else None
        if name in value and isinstance(kind, str):
            if not _has_type(value[name], kind):
                raise Refusal(422, f"{what}.{name}: the agent wants type {kind}")
            if kind == "integer":
                fit[name] = int(value[name])
    return fit


def block_seconds(text: str | None) -> int:
    """Return the query parameter block_timeout in seconds, by default 0."""
    if text is None:
        return 0
    if not re.fullmatch("[0-9]+", text, re.ASCII):
        raise Refusal(422, "block_timeout: must be an integer of seconds, at least 0")
    # A day is as good as endless. int() refuses thousands of digits, zeros included.
    return int(text[-5:]) if len(text.lstrip("0")) <= 5 else LONGEST_BLOCK


def _has_type(value: object, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, JSON_TYPES.get(kind, (object,)))
