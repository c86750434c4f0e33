"""What telemetry sees of a client: attempts, streams that are read, and runs.

`RESTClientObject.observer` is None, or what `telemetry.instrument` has put there. Only these types
stand between, so that nothing that sends a request imports OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from acp_client_v0_1._http.call import Call
    from acp_client_v0_1._http.response import RESTResponse
    from acp_client_v0_1.models.agent import Agent

__all__ = ["Observer", "RunSpan", "StreamedResponse"]


class StreamedResponse(Protocol):
    """What a stream needs of a response; `acp_client_v0_1.rest.RESTResponse` has it."""

    status: int
    method: str

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def read_available(self, *, wait: float | None = None) -> bytes:
        """Return the bytes that have arrived, b"" at the end; wait for them, at most ``wait`` s."""
        ...

    def abort(self) -> None:
        """Wake a blocked `read_available`; called from any thread."""

    def close(self) -> None:
        """Release the connection."""


class RunSpan(Protocol):
    """The span of one run; ``traceparent`` is what a later span of the run links to (W3C)."""

    traceparent: str

    def active(self) -> AbstractContextManager[object]:
        """Let requests inside the ``with`` block be children of the span."""
        ...

    def started(self, run_id: str) -> None:
        """Note the run's id."""

    def end(self, outcome: object) -> bool:
        """End the span, except after a look-up; False if the next wait needs a span of its own."""
        ...


class Observer(Protocol):
    """Observes the work of a client."""

    def attempt(
        self, call: Call, resends: int, send: Callable[[Call], RESTResponse]
    ) -> RESTResponse:
        """Stand around one attempt of a call, which was sent ``resends`` times before.

        ``send`` sends a call once, perhaps with further headers. What it returns or raises is
        returned or raised.
        """
        ...

    def reading(self, response: StreamedResponse) -> StreamedResponse:
        """Stand around the reading of a stream: gives what to read instead of the response."""
        ...

    def run(
        self, agent_id: str, thread_id: str, *, agent: Agent | None = None, linked: str = ""
    ) -> RunSpan:
        """Begin the span of a run; "" or None for what is not known of it.

        ``linked`` is the ``traceparent`` of an earlier span of the run, or "".
        """
        ...
