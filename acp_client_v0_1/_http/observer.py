"""The interface of telemetry, which sees attempts, the reading of streams, and runs.

`RESTClientObject.observer` is None unless `telemetry.instrument` has set it. The transport uses
only the types of this module, so it does not import OpenTelemetry.
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
    """The part of `acp_client_v0_1.rest.RESTResponse` that reads a stream."""

    status: int
    method: str

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def read_available(self, *, wait: float | None = None) -> bytes:
        """Wait up to ``wait`` seconds for bytes and return them. b"" means the end of the body."""
        ...

    def abort(self) -> None:
        """Make a blocked `read_available` of any thread raise at once."""

    def close(self) -> None:
        """Release the connection."""


class RunSpan(Protocol):
    """A span of a run. A later span of the same run links to ``traceparent`` (W3C)."""

    traceparent: str

    def active(self) -> AbstractContextManager[object]:
        """Inside the ``with`` block, make this span the parent of the spans of requests."""
        ...

    def started(self, run_id: str) -> None:
        """Note the run's id."""

    def end(self, outcome: object) -> bool:
        """End the span with the outcome of a wait, and return whether the caller keeps the span.

        Return True in two cases:

        * The run has ended. Then it needs no other span.
        * The wait had a timeout of 0 and got no output. Then this span does not end.

        Otherwise return False. Then the span has ended, and the run may continue. So the next wait
        for the run has to begin a new span.
        """
        ...


class Observer(Protocol):
    """Observes the work of a client."""

    def attempt(
        self, call: Call, resends: int, send: Callable[[Call], RESTResponse]
    ) -> RESTResponse:
        """Wrap one attempt of a call that was sent ``resends`` times before.

        Call ``send`` once, with the call or with a copy that has further headers. Return the
        response of ``send``, and let an error of ``send`` pass.
        """
        ...

    def reading(self, response: StreamedResponse) -> StreamedResponse:
        """Wrap the reading of a stream: return a response to read instead of ``response``."""
        ...

    def run(
        self, agent_id: str, thread_id: str, *, agent: Agent | None = None, linked: str = ""
    ) -> RunSpan:
        """Begin a span of a run. An unknown id is "", and an unknown agent is None.

        ``linked`` is the ``traceparent`` of an earlier span of the run, if there is one.
        """
        ...
