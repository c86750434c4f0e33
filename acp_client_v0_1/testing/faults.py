"""Faults that a test asks the local server for, and the requests that reached it.

A fault is a value: which requests it is for, and what goes wrong with the response. Of the faults
that fit a request, the one added first applies, alone; it is spent after `times` requests. What a
fault does on the wire is in _server/injection.py.

A fault that does nothing makes a test that proves nothing, so fields are checked where the fault is
written, each alone and together, and the error names the field.
"""

from __future__ import annotations

import math
import random
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from acp_client_v0_1._http.headers import TOKEN
from acp_client_v0_1.testing._values import check_type, json_object

__all__ = ["Fault", "Faults", "RecordedRequest", "RequestLog"]

_CHOICES = {"block": ("never", "forever"), "cut": ("close", "reset", "stall", "end")}
_LIMITS = ("after_wire_bytes", "after_body_bytes", "after_events")
_OF_A_STATUS = ("status", "body", "headers", "retry_after", "redirect")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with a response. Everything given applies, in this order.

    One that only says which requests it is for lets them through: the next one applies after them.

    Args:
        method: Only for requests with this method.
        path: Only for requests with this path, below the server's base path; each `*` stands for
            one segment: "/runs/*/output".
        times: For how many requests; None for all until it is removed.
        share: Apply to about this share of those requests, such as 0.05 for one in twenty. Which
            ones is random, but the same each time the same requests come; the others count
            neither here nor in `times`.
        delay: Seconds from the request to the first byte of the response.
        status: Respond with this status instead of carrying the request out.
        body: The body of such a response: bytes as they are, anything else as JSON; by default
            the JSON string that the contract has for errors.
        headers: Headers of such a response.
        retry_after: Its `Retry-After`: seconds, or an HTTP date.
        redirect: Its `Location`; the status is 307 unless given.
        raw: Respond with these bytes, which need not be HTTP, and close the connection.
        block: Take the request's block_timeout as 0 ("never": a server that responds 204 at
            once) or as endless ("forever": a server that ignores it).
        drip: Seconds to wait before each byte of the body or of `raw`.
        cut: How the response breaks off: "close" ends the connection, "reset" resets it, "stall"
            sends nothing more and keeps it open; "end", with `after_events` only, ends a stream
            as if it were over. Without any of the next three, the request is not carried out,
            and not a byte is sent.
        after_wire_bytes: Break off after this many bytes of the response, status line and headers
            included; 0 carries the request out and sends nothing.
        after_body_bytes: Break off after this many bytes of the body; 0 sends the headers.
        after_events: Break off after this many server-sent events.
        carried_out: Carry the request out, and then respond with `status` all the same.
        late: Carry the request out this many seconds after its client got another response
            (`status`, `redirect` or `raw`), or none (`cut`); without any of these, nothing is
            sent, and the seconds count from when the client closes the connection.
        lag: Respond as a replica that is so many seconds behind: a run, its output and a search
            for runs are as they were then, and a run that is younger is 404, also to its stream.
        close_after: Close the connection after the whole response, without announcing it.

    Raises:
        TypeError: A field has the wrong type; the message names it.
        ValueError: A field has a value that cannot be, or would do nothing beside the others; the
            message names it.
    """

    method: str | None = None
    path: str | None = None
    times: int | None = 1
    share: float = 1.0
    delay: float = 0.0
    status: int | None = None
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    retry_after: float | str | None = None
    redirect: str | None = None
    raw: bytes | None = None
    block: Literal["never", "forever"] | None = None
    drip: float = 0.0
    cut: Literal["close", "reset", "stall", "end"] | None = None
    after_wire_bytes: int | None = None
    after_body_bytes: int | None = None
    after_events: int | None = None
    carried_out: bool = False
    late: float | None = None
    lag: float = 0.0
    close_after: bool = False

    def __post_init__(self) -> None:
        _check_choice_of_requests(self)
        _check_times(self)
        _check_response(self)
        _check_together(self)

    def fits(self, method: str, path: str) -> bool:
        """Tell whether this fault is for such a request.

        Args:
            method: The request's method.
            path: The request's path below the base path, decoded, without query.
        """
        if self.method is not None and self.method.upper() != method:
            return False
        if self.path is None:
            return True
        pattern = "[^/]+".join(map(re.escape, self.path.split("*")))
        return re.fullmatch(pattern, path) is not None


class _Waiting:
    """A fault, how many requests it is still for, and the dice that choose them."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.left = fault.times
        self._random = random.Random(0)

    def strikes(self) -> bool:
        """Tell whether the fault is for a request that it fits, and count it if so."""
        if self.fault.share < 1 and self._random.random() >= self.fault.share:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Faults:
    """The faults that wait for their requests; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    def add(self, *faults: Fault) -> None:
        """Add faults after those that wait already.

        Args:
            *faults: The faults.
        """
        with self._lock:
            self._waiting.extend(map(_Waiting, faults))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._waiting.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for a request, and count it as spent once more.

        Args:
            method: The request's method.
            path: The request's path below the base path, decoded, without query.
        """
        with self._lock:
            for waiting in self._waiting:
                if waiting.fault.fits(method, path) and waiting.strikes():
                    if waiting.left == 0:
                        self._waiting.remove(waiting)
                    return waiting.fault
        return None


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that reached the server whole.

    Args:
        method: Its method.
        path: Its path as it was sent, percent-encoded, without query.
        query: Its query string.
        headers: Its headers by lower-case name; the last of a name that came twice.
        body: Its body.
        client: Address and port at the other end of its connection.
        time: When it had arrived, in seconds of `time.monotonic()`.
        fault: The fault of its response, or None.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    client: tuple[str, int] | None
    fault: Fault | None
    time: float = field(default_factory=time.monotonic)


class RequestLog:
    """The requests that reached the server, in order; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []

    def append(self, request: RecordedRequest) -> None:
        """Record a request."""
        with self._lock:
            self._requests.append(request)

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._requests.clear()

    def snapshot(self) -> tuple[RecordedRequest, ...]:
        """Return the requests so far."""
        with self._lock:
            return tuple(self._requests)


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
    for name in ("delay", "drip", "lag"):
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
    for name in ("carried_out", "close_after"):
        if not isinstance(getattr(fault, name), bool):
            raise TypeError(f"{name}: must be a bool, not {type(getattr(fault, name)).__name__}")


def _check_response(fault: Fault) -> None:
    check_type("status:", fault.status, int, None)
    if fault.status is not None and not 200 <= fault.status <= 599:
        raise ValueError(f"status: {fault.status} is not a final status")
    check_type("raw:", fault.raw, bytes, None)
    check_type("redirect:", fault.redirect, str, None)
    if not isinstance(cast("object", fault.headers), Mapping):
        raise TypeError(f"headers: must be a mapping, not {type(fault.headers).__name__}")
    for name, text in fault.headers.items():
        check_type("headers: a name:", name, str)
        check_type(f"headers: {name}:", text, str)
        if not TOKEN.fullmatch(name):
            raise ValueError(f"headers: {name!r} is not a header name")
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
        raise ValueError(f"{' and '.join(limits)}: a response breaks off once")
    if limits and "cut" not in given:
        raise ValueError(f"{limits[0]}: needs cut, which says how the response breaks off")
    for name in ("body", "headers", "retry_after", "carried_out"):
        if name in given and "status" not in given and "redirect" not in given:
            raise ValueError(f"{name}: belongs to a status")
    if fault.status in (204, 304) and "body" in given:
        raise ValueError(f"body: a response with status {fault.status} has none")
    if fault.cut == "end" and limits != ["after_events"]:
        raise ValueError("cut: 'end' needs after_events: it is a stream that ends")
    if "late" in given:
        idle: tuple[str, ...] = ("block", "carried_out", "lag", *_LIMITS)
        _idle(given, idle, "with late, nothing of that response is sent")
    if "raw" in given:
        idle = (*_OF_A_STATUS, "block", "lag", *_LIMITS, "close_after")
        _idle(given, idle, "raw is the whole response")
    elif "cut" in given and not limits:
        idle = (*_OF_A_STATUS, "block", "drip", "lag", "close_after")
        _idle(given, idle, "cut alone sends nothing; say after what with after_…")
    elif "cut" in given:
        _idle(given, ("close_after",), "cut says how the connection ends")
    elif "status" in given or "redirect" in given:
        _idle(given, ("block", "lag"), "the request is not carried out")


def _given(fault: Fault) -> set[str]:
    """Return the names of the fields that ask for something."""
    asked = {
        name: getattr(fault, name) for name in (*_OF_A_STATUS, "raw", *_CHOICES, *_LIMITS, "late")
    }
    given = {name for name, value in asked.items() if value is not None and value != {}}
    switches = ("drip", "lag", "carried_out", "close_after")
    return given | {name for name in switches if getattr(fault, name)}


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
