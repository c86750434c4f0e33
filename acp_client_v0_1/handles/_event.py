"""Decodes the events of a run, and judges whether they are new, repeated, or after a gap.

Strategy: `EventDecoder.decode` is called when the iteration reaches an event. It decodes and judges
the event in one step, so following a run is as quick as reading its stream.

Invariants: no I/O; an update that is recognized as a replay is not handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from acp_client_v0_1._schema import surrogates
from acp_client_v0_1.handles._continuity import Continuity, Gap
from acp_client_v0_1.handles._records import json_line
from acp_client_v0_1.handles.errors import StreamGap
from acp_client_v0_1.models import CustomRunResultUpdate, RunResult, StreamEventPayload

if TYPE_CHECKING:
    from acp_client_v0_1.exceptions import StreamDecodeError
    from acp_client_v0_1.handles._core import RunCore
    from acp_client_v0_1.streaming import ServerSentEvent

# The contract's events are called "agent_event". An event without a name counts as "message".
_NAMES = frozenset(("agent_event", "message"))


@cache
def _payload_validator() -> Callable[[str], StreamEventPayload]:
    # The first use of the validator builds the model.
    return TypeAdapter(StreamEventPayload).validator.validate_json


# The class is not frozen: making a frozen instance takes twice as long, and each event makes one.
@dataclass(slots=True)
class RunEvent:
    """One event of a run.

    Attributes:
        id: The event's id, or "".
        data: An update of mode ``custom``, or a result so far.
        gap: The gap before the event, or None. In a gap, other events are missing, or may be.
    """

    id: str
    data: CustomRunResultUpdate | RunResult
    gap: StreamGap | None = None

    @property
    def update(self) -> dict[str, Any] | None:
        """The update, in the agent's own schema, unless the event is a result."""
        data = self.data
        return data.update if isinstance(data, CustomRunResultUpdate) else None

    @property
    def result(self) -> dict[str, Any] | None:
        """The result so far, or the final one, unless the event is an update."""
        data = self.data
        return data.result if isinstance(data, RunResult) else None

    def to_dict(self) -> dict[str, Any]:
        """Return the event as the command prints it: ``id``, and what there is of the others.

        The others are ``update``, ``result`` and ``gap``, which has ``kind`` and ``missing``.
        """
        gap = None if self.gap is None else {"kind": self.gap.kind, "missing": self.gap.missing}
        fields = {"id": self.id, "update": self.update, "result": self.result, "gap": gap}
        return {name: value for name, value in fields.items() if value is not None}

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON. Raise ``ValueError`` if it has NaN or infinity."""
        return json_line(self.to_dict())


class EventDecoder:
    """Decodes the events of a run.

    For each event, it decides whether the event is new, and whether events before it are missing.
    """

    def __init__(self, core: RunCore, *, raise_gaps: bool, after: str) -> None:
        self.memory = Continuity(after)
        self.gaps: list[StreamGap] = []
        # The event after the last gap.
        self.after_gap: RunEvent | None = None
        # Whether the last event was an update, or None before the first event.
        self.custom: bool | None = None
        # The text of the last event, if it was a result.
        self._result = ""
        self._core = core
        self._raise_gaps = raise_gaps
        self._validate = _payload_validator()

    def decode(self, raw: ServerSentEvent) -> RunEvent | None:
        """Decode and judge an event, and return it.

        Return None if the event is a replay, or if its name is not in the contract. If there is a
        gap before the event, keep the event as `after_gap`, and raise the gap if gaps are raised.
        """
        name, text, event_id = raw
        if name not in _NAMES:
            return None
        try:
            payload = self._validate(text)
        except ValidationError as error:
            payload = surrogates.read_again(error, self._validate, text)
        # `root` is what `actual_instance` returns, without a call for each event.
        data = payload.root
        if data.run_id != self._core.run_id:
            self._core.check_id(data.run_id, "event", payload)
        memory = self.memory
        if isinstance(data, RunResult):
            self.custom = False
            if not memory.take_result(event_id, text):
                return None
            self._result = text
            return RunEvent(event_id, data)
        self.custom, self._result = True, ""
        verdict = memory.take(event_id, text)
        if verdict is True:
            return RunEvent(event_id, data)
        if verdict is False:
            return None
        gap = self._note_gap(verdict)
        event = self.after_gap = RunEvent(event_id, data, gap)
        if self._raise_gaps and gap.kind != "unknown":
            raise gap
        return event

    @property
    def result(self) -> RunResult | None:
        """The last event, if it was a result. This is a copy, as callers may change the event."""
        data = surrogates.read_json(self._validate, self._result).root if self._result else None
        return data if isinstance(data, RunResult) else None

    def _note_gap(self, gap: Gap) -> StreamGap:
        error = StreamGap(run_id=self._core.run_id, token=self._core.token(), **gap._asdict())
        self.gaps.append(error)
        return error

    def note_undecodable(self, error: StreamDecodeError) -> bool:
        """Remember an event that cannot be decoded, and return whether it is new.

        Before the first update, and in mode ``result``, every such event counts as new.
        """
        self._result = ""
        if not self.custom:
            self.memory.last_id = error.event_id
            return True
        # There is no update to compare, so 0 stands for its fingerprint.
        verdict = self.memory.take(error.event_id, 0)
        if isinstance(verdict, Gap):
            self._note_gap(verdict)
        return verdict is not False
