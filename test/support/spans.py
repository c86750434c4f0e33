"""The spans that an instrumented client has recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from acp_client_v0_1 import RunsApi, instrument
from support.socket_server import SocketServer
from support.transport import serving


class Spans:
    """What was recorded, in the order of the beginnings; a span that has not ended is not there."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans whose name begins so."""
        return [span for span in self.all if span.name.startswith(name)]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def children(self, parent: ReadableSpan) -> list[str]:
        """The names of the spans directly below one."""
        return [
            span.name
            for span in self.all
            if span.parent is not None
            and parent.context is not None
            and span.parent.span_id == parent.context.span_id
        ]

    @property
    def text(self) -> str:
        """Everything that was recorded, as it would be exported."""
        return "\n".join(span.to_json() for span in self.all)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@contextmanager
def scripted(
    spans: Spans, *responses: Any, path: str = "", retries: Any = False, **settings: Any
) -> Iterator[tuple[RunsApi, SocketServer]]:
    with serving(*responses, retries=retries, **settings) as (server, client):
        client.configuration.host += path
        instrument(client, spans.provider)
        yield RunsApi(client), server


def traceparent_of(span: ReadableSpan) -> str:
    """The header that makes what a server does a child of the span."""
    context = span.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
