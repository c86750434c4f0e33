"""The faults that a test asks the local server for, and the requests that reached the server.

A fault is a value: which requests it is for, and what goes wrong with the response. If several
faults fit a request, the one added first applies, alone; it is used up after `times` requests.
_server/injection.py does what a fault says.

A fault that does nothing makes a test that proves nothing. So its fields are checked when it is
made, each alone and together, and the error names the field.
"""

from __future__ import annotations

import math
import random
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from acp_client_v0_1._http.retry import retry_after
from acp_client_v0_1._names import did_you_mean
from acp_client_v0_1.testing._values import (
    OPERATIONS,
    Seconds,
    check_given,
    check_header,
    check_type,
    json_copy,
)

__all__ = ["Fault", "Faults", "RecordedRequest"]

_LIMITS = ("after_wire_bytes", "after_body_bytes", "after_events")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SEGMENT = re.compile(r"\*+|\{\w+\}")
_STREAM = "/runs/*/stream"
_OF_A_STATUS = ("status", "body", "headers", "retry_after", "redirect")
_NEED_A_STATUS = ("body", "headers", "retry_after", "carried_out")
_NEED_A_RESPONSE = ("block", "carried_out", "lag", *_LIMITS)
_CUT_ALONE = "cut alone sends nothing; an after_… field says after what to cut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with a response. All that is given applies, in this order.

    A fault with no fields but `method`, `path`, `times`, `share` and `rate` does no harm. It uses
    up its requests, so that a fault added after it begins with the requests after these. The path
    of a request is decoded first, so a `*` in `path` fits no id that has a slash.

    Args:
        method: Only requests with this method.
        path: Only requests with this path, below the server's base path; each `*` or `{name}`
            stands for one segment: "/runs/*/output" or "/runs/{run_id}/output".
        times: How many requests it is for; None keeps it until it is removed.
        share: Which share of those requests it is for, such as 0.05 for one in twenty, chosen at
            random but the same in each test run; the others do not count in `times`.
        rate: How many of those requests a second it lets through, evenly spaced, such as 10.0; it
            is for the others. A rate limit is `Fault(status=503, rate=10.0, times=None)`.
        delay: Seconds from the request to the first byte of the response.
        status: Respond with this status, and do not carry the request out.
        body: The body of that response: bytes as they are, anything else as JSON. By default the
            JSON string that the contract has for errors.
        headers: The headers of that response.
        retry_after: Its `Retry-After`: seconds, or an HTTP date.
        redirect: Its `Location`; the status is 307 by default.
        raw: Respond with these bytes, which need not be HTTP, and close the connection.
        block: Take block_timeout as 0 ("never": respond 204 at once) or as endless ("forever").
        drip: Seconds to wait before each byte of the body or of `raw`.
        cut: How the response breaks off: "close" ends the connection, "reset" resets it, "stall"
            sends nothing more, and "end" ends a stream as if it were over (with `after_events`).
            Without one of the next three fields, nothing is carried out, and nothing is sent.
        after_wire_bytes: Break off after this many bytes of the response, headers included; 0
            carries the request out and sends nothing.
        after_body_bytes: Break off after this many bytes of the body; 0 sends the headers.
        after_events: Break off after this many server-sent events.
        carried_out: Carry the request out, and then respond with `status` nevertheless.
        late: Carry the request out late: this many seconds after the response of `status` or
            `redirect`, or else after the end of the connection. Without `raw` and `cut` too,
            nothing is sent, and the client ends the connection.
        lag: Respond as a replica that is this many seconds behind, about a run, its output and
            searches for runs; a younger run is 404, also its stream.
        close_after: Close the connection after the whole response, without announcing it.

    Raises:
        TypeError: A field has the wrong type; the message names it.
        ValueError: A field has an impossible value, or would do nothing beside the others; the
            message names it.
    """

    method: str | None = None
    path: str | None = None
    times: PositiveInt | None = 1
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    rate: Annotated[float, Field(gt=0)] | None = None
    delay: Seconds = 0.0
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    retry_after: Seconds | str | None = None
    redirect: str | None = None
    raw: bytes | None = None
    block: Literal["never", "forever"] | None = None
    drip: Seconds = 0.0
    cut: Literal["close", "reset", "stall", "end"] | None = None
    after_wire_bytes: NonNegativeInt | None = None
    after_body_bytes: NonNegativeInt | None = None
    after_events: NonNegativeInt | None = None
    carried_out: bool = False
    late: Seconds | None = None
    lag: Seconds = 0.0
    close_after: bool = False

    def __post_init__(self) -> None:
        check_given(type(self), self)
        _check_values(self)
        _check_together(self)

    def fits(self, method: str, path: str) -> bool:
        """Return whether the fault is for a method and a decoded path below the base path."""
        right_method = self.method is None or self.method.upper() == method
        return right_method and (self.path is None or _fits(self.path, path))


@dataclass
class _Waiting:
    fault: Fault
    # The fault is for this many more requests.
    left: float
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    # From this time of `time.monotonic()` on, the rate lets the next request through.
    passes_at: float = -math.inf

    def spares(self) -> bool:
        """Return whether a request that fits is not among those that the fault is for."""
        share, rate, now = self.fault.share, self.fault.rate, time.monotonic()
        if self.dice.random() >= share:
            return True
        if rate is None or now < self.passes_at:
            return False
        self.passes_at = now + 1 / rate
        return True


class Faults:
    """The faults that wait for their requests, safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    def add(self, *faults: Fault) -> None:
        """Add faults after those that already wait."""
        for fault in faults:
            check_type("add: each", fault, Fault)
        with self._lock:
            self._waiting.extend(_Waiting(fault, fault.times or math.inf) for fault in faults)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._waiting.clear()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for a request, if there is one, and count the request."""
        with self._lock:
            for waiting in self._waiting:
                fault = waiting.fault
                if not fault.fits(method, path) or waiting.spares():
                    continue
                waiting.left -= 1
                if not waiting.left:
                    self._waiting.remove(waiting)
                return fault
        return None


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that reached the server whole.

    Args:
        method: The method.
        path: The path as it was sent, percent-encoded, without query.
        query: The query string.
        headers: The headers by lower-case name; if a name came twice, the last of them.
        body: The body.
        client: Address and port of the client's end of the connection.
        time: When the request had arrived, in seconds of `time.monotonic()`.
        fault: The fault of the response, if it had one.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    client: tuple[str, int] | None
    fault: Fault | None
    time: float = field(default_factory=time.monotonic)


def _fits(pattern: str, path: str) -> bool:
    return re.fullmatch("[^/]+".join(map(re.escape, _SEGMENT.split(pattern))), path) is not None


def _check_values(fault: Fault) -> None:
    if fault.method is not None and fault.method.upper() not in _METHODS:
        raise ValueError(f"method: must be one of {', '.join(_METHODS)}, not {fault.method!r}")
    kind = (fault.method or "").upper().replace("HEAD", "GET")
    known = {path for method, path in OPERATIONS.values() if method.startswith(kind)}
    path, after = fault.path, fault.retry_after
    if not known:
        raise ValueError(f"method: no operation of ACP 0.1 has {kind}")
    # "/runs/*" of the contract fits the path of one run, and a path with more stars fits it. But
    # ":id" and "<id>" are another notation for a star.
    starred = re.sub("/[:<][^/]+", "/", path or "")
    if path is not None and not any(_fits(path, one) or _fits(one, starred) for one in known):
        meant = did_you_mean("/" + path.lstrip("/"), known)
        raise ValueError(f"path: ACP 0.1 has no {kind or 'path'} {path}{meant}")
    if isinstance(after, str) and retry_after({"retry-after": after}) is None:
        raise ValueError(f"retry_after: must be seconds or an HTTP date, not {after!r}")
    check_header("redirect", "Location", fault.redirect or "")
    check_header("retry_after", "Retry-After", str(after or ""))
    for header, value in fault.headers.items():
        check_header("headers", header, value)
        if header.lower() == "content-length":
            raise ValueError("headers: the body decides Content-Length; use raw for a wrong one")
    if not isinstance(fault.body, bytes):
        json_copy({"body": fault.body}, "body")


def _check_together(fault: Fault) -> None:
    """Refuse fields that do nothing because of another field, or because one is missing."""
    given = {one.name for one in fields(fault) if getattr(fault, one.name) not in (one.default, {})}
    limits = [name for name in _LIMITS if name in given]
    if fault.times is None and given <= {"method", "path", "times", "share", "rate"}:
        raise ValueError("times: None with nothing to do would keep later faults from their turn")
    if len(limits) > 1:
        raise ValueError(f"{' and '.join(limits)}: a response breaks off once")
    if limits and "cut" not in given:
        raise ValueError(f"{limits[0]}: needs cut, which says how the response breaks off")
    if fault.status in (204, 304) and "body" in given:
        raise ValueError(f"body: a response with status {fault.status} has none")
    if fault.cut == "end" and limits != ["after_events"]:
        raise ValueError("cut: 'end' ends a stream, and needs after_events")
    late, raw, cut = (name in given for name in ("late", "raw", "cut"))
    responds = not given.isdisjoint(("status", "redirect"))
    streams = fault.fits("GET", _STREAM) or _fits(_STREAM, fault.path or "")
    whole = (*_OF_A_STATUS, "block", "lag", "close_after")
    # Each row says when some fields do nothing, which ones, and why.
    for applies, idle, why in (
        (not responds, _NEED_A_STATUS, "it needs a status"),
        (not streams, ("after_events",), f"only {_STREAM} has events"),
        (late, _NEED_A_RESPONSE, "with late, nothing of that response is sent"),
        (raw, (*whole, *_LIMITS), "raw is the whole response"),
        (cut and not limits and not raw, (*whole, "drip"), _CUT_ALONE),
        (cut, ("close_after",), "cut says how the connection ends"),
        (responds, ("block", "lag"), "the request is not carried out"),
    ):
        for name in filter(given.__contains__, idle if applies else ()):
            raise ValueError(f"{name}: would do nothing: {why}")
