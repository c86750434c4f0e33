"""A question of a run, as a value that can be answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from acp_client_v0_1.exceptions import ApiValueError

if TYPE_CHECKING:
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor

__all__ = ["PendingInterrupt"]


def _disconnected(*_: object) -> NoReturn:
    raise ApiValueError(
        "a question that was pickled or made by hand has no connection to its run: use "
        "RunHandle(question.run_id, client).resume(answer)"
    )


@dataclass(frozen=True, slots=True)
class PendingInterrupt:
    """A question of a run. The run waits for the answer.

    The payload is yours to change: two questions are equal if they were equal when they were read.

    Attributes:
        type: The agent's name for this kind of question, the ``interrupt_type``.
        payload: The question, without its type.
        run_id: The id of the run that asks.
        updated_at: When the run last changed. This distinguishes two questions that are equal.
        seen_at: When the question was read, in seconds of `time.monotonic()`; 0 after pickling.
    """

    type: str
    payload: dict[str, Any] = field(compare=False)
    run_id: str
    updated_at: datetime
    seen_at: float = field(default=0.0, repr=False, compare=False)
    _descriptor: Callable[[], AgentACPDescriptor] = field(
        default=_disconnected, repr=False, compare=False
    )
    _answer: Callable[[Mapping[str, Any], PendingInterrupt], None] = field(
        default=_disconnected, repr=False, compare=False
    )
    # The digest of the question as it was read.
    _fingerprint: str = field(default="", repr=False)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the answer, if the agent declares one for this type.

        The agent's descriptor is read on first use, and kept for 300 seconds.

        Raises:
            ApiException: The descriptor cannot be read.
            ApiValueError: The question was pickled, and so lost its connection.
        """
        for declared in self._descriptor().specs.interrupts or ():
            if declared.interrupt_type == self.type:
                return declared.resume_payload
        return None

    def answer(self, body: Mapping[str, Any]) -> None:
        """Answer the question, if it is still the open one.

        Args:
            body: The answer, a JSON object in the schema of the agent.

        Raises:
            StaleInterrupt: The question is not open any more, or was answered already; the answer
                was not used.
            RunInterrupted: The question was answered more than 300 seconds ago, and is still open.
                The next call sends an answer.
            ResumeAmbiguous: Responses were lost, so the answer may or may not have arrived.
            ApiException: The server refused the answer, or could not be reached.
            ApiValueError: The question was pickled, and so lost its connection.
        """
        self._answer(body, self)

    def __reduce__(self) -> tuple[Any, ...]:
        # The run is left out, because its client may hold credentials. An error that has a question
        # can be pickled, and must not contain credentials.
        make = partial(PendingInterrupt, _fingerprint=self._fingerprint)
        return make, (self.type, self.payload, self.run_id, self.updated_at)
