"""Spans of OpenTelemetry for runs, requests and streams.

Strategy: `instrument` gives a client an observer (`_http.observer`). The transport calls it for
each attempt and stream, the handles for each run. Only this module imports OpenTelemetry.

Invariants: no input, output, header, query or error message is recorded. Trace headers go to the
configured origin only. A text of a server is one bounded line: half of a surrogate pair would make
the export of all spans fail. The names of attributes follow the semantic conventions for HTTP
clients (stable) and for GenAI agents (in development).
"""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from acp_client_v0_1._arguments import check_arguments, imported
from acp_client_v0_1._contract import FINAL
from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1._text import one_line, short
from acp_client_v0_1._version import __version__
from acp_client_v0_1.exceptions import ApiException, RunWaitTimeout
from acp_client_v0_1.handles.errors import RunInterrupted
from acp_client_v0_1.models import Agent, RunError, RunInterrupt, RunOutput

_installed = bool(find_spec("opentelemetry") and find_spec("opentelemetry.trace"))
if TYPE_CHECKING or _installed:
    from opentelemetry import propagate, trace
    from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from acp_client_v0_1._http.call import Call
    from acp_client_v0_1._http.observer import StreamedResponse
    from acp_client_v0_1._http.response import RESTResponse
    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.configuration import Configuration

__all__ = ["instrument"]

_INVOKE = "invoke_agent"
# A span ends with the run, or when the run is deleted.
_FINAL = FINAL | {"gone", "cancelled"}
_FAILURES = {"error": "RunFailed", "timeout": "RunTimedOut", "gone": "RunGone"}


def instrument(api_client: ApiClient, tracer_provider: TracerProvider | None = None) -> None:
    """Record spans of what a client does: its runs, its requests and its streams.

    A second call replaces the first. A pickle of the client is not instrumented.

    Args:
        api_client: The client. This includes handles and API classes that already use it.
        tracer_provider: Where the spans go. By default the global provider.

    Raises:
        ApiTypeError: ``api_client`` is not an ApiClient, or ``tracer_provider`` not a
            TracerProvider.
        ApiValueError: The package ``opentelemetry-api`` is missing: ``pip install
            'acp-client-v0-1[telemetry]'``.
    """
    check_arguments("api_client", api_client=api_client, tracer_provider=tracer_provider)
    imported("opentelemetry.trace", "instrument()", "telemetry")
    tracer = trace.get_tracer("acp_client_v0_1", __version__, tracer_provider)
    api_client.rest_client.observer = _Observer(api_client.configuration, tracer)
    # atexit calls first what was registered last. So each call registers the function again, and
    # the shutdown of a provider that was made before this call finds the spans ended.
    atexit.unregister(_end_at_exit)
    atexit.register(_end_at_exit)


class _Observer:
    def __init__(self, configuration: Configuration, tracer: Tracer) -> None:
        self._configuration = configuration
        self._tracer = tracer

    def attempt(
        self, call: Call, resends: int, send: Callable[[Call], RESTResponse]
    ) -> RESTResponse:
        origin = call.target.origin
        attributes: dict[str, str | int] = {
            "http.request.method": call.method,
            "server.address": origin.host,
            "server.port": origin.port,
            "url.full": f"{origin}{call.path}",
        }
        name = call.method
        if call.route and not call.cross_origin:
            attributes["url.template"] = call.route
            name = f"{call.method} {call.route}"
        if resends:
            attributes["http.request.resend_count"] = resends
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        with _current(span, end=True):
            try:
                response = send(self._with_trace_headers(call))
            except BaseException as error:
                status = getattr(error, "status", None)
                if isinstance(status, int):
                    span.set_attribute("http.response.status_code", status)
                _fail(span, type(error).__name__)
                raise
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 400:
                _fail(span, str(response.status))
            return response

    def _with_trace_headers(self, call: Call) -> Call:
        """Add the headers of the current span, if the call has none of its own."""
        if call.target.origin != parse_target(self._configuration.host).origin:
            return call
        added: dict[str, str] = {}
        propagate.inject(added)
        names = {name.lower() for name in call.headers}
        if any(name.lower() in names for name in added):
            return call
        return replace(call, headers={**call.headers, **added})

    def reading(self, response: StreamedResponse) -> StreamedResponse:
        return _Reading(response, self._tracer.start_span("read stream"))

    def run(
        self, agent_id: str, thread_id: str, *, agent: Agent | None = None, linked: str = ""
    ) -> _RunSpan:
        origin = parse_target(self._configuration.host).origin
        named = {"gen_ai.agent.id": agent_id, "gen_ai.conversation.id": thread_id}
        name = _INVOKE
        if agent is not None:
            about = agent.metadata
            name = f"{_INVOKE} {short(about.ref.name)}"
            named["gen_ai.agent.name"] = about.ref.name
            named["gen_ai.agent.version"] = about.ref.version
            named["gen_ai.agent.description"] = about.description
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": _INVOKE,
            "gen_ai.provider.name": "acp",
            "server.address": origin.host,
            "server.port": origin.port,
            **{key: one_line(value) for key, value in named.items() if value},
        }
        span = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, links=_links(linked)
        )
        return _RunSpan(span)


class _RunSpan:
    # The end of the last request. Before the first, it is None, and `drop` ends the span with the
    # present time.
    _last: int | None = None

    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span))
        self.traceparent = carrier.get("traceparent", "")
        _run_spans.add(self)

    @contextmanager
    def active(self) -> Generator[None]:
        try:
            with _current(self._span):
                yield
        finally:
            self._last = time.time_ns()

    def started(self, run_id: str) -> None:
        self._span.set_attribute("acp.run.id", one_line(run_id))

    def end(self, outcome: object) -> bool:
        if isinstance(outcome, RunWaitTimeout) and not outcome.elapsed:
            # A wait with timeout=0 only reads the run.
            return True
        status = _status_of(outcome)
        if self._span.is_recording():
            if status:
                self._span.set_attribute("acp.run.status", status)
            if status in _FAILURES:
                _fail(self._span, _FAILURES[status])
            elif isinstance(outcome, BaseException) and not isinstance(outcome, RunInterrupted):
                _fail(self._span, type(outcome).__name__)
            self._span.end()
        return status in _FINAL

    def drop(self) -> None:
        """End the span of a run that nobody waits for at the time of its last request."""
        if self._span.is_recording():
            self._span.end(self._last)

    __del__ = drop


_run_spans = weakref.WeakSet[_RunSpan]()


def _end_at_exit() -> None:
    for span in list(_run_spans):
        span.drop()


class _Reading:
    """A streamed response that records its reading as a span."""

    def __init__(self, response: StreamedResponse, span: Span) -> None:
        self.status = response.status
        self.method = response.method
        self.url = response.url
        self.headers = response.headers
        self._response = response
        self._span = span
        self._left = False

    def read_available(self, *, wait: float | None = None) -> bytes:
        try:
            data = self._response.read_available(wait=wait)
        except NothingYet:
            raise
        except BaseException as error:
            self._end("failed", type(error).__name__)
            raise
        if not data:
            self._end("complete")
        return data

    def abort(self) -> None:
        self._left = True
        self._response.abort()

    def close(self) -> None:
        self._response.close()
        self._end("left")

    def _end(self, how: str, error_type: str = "") -> None:
        if not self._span.is_recording():
            return
        self._span.set_attribute("acp.stream.end", "left" if self._left else how)
        if error_type and not self._left:
            _fail(self._span, error_type)
        self._span.end()


def _current(span: Span, *, end: bool = False) -> AbstractContextManager[Span]:
    """Make a span the current one, without recording the message of an exception."""
    return trace.use_span(span, end, record_exception=False, set_status_on_exception=False)


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def _links(traceparent: str) -> list[Link]:
    """Return the link to an earlier span. A text that names no span, as "", gives none."""
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    earlier = trace.get_current_span(context).get_span_context()
    return [Link(earlier)] if earlier.is_valid else []


# The statuses of the outputs that are no results.
_STATUSES: dict[type, str] = {RunError: "error", RunInterrupt: "interrupted"}


def _status_of(outcome: object) -> str:
    """Return the status of a run after a wait, or "" if the outcome does not show it."""
    if isinstance(outcome, str):
        return outcome
    if isinstance(outcome, ApiException):
        waits = isinstance(outcome, RunWaitTimeout)
        return str(getattr(outcome, "status_name", "pending" if waits else ""))
    if isinstance(outcome, BaseException):
        # A callback may raise any error, and its attributes say nothing about the run.
        return ""
    output = outcome.actual_instance if isinstance(outcome, RunOutput) else None
    return _STATUSES.get(type(output), "success")
