"""The lines of a journal: the facts of a batch, each written as one line and read again.

Format: JSON Lines. The first line is the header. Each other line states one fact about one input,
and names the input by its index. Every line ends in a checksum: the CRC-32 of the bytes before it::

    {"acp-journal":1,"agent":"…","server":"…","config":"…","batch":"…","fields":{…},"crc":"…"}
    {"starting":0,"input":"…","token":"…","key":"0","at":0,"crc":"…"}    before the create is posted
    {"started":0,"run":"…","crc":"…"}
    {"done":0,"run":"…","result":{…},"crc":"…"}
    {"failed":0,"run":"…","error":{…},"crc":"…"}                   instead of "done"

Invariants: no I/O. The content of a line is not trusted, because a checksum is not a signature.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from acp_client_v0_1 import exceptions
from acp_client_v0_1._errors import rebuild_error
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1.batch._tasks import Task, kept_headers
from acp_client_v0_1.exceptions import ApiException, OpenApiException
from acp_client_v0_1.handles import errors

# The states of an input, in their order.
_STATES = ("starting", "started", "done", "failed")

_SUBJECT = re.compile(rb'\{"(starting|started|done|failed)":(\d{1,15})[,}]')
_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_CRC_LENGTH = len(b',"crc":"01234567"}')


@dataclass(frozen=True, slots=True)
class Header:
    """The batch that a journal belongs to."""

    # The id of the agent.
    agent: str
    # The origin and base path of the server.
    server: str
    # The digest of the config that all runs have.
    config: str
    # The mark in the metadata of all runs.
    batch: str
    # The digest of each field of the config. None in a journal of an earlier release.
    fields: dict[str, str] | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Header:
        """Make a header from its record. Raise `ValueError` if the record is incomplete."""
        known: Any = {name: record.get(name) for name in cls.__slots__}
        if not all(isinstance(known[name], str) for name in ("agent", "server", "config", "batch")):
            raise ValueError("the header is incomplete")
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Entry:
    """The last state of one input in a journal."""

    state: str
    # The digest of the input. The input itself is not kept.
    input: str
    # The client token of the create.
    client_token: str
    # The id of the run. It is empty while the state is "starting", and in a "failed" line if the
    # create failed.
    run_id: str
    # The outcome, or None before the state is "done" or "failed".
    outcome: dict[str, Any] | OpenApiException | None
    # When the "starting" line was written, in seconds since the epoch. Earlier releases did not
    # write this.
    posted_at: float = -math.inf

    @classmethod
    def of(cls, first: Mapping[str, Any], last: Mapping[str, Any]) -> Entry:
        """Make an entry from the records of an input's "starting" line and of its last line."""
        state = next(name for name in reversed(_STATES) if name in last)
        texts = first["input"], first["token"], last.get("run", "")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a text is missing")
        if state == "failed":
            return cls(state, *texts, decode_failure(last["error"]))
        posted_at = float(first.get("at", -math.inf))
        if state == "done" and not isinstance(last["result"], dict):
            raise ValueError("the result is not a JSON object")
        result = cast("dict[str, Any] | None", last["result"] if state == "done" else None)
        return cls(state, *texts, result, posted_at)


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode a record as one line with its checksum."""
    body = json.dumps(record, separators=(",", ":")).encode()[:-1]
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def is_whole(line: bytes) -> bool:
    """Tell whether a line without its LF has the checksum of its content."""
    with suppress(ValueError):
        _check(line)
        return True
    return False


def _check(line: bytes) -> None:
    """Raise `ValueError` if a line is damaged. ``line`` does not have its LF."""
    ending = _CRC.fullmatch(line, len(line) - _CRC_LENGTH)
    if ending is None:
        crlf = line.endswith(b"\r")
        raise ValueError("it ends in CRLF, not in LF" if crlf else "the line has no checksum")
    if int(ending[1], 16) != zlib.crc32(line[:-_CRC_LENGTH]):
        raise ValueError("the line does not match its checksum")


def scan_line(line: bytes) -> tuple[str, int]:
    """Return the state and the index of the input that a line names, without parsing its JSON.

    ``line`` does not have its LF. Raise `ValueError` if the line is damaged.
    """
    _check(line)
    subject = _SUBJECT.match(line)
    if subject is None:
        raise ValueError("the line is not about an input")
    return subject[1].decode(), int(subject[2])


def decode_line(line: bytes) -> dict[str, Any]:
    """Return the record of a line. Raise `ValueError` if the line is damaged.

    ``line`` does not have its LF.
    """
    _check(line)
    return cast("dict[str, Any]", json.loads(line))


def encode_failure(error: OpenApiException) -> dict[str, Any]:
    """Return an error as JSON: its class, and the attributes that JSON can represent."""

    def plain(value: Any) -> Any:
        try:
            return json.loads(json.dumps(value, default=dict))
        except (TypeError, ValueError):
            # An attribute that JSON cannot represent becomes None. The other attributes are kept.
            return None

    state = {name: plain(value) for name, value in vars(error).items()}
    if isinstance(headers := state.get("headers"), dict):
        state["headers"] = kept_headers(cast("dict[str, str]", headers))
    words = plain(list(error.args)) or [str(error)]
    return {"class": type(error).__name__, "message": str(error), "args": words, "state": state}


def decode_failure(record: Mapping[str, Any]) -> OpenApiException:
    """Make an error from its JSON. If its class is unknown, make an `ApiException`."""
    name = record["class"]
    for module in (errors, exceptions):
        kind = getattr(module, name) if name in module.__all__ else None
        if isinstance(kind, type) and issubclass(kind, OpenApiException):
            error: OpenApiException = rebuild_error(kind, tuple(record["args"]), record["state"])
            # If an attribute is missing, str() raises an error here, and not later in the caller.
            str(error)
            return error
    return ApiException(reason=record["message"])


# If a create got one of these statuses, a create with the same input would probably get it again. A
# 409 may depend on the state of the server. Nevertheless it is final, so that each call with the
# journal has the same outcome. ``retry_failed=True`` sends the create again.
_REFUSALS = frozenset((400, 404, 409, 413, 415, 422))


def _is_final(error: OpenApiException, run_id: str) -> bool:
    """Return whether an error is the final outcome of an input.

    - With a run, the error is final if the run will never get a result.
    - Without a run, the error is final if a new create would probably be refused again.
    """
    if run_id:
        fits = not isinstance(error, ApiException) or failure_of(error).kind != "misfit"
        return isinstance(error, (errors.RunFailed, errors.RunGone)) or not fits
    return not isinstance(error, ApiException) or error.status in _REFUSALS


def final_record(task: Task) -> dict[str, Any] | None:
    """Return the record of the outcome of a task, or None if the outcome is not final."""
    index, run_id, outcome = task.index, task.run_id, task.outcome
    if isinstance(outcome, dict):
        return {"done": index, "run": run_id, "result": outcome}
    if isinstance(outcome, OpenApiException) and (task.final or _is_final(outcome, run_id)):
        return {"failed": index, "run": run_id, "error": encode_failure(outcome)}
    return None
