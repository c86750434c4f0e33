"""The others: what a user would pick instead, and the stock client of the contract.

Each is imported when it is first asked for. One that is not installed is absent from the figures,
and `missing` tells why.
"""

from __future__ import annotations

import atexit
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from .measure import STOCK

__all__ = ["find", "missing", "parsers", "sse_over_httpx", "stock", "versions"]

ROOT = Path(__file__).resolve().parent.parent
STOCK_FOLDER = "BENCHMARKS_STOCK_CLIENT"

DISTRIBUTIONS = {
    "httpx_sse": "httpx-sse",
    "langgraph_sdk": "langgraph-sdk",
    "sseclient": "sseclient-py",
}

missing: dict[str, str] = {}
"""Absent peers and why."""


@cache
def find(*names: str) -> tuple[ModuleType, ...] | None:
    """Import modules of a peer; None, noted in `missing`, if one is not there."""
    try:
        return tuple(importlib.import_module(name) for name in names)
    except ImportError as error:
        module = (error.name or names[-1]).partition(".")[0]
        missing[DISTRIBUTIONS.get(module, module)] = str(error)
        return None


@cache
def stock() -> ModuleType | None:
    """Import the stock client of the contract, generated once, in a temporary folder."""
    folder = os.environ.get(STOCK_FOLDER) or _generate()
    if folder is None:
        return None
    os.environ[STOCK_FOLDER] = folder  # for the processes that this one starts
    sys.path.append(folder)
    return importlib.import_module("stock_acp_client")


def _generate() -> str | None:
    sys.path.append(str(ROOT / "tools"))
    from dropin.stock import generate_stock_client  # what the drop-in check generates, too

    folder = tempfile.TemporaryDirectory(prefix="stock-client-")
    atexit.register(folder.cleanup)
    try:
        generate_stock_client(Path(folder.name), "stock_acp_client")
    except FileNotFoundError as error:
        missing[STOCK] = f"the generator is not installed: {error}"
        return None
    except subprocess.CalledProcessError as error:
        missing[STOCK] = f"the generator failed: {(error.stderr or '').strip()[-200:]}"
        return None
    return folder.name


def versions() -> dict[str, str]:
    """The versions of everything that the figures depend on."""
    names = (
        "pydantic pydantic-core urllib3 httpx httpx-sse sseclient-py openai langgraph-sdk aiohttp"
    )
    found = {}
    for name in [*names.split(), "openapi-generator-cli"]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


# Parsers of server-sent events, each behind the same small function: chunks in, a count out.
# langgraph-sdk's reads the JSON of the data as well, which cannot be switched off.

Parse = Callable[[Sequence[bytes]], int]


def parsers() -> dict[str, Parse]:
    """The installed parsers by name."""
    parsers: dict[str, Parse] = {}
    if modules := find("httpx", "httpx_sse"):
        httpx, httpx_sse = modules
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        parsers["httpx-sse"] = lambda chunks: _count(
            httpx_sse.EventSource(
                httpx.Response(200, headers=headers, content=iter(chunks))
            ).iter_sse()
        )
    if sseclient := find("sseclient"):
        parsers["sseclient-py"] = lambda chunks: _count(
            sseclient[0].SSEClient(iter(chunks)).events()
        )
    if openai := find("openai._streaming"):
        parsers["openai"] = lambda chunks: _count(openai[0].SSEDecoder().iter_bytes(iter(chunks)))
    if langgraph := find("langgraph_sdk.sse"):
        parsers["langgraph-sdk"] = lambda chunks: _count(_langgraph_events(langgraph[0], chunks))
    return parsers


def _count(events: Iterable[object]) -> int:
    count = 0
    for _ in events:
        count += 1
    return count


def _langgraph_events(sse: ModuleType, chunks: Iterable[bytes]) -> Iterator[Any]:
    lines, decoder = sse.BytesLineDecoder(), sse.SSEDecoder()
    for chunk in chunks:
        for line in lines.decode(chunk):
            if (part := decoder.decode(line)) is not None:
                yield part


def sse_over_httpx(take: Callable[[Any], object]) -> Callable[[str], object] | None:
    """How to read an event stream at a URL with httpx; `take` gets each event of httpx-sse.

    The servers speak plain HTTP, so the client loads nothing of what TLS needs, which takes long.
    openai's and langgraph-sdk's own clients read theirs in the same way.
    """
    if (modules := find("httpx", "httpx_sse")) is None:
        return None
    httpx, httpx_sse = modules

    def read(url: str) -> None:
        with (
            httpx.Client(verify=False) as client,
            httpx_sse.connect_sse(client, "GET", url) as source,
        ):
            for event in source.iter_sse():
                take(event)

    return read
