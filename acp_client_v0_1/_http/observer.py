"""What telemetry sees of a client: attempts, streams that are read, and runs.

`RESTClientObject.observer` is None, or what `telemetry.instrument` has put there. Only these types
stand between, so that nothing that sends a request imports OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from acp_client_v0_1._http.call import Call
    from acp_client_v0_1._http.response import RESTResponse
    from acp_client_v0_1.models.agent import Agent
    from acp_client_v0_1.streaming.event_stream import StreamedResponse

__all__ = ["Observer", "RunSpan"]


class RunSpan(Protocol):
    """The span of one run.

    Attributes:
        traceparent: What a later span of the run links to, in the form of W3C Trace Context.
    """

    traceparent: str

    def active(self) -> AbstractContextManager[object]:
        """Let requests inside the ``with`` block be children of the span."""
        raise NotImplementedError

    def started(self, run_id: str) -> None:
        """Note the run's id."""

    def end(self, outcome: object) -> bool:
        """End the span, unless the outcome is that of a mere look.

        Args:
            outcome: A result, a `RunOutput`, an exception, or the name of a status, "" for none.

        Returns:
            Whether the span stands for the run from now on; else the next wait has a new one.
        """
        raise NotImplementedError


class Observer(Protocol):
    """What is told of a client's work."""

    def attempt(
        self, call: Call, resends: int, send: Callable[[Call], RESTResponse]
    ) -> RESTResponse:
        """Stand around one attempt of a call.

        Args:
            call: The call.
            resends: How often it was sent before: retries and redirects.
            send: Sends a call once; may be given the call with further headers.

        Returns:
            What ``send`` returns; what it raises is raised.
        """
        raise NotImplementedError

    def reading(self, response: StreamedResponse) -> StreamedResponse:
        """Stand around the reading of a stream.

        Args:
            response: The response, its body unread.

        Returns:
            What to read instead.
        """
        raise NotImplementedError

    def run(
        self,
        agent_id: str,
        thread_id: str,
        *,
        agent: Agent | None = None,
        linked: str = "",
    ) -> RunSpan:
        """Begin the span of a run.

        Args:
            agent_id: The run's agent, "" if it is not known.
            thread_id: The run's thread, "" if it has none or it is not known.
            agent: What is known of the agent, None for nothing.
            linked: The ``traceparent`` of an earlier span of the run, "" for none.

        Returns:
            The span.
        """
        raise NotImplementedError
