"""Checks of a fault's fields: each alone, and those that would silence each other.

A fault that does nothing makes a test that proves nothing, so each of these errors is raised where
the fault is written, and names the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from acp_client_v0_1._http.headers import TOKEN
from acp_client_v0_1.testing.field_types import check_type
from acp_client_v0_1.testing.json_values import json_object

if TYPE_CHECKING:
    from acp_client_v0_1.testing.faults import Fault

__all__ = ["check_fault"]

_CHOICES = {"block": ("never", "forever"), "cut": ("close", "reset", "stall", "end")}
_LIMITS = ("after_wire_bytes", "after_body_bytes", "after_events")
_OF_A_STATUS = ("status", "body", "headers", "retry_after", "redirect")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def check_fault(fault: Fault) -> None:
    """Refuse a fault that would break the server, or of which a part would do nothing.

    Args:
        fault: The fault.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field has a value that cannot be, or one that another field makes idle.
    """
    _check_choice_of_requests(fault)
    _check_times(fault)
    _check_answer(fault)
    _check_together(fault)


def _check_choice_of_requests(fault: Fault) -> None:
    check_type("method:", fault.method, str, None)
    check_type("path:", fault.path, str, None)
    if fault.method is not None and not TOKEN.fullmatch(fault.method):
        raise ValueError(f"method: no request has {fault.method!r}")
    if fault.path is not None and not re.fullmatch(r"/[^?#]*", fault.path):
        raise ValueError(f"path: must begin with a slash and have no query, not {fault.path!r}")


def _check_times(fault: Fault) -> None:
    check_type("times:", fault.times, int, None)
    if fault.times is not None and fault.times < 1:
        raise ValueError("times: must be at least 1, or None")
    for name in ("delay", "drip"):
        _seconds(name, getattr(fault, name))
    _seconds("share", fault.share)
    if not 0 < fault.share <= 1:
        raise ValueError(f"share: must be above 0, at most 1, not {fault.share!r}")
    if fault.late is not None:
        _seconds("late", fault.late)
    if fault.retry_after is not None and not isinstance(fault.retry_after, str):
        _seconds("retry_after", fault.retry_after)
    for name in _LIMITS:
        limit = getattr(fault, name)
        check_type(f"{name}:", limit, int, None)
        if limit is not None and limit < 0:
            raise ValueError(f"{name}: must be at least 0, not {limit}")
    for name, choices in _CHOICES.items():
        choice = getattr(fault, name)
        if choice is not None and choice not in choices:
            raise ValueError(f"{name}: must be one of {', '.join(choices)}, not {choice!r}")
    if not isinstance(cast("object", fault.close_after), bool):
        raise TypeError(f"close_after: must be a bool, not {type(fault.close_after).__name__}")


def _check_answer(fault: Fault) -> None:
    check_type("status:", fault.status, int, None)
    if fault.status is not None and (
        fault.status < 200 or fault.status not in (each.value for each in HTTPStatus)
    ):
        raise ValueError(f"status: {fault.status} is none that ends a request")
    check_type("raw:", fault.raw, bytes, None)
    check_type("redirect:", fault.redirect, str, None)
    if not isinstance(cast("object", fault.headers), Mapping):
        raise TypeError(f"headers: must be a mapping, not {type(fault.headers).__name__}")
    for name, text in fault.headers.items():
        check_type("headers: a name:", name, str)
        check_type(f"headers: {name}:", text, str)
        if not TOKEN.fullmatch(name):
            raise ValueError(f"headers: {name!r} is no name of a header")
        if name.lower() == "content-length":
            raise ValueError("headers: Content-Length is the body's; raw can tell a wrong one")
        _header_value(f"headers: {name}", text)
    for name in ("redirect", "retry_after"):
        if isinstance(getattr(fault, name), str):
            _header_value(name, getattr(fault, name))
    if not isinstance(fault.body, bytes):
        json_object({"body": fault.body}, "body")


def _check_together(fault: Fault) -> None:
    """Refuse fields that another field, or the lack of one, would make idle."""
    given = _given(fault)
    limits = [name for name in _LIMITS if name in given]
    if len(limits) > 1:
        raise ValueError(f"{' and '.join(limits)}: an answer breaks off once")
    if limits and "cut" not in given:
        raise ValueError(f"{limits[0]}: needs cut, which says how the answer breaks off")
    for name in ("body", "headers", "retry_after"):
        if name in given and "status" not in given and "redirect" not in given:
            raise ValueError(f"{name}: belongs to a status")
    if fault.status in (204, 304) and "body" in given:
        raise ValueError(f"body: an answer with status {fault.status} has none")
    if fault.cut == "end" and limits != ["after_events"]:
        raise ValueError("cut: 'end' needs after_events: it is a stream that ends")
    if "late" in given:
        _idle(given, ("block", *_LIMITS), "late sends nothing of the response to what was asked")
    if "raw" in given:
        _idle(given, (*_OF_A_STATUS, "block", *_LIMITS, "close_after"), "raw is the whole answer")
    elif "cut" in given and not limits:
        idle = (*_OF_A_STATUS, "block", "drip", "close_after")
        _idle(given, idle, "cut alone sends nothing; say after what with after_…")
    elif "cut" in given:
        _idle(given, ("close_after",), "cut says how the connection ends")
    elif "status" in given or "redirect" in given:
        _idle(given, ("block",), "the request is not carried out")


def _given(fault: Fault) -> set[str]:
    """Return the names of the fields that ask for something."""
    asked = {
        name: getattr(fault, name) for name in (*_OF_A_STATUS, "raw", *_CHOICES, *_LIMITS, "late")
    }
    given = {name for name, value in asked.items() if value is not None and value != {}}
    return given | {name for name in ("drip", "close_after") if getattr(fault, name)}


def _idle(given: set[str], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if name in given:
            raise ValueError(f"{name}: would do nothing: {why}")


def _seconds(name: str, value: Any) -> None:
    check_type(f"{name}:", value, int, float)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}: must be seconds, at least 0, not {value!r}")


def _header_value(name: str, text: str) -> None:
    if not _FIELD_VALUE.fullmatch(text) or text.strip() != text:
        raise ValueError(f"{name}: {text!r} cannot be the value of a header")
