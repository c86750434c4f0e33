"""A local server, an instrumented client of it, and the spans that it has recorded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.trace import Tracer
from support.batches import obedient
from support.spans import Spans

from acp_client_v0_1 import ApiClient, Configuration, instrument
from acp_client_v0_1.testing import LocalServer


@pytest.fixture
def spans() -> Iterator[Spans]:
    recorded = Spans()
    yield recorded
    recorded.provider.shutdown()


@pytest.fixture
def tracer(spans: Spans) -> Tracer:
    return spans.provider.get_tracer("test")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        running.register(obedient, name="obedient")
        yield running


@pytest.fixture
def client(server: LocalServer, spans: Spans) -> Iterator[ApiClient]:
    with ApiClient(Configuration(host=server.url)) as client:
        instrument(client, spans.provider)
        yield client
