"""What received bytes cost is bounded: by their number, by the deadline, and by the settings."""

from __future__ import annotations

import gzip
import http.client
import logging
import os
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
from support.costs import Memory
from support.socket_server import STALL, SocketServer, chunk, head, response
from support.transport import eventually, refused, rest_client, talking
from urllib3.util import Retry

from acp_client_v0_1._http.parse import Closed, final_head, framing_of
from acp_client_v0_1.exceptions import (
    ApiTimeoutError,
    ProxyException,
    ResponseDecodeError,
    ResponseTooLarge,
)

CHUNKED = head(transfer_encoding="chunked")
MIB = 1_048_576


def parse(data: bytes, size: int = 65_536) -> None:
    """Read a head and a body as they come in pieces, whatever is wrong with them."""
    pieces = (data[begin : begin + size] for begin in range(0, len(data), size))
    try:
        found, rest = final_head(lambda: next(pieces, b""))
        framing, _ = framing_of(found, "GET")
        for piece in chain([rest], pieces):
            framing.take(piece)
    except (http.client.HTTPException, Closed):
        pass


OK = b"HTTP/1.1 200 A\r\n"
RECEIVED: dict[str, Callable[[int], bytes]] = {
    "spaces before the end of a status line": lambda n: b"HTTP/1.1 103 a" + b" " * n + b"b\r\n",
    "a status line of spaces": lambda n: b"HTTP/1.1" + b" " * n + b"x\r\n",
    "a status line byte by byte": lambda n: b"HTTP/1.1 200 " + b"a " * (n // 2),
    "spaces in a header": lambda n: OK + b"a:" + b" " * n + b"b\r\n\r\n",
    "spaces before a colon": lambda n: OK + b"a" + b" " * n + b":\r\n\r\n",
    "a length of zeros": lambda n: OK + b"content-length: " + b"0" * n + b"x\r\n\r\n",
    "a list of lengths": lambda n: OK + b"content-length: " + b"1," * (n // 2) + b"2\r\n\r\n",
    "a size of zeros": lambda n: CHUNKED + b"0" * n + b"x\r\n",
    "a size and spaces": lambda n: CHUNKED + b"0005" + b" " * n + b"x\r\n",
    "sizes byte by byte": lambda n: CHUNKED + b"1;abcdef\r\nx\r\n" * (n // 13),
    "many chunks": lambda n: CHUNKED + b"1\r\nx\r\n" * (n // 6),
    "a trailer byte by byte": lambda n: CHUNKED + b"0\r\n" + b"a: 2345\r\n" * (n // 900),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECEIVED)
def test_twice_the_bytes_cost_twice_the_time(name):
    make, size = RECEIVED[name], 1 if name.endswith("byte by byte") else 65_536

    def cost(number: int, times: int) -> float:
        data = make(number)
        began = time.thread_time()
        for _ in range(times):
            parse(data, size)
        return time.thread_time() - began

    times = 1
    while cost(30_000, times) < 0.003:
        times *= 2
    ratios = []
    for _ in range(20):  # other processes disturb some
        once = min(cost(30_000, times) for _ in range(5))
        twice = min(cost(60_000, times) for _ in range(5))
        ratios.append(twice / once)
        if ratios[-1] <= 2.2:
            return
    raise AssertionError(ratios)


FRAMINGS = {
    "sized": lambda body: response(body),
    "chunked": lambda body: CHUNKED + chunk(body) + chunk(b""),
    "close-delimited": lambda body: [head(connection="close") + body, "close"],
    "gzip": lambda body: response(gzip.compress(body), content_encoding="gzip"),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(("size", "limit"), [(300_000, 200_000), (11, 10)], ids=["long", "at once"])
def test_a_response_larger_than_its_limit(framing, size, limit):
    large, small = (FRAMINGS[framing](b"x" * length) for length in (size, limit))
    with talking(large, small, max_response_bytes=limit) as (client, server):
        with pytest.raises(ResponseTooLarge, match=f"max_response_bytes={limit}") as caught:
            client.request("GET", server.url)
        assert caught.value.limit == limit
        assert caught.value.body == "x" * limit
        for _ in range(2):
            assert client.request("GET", server.url).data == b"x" * limit
        same = server.requests[1].connection == server.requests[2].connection
        assert same is (framing != "close-delimited")


def test_a_coded_response_as_large_as_its_limit_is_read_to_its_end():
    script = response(gzip.compress(b"x" * 10)[:-1], content_encoding="gzip")
    with SocketServer(script) as server:
        refused(ResponseDecodeError, server.url, "it ends too early", max_response_bytes=10)


@pytest.mark.parametrize("coded", [False, True], ids=["plain", "gzip"])
def test_the_body_of_an_error_is_cut(coded):
    if coded:
        bomb = gzip.compress(b"x" * 16 * MIB) * 20
        script: Any = response(bomb, 404, content_encoding="gzip")
    else:  # what it would wait for never comes
        script = [head(300, content_length="9000000000") + b"x" * 2 * MIB, STALL]
    with talking(script) as (client, server):
        with Memory() as memory:
            received = client.request("GET", server.url, _request_timeout=30)
        assert (received.status, received.fault) == (404 if coded else 300, None)
        assert received.data == b"x" * MIB
        assert eventually(lambda: not server.still_open)
    assert memory.peak < 12 * MIB


def test_the_body_of_an_error_keeps_a_limit_that_is_smaller():
    script = response(b"a" * 200_000, 404)
    with talking(script, max_response_bytes=1_000) as (client, server):
        received = client.request("GET", server.url)
    assert (received.status, received.data) == (404, b"a" * 1_000)


def test_what_decodes_without_a_wait_ends_at_the_deadline_as_well():
    script = response(gzip.compress(bytes(4 * MIB)), content_encoding="gzip")
    with talking(script) as (client, server):
        received = client.request("GET", server.url, stream=True, _request_timeout=0.5)
        assert received.read_available()
        time.sleep(0.51)
        with pytest.raises(ApiTimeoutError):
            received.read_available()


def test_memory_is_in_proportion_to_the_bytes_that_came_where_no_limit_is_set():
    body = os.urandom(8 * MIB)
    with talking(response(body), max_response_bytes=None) as (client, server), Memory() as memory:
        assert len(client.request("GET", server.url).data or b"") == len(body)
    assert memory.peak < 2.5 * len(body)


def test_control_characters_of_a_status_line_reach_nobody(caplog):
    reason = b"\x1b[31mRed \xe9\x80\x07\x9f2J\x00"
    rude = b"HTTP/1.1 502 %b\r\ncontent-length: 0\r\nx-a: \x1b[0m\r\n\r\n" % reason
    with SocketServer(rude) as server, caplog.at_level(logging.DEBUG, "acp_client_v0_1"):
        with rest_client() as client:
            received = client.request("GET", server.url)
            assert received.reason == "[31mRed é   2J"
            assert received.headers["x-a"].isprintable()
        settings = {"proxy": server.url, "retries": Retry(1, backoff_factor=0)}
        error = refused(ProxyException, "https://acp.invalid/", "Red", **settings)
        assert "Red" in str(error.reason) and str(error.reason).isprintable()
    assert "Red" in caplog.text
    assert all(line.isprintable() for line in caplog.text.splitlines())
