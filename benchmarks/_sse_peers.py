"""The other Python parsers of server-sent events, each behind the same small function.

A peer that is not installed is left out, and `find_peers` says so. langgraph-sdk's decoder reads
the JSON of the data as well, which cannot be switched off.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

__all__ = ["Parse", "find_peers"]

Parse = Callable[[Sequence[bytes]], int]


def _count(events: Iterable[object]) -> int:
    count = 0
    for _ in events:
        count += 1
    return count


def _httpx_sse() -> Parse:
    httpx = importlib.import_module("httpx")
    httpx_sse = importlib.import_module("httpx_sse")

    def parse(chunks: Sequence[bytes]) -> int:
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        response = httpx.Response(200, headers=headers, content=iter(chunks))
        return _count(httpx_sse.EventSource(response).iter_sse())

    return parse


def _sseclient() -> Parse:
    sseclient = importlib.import_module("sseclient")
    return lambda chunks: _count(sseclient.SSEClient(iter(chunks)).events())


def _openai() -> Parse:
    streaming = importlib.import_module("openai._streaming")
    return lambda chunks: _count(streaming.SSEDecoder().iter_bytes(iter(chunks)))


def _langgraph() -> Parse:
    sse = importlib.import_module("langgraph_sdk.sse")

    def events(chunks: Sequence[bytes]) -> Iterator[Any]:
        lines, decoder = sse.BytesLineDecoder(), sse.SSEDecoder()
        for chunk in chunks:
            for line in lines.decode(chunk):
                if (part := decoder.decode(line)) is not None:
                    yield part

    return lambda chunks: _count(events(chunks))


_PEERS: dict[str, Callable[[], Parse]] = {
    "httpx-sse": _httpx_sse,
    "sseclient-py": _sseclient,
    "openai": _openai,
    "langgraph-sdk": _langgraph,
}


def find_peers() -> dict[str, Parse]:
    """Find the installed peers; say which ones are missing.

    Returns:
        By name, a function that parses chunks and returns the number of events.
    """
    peers = {}
    for name, make in _PEERS.items():
        try:
            peers[name] = make()
        except ImportError as error:
            print(f"skipped {name}: {error}")
    return peers
