"""What telemetry sees of a client: attempts, streams that are read, and runs.

`RESTClientObject.observer` is None unless `telemetry.instrument` has set it. The transport knows
these types only, so that it does not import OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from acp_client_v0_1._http.call import Call
    from acp_client_v0_1._http.response import RESTResponse
    from acp_client_v0_1.models.agent import Agent


class StreamedResponse(Protocol):
    """What a stream needs of a response, such as `acp_client_v0_1.rest.RESTResponse`."""

    status: int
    method: str

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def read_available(self, *, wait: float | None = None) -> bytes:
        """Return bytes once some have arrived, within ``wait`` seconds. b"" means the end."""
        ...

    def abort(self) -> None:
        """Wake a blocked `read_available`, from any thread."""

    def close(self) -> None:
        """Release the connection."""


class RunSpan(Protocol):
    """The span of one run. A later span of the run links to its ``traceparent`` (W3C)."""

    traceparent: str

    def active(self) -> AbstractContextManager[object]:
        """Make requests inside the ``with`` block children of the span."""
        ...

    def started(self, run_id: str) -> None:
        """Note the run's id."""

    def end(self, outcome: object) -> bool:
        """End the span, or leave it open after a read with timeout 0.

        Return False if the next wait for the run has to begin a new span.
        """
        ...


class Observer(Protocol):
    """Observes the work of a client."""

    def attempt(
        self, call: Call, resends: int, send: Callable[[Call], RESTResponse]
    ) -> RESTResponse:
        """Wrap one attempt of a call, which was sent ``resends`` times before.

        ``send`` sends a call once, and may be given a copy with further headers. Its outcome is
        passed on.
        """
        ...

    def reading(self, response: StreamedResponse) -> StreamedResponse:
        """Wrap the reading of a stream: return what to read instead of the response."""
        ...

    def run(
        self, agent_id: str, thread_id: str, *, agent: Agent | None = None, linked: str = ""
    ) -> RunSpan:
        """Begin the span of a run. Unknown facts are empty or None.

        ``linked`` is the ``traceparent`` of an earlier span of the run, if there is one.
        """
        ...
