"""What is stored of a create, and how its run repeats it: `Quirks.echo` and its like.

Agents get what was sent, and searches compare what is stored. Only what a run repeats is written
in another way.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from acp_client_v0_1.testing.agents import JsonObject
from acp_client_v0_1.testing.quirks import Quirks

NO_ID = str(uuid.UUID(int=0))
_CLIENT_TOKEN = "acp-client-token"


def stored(creation: JsonObject, quirks: Quirks) -> JsonObject:
    """Return what is stored of a create, as `Quirks.stored_metadata` has it."""
    if quirks.stored_metadata == "whole":
        return creation
    rest = _without(creation, "metadata")
    metadata = creation.get("metadata", {})
    if quirks.stored_metadata == "none" or _CLIENT_TOKEN not in metadata:
        return rest
    return {**rest, "metadata": {_CLIENT_TOKEN: metadata[_CLIENT_TOKEN]}}


def echo_of(creation: JsonObject, quirks: Quirks) -> JsonObject:
    """Return what a run repeats of its create."""
    if quirks.echo == "none":
        return {"agent_id": NO_ID}
    echo = _without(creation, *(("streaming", "webhook") if quirks.echo == "part" else ()))
    ways = dict.fromkeys(("input", "config"), quirks.echo_input)
    for name, way in {**ways, "metadata": quirks.echo_metadata}.items():
        if way == "none":
            echo.pop(name, None)
        elif name in echo and way != "whole":
            echo[name] = _WRITERS[way](echo[name])
    return echo


def _without(creation: JsonObject, *names: str) -> JsonObject:
    return {name: value for name, value in creation.items() if name not in names}


def _masked(given: JsonObject, part: str = "") -> JsonObject:
    """Mask the values of the keys that contain a text."""
    return {key: "***" if part in key.lower() else value for key, value in given.items()}


def _texts(change: Callable[[str], str], value: Any) -> Any:
    """Change each text of a JSON value, except for keys."""
    if isinstance(value, dict):
        members = cast("JsonObject", value)
        return {key: _texts(change, each) for key, each in members.items()}
    if isinstance(value, list):
        return [_texts(change, each) for each in cast("list[object]", value)]
    return change(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    return text[:16]


def _converted(value: Any) -> Any:
    """Write a JSON value as a server with types of its own would."""
    if isinstance(value, dict):
        members = cast("JsonObject", value)
        kept = {key: each for key, each in members.items() if each not in ([], {})}
        return {_camel_case(key): _converted(each) for key, each in kept.items()}
    if isinstance(value, list):
        return [_converted(each) for each in cast("list[object]", value)]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str(value) if is_number else _texts(_cut, value)


def _camel_case(key: str) -> str:
    return re.sub("_+([^_])", lambda found: found[1].upper(), key)


# `Quirks.echo_metadata` and `Quirks.echo_input` have these values.
_WRITERS: dict[str, Callable[[JsonObject], JsonObject]] = {
    "masked": _masked,
    "masked tokens": partial(_masked, part="token"),
    "capitals": partial(_texts, str.upper),
    "cut": partial(_texts, _cut),
    "converted": _converted,
    "completed": lambda given: {"language": None, "version": 1, **given},
}
