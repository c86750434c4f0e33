"""The rows of `responses.txt`: read by this client, cut at every byte, and read by urllib3."""

from __future__ import annotations

import http.client
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import urllib3
from support.parts import Decoder, coding_of
from support.socket_server import CLOSE, Connection, SocketServer
from support.transport import rest_client
from urllib3.exceptions import DecodeError, HTTPError

from acp_client_v0_1._http.parse import Closed, final_head, framing_of
from acp_client_v0_1.exceptions import ApiException

LINES = Path(__file__).with_name("responses.txt").read_text("utf-8").splitlines()


class Row(NamedTuple):
    method: str
    wire: bytes
    closes: bool
    # The status and the body, or None if the response cannot be read.
    response: tuple[int, bytes] | None
    # The reading as the table has it.
    reading: str
    # How urllib3 differs.
    differs: str


def rows() -> Iterator[tuple[str, Row]]:
    group = ""
    for line in LINES:
        if line.startswith("#"):
            group = line.strip("# ")
        elif line:
            name, section, reading, text, *differs = map(str.strip, line.split(" | "))
            assert re.fullmatch(r"(9110|9112|2616|1952), [0-9C.]+", section), line
            arrow, text = text.rpartition(" → ")[::2]
            wire = re.sub(r"\((.+?)\)\*(\d+)", repeated, text.removesuffix("EOF").removesuffix(" "))
            sent = wire.replace("⏎", "\r\n").encode("latin-1").decode("unicode_escape")
            found = re.match(r"(\d{3}) ?(\w*)", reading)
            response = (int(found[1]), found[2].encode()) if found else None
            arrived = (arrow or "GET", sent.encode("latin-1"), text.endswith("EOF"))
            yield f"{group}: {name}", Row(*arrived, response, reading, "".join(differs))


def repeated(found: re.Match[str]) -> str:
    return found[1] * int(found[2])


ROWS = dict(rows())


@pytest.fixture(scope="module")
def server() -> Iterator[SocketServer]:
    """Each path is the number of a row."""

    def respond(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            row = list(ROWS.values())[int(request.path[1:])]
            closes = row.closes or request.headers.get("connection") == "close"
            connection.play([row.wire, CLOSE if closes else 0])

    with SocketServer(handler=respond) as running:
        yield running


def test_the_table_is_read_as_it_says(server):
    assert len(ROWS) >= 150
    for number, (name, row) in enumerate(ROWS.items()):
        before = server.connections
        with rest_client() as client:
            try:
                for _ in range(2):
                    url = f"{server.url}/{number}"
                    received = client.request(row.method, url, _request_timeout=10)
                once = "" if server.connections == before + 1 else ", once"
                found = written(received.status, received.data or b"") + once
            except ApiException as error:
                found = type(error).__name__
        assert found == row.reading, name


def test_urllib3_reads_the_same_unless_the_row_says_how_it_differs(server):
    for number, (name, row) in enumerate(ROWS.items()):
        # urllib3 decodes zstd if Python or a package can. From 3.15 on, Python counts fields alone.
        zstd = name == "content: zstd" and urllib3.response.HAS_ZSTD
        if zstd or (sys.version_info >= (3, 15) and name == "field: 99 fields and a length"):
            continue
        with urllib3.PoolManager(retries=False, timeout=10) as client:
            try:
                url = f"{server.url}/{number}"
                received = client.request(row.method, url, headers={"connection": "close"})
                found = received.status, received.data
            except (HTTPError, OverflowError, ValueError):
                found = None
            except zlib.error:
                # Whether zlib minds zeros behind gzip in a flush depends on its version.
                continue
        assert (found == row.response) is (not row.differs), (name, found)


def written(status: int, body: bytes) -> str:
    return f"{status} {body.decode()}".strip()


def reading_of(method: str, pieces: list[bytes]) -> str:
    """Read a response that arrives in these pieces, before EOF."""
    arriving = iter(pieces)
    try:
        head, received = final_head(lambda: next(arriving, b""))
        framing, kept = framing_of(head, method)
        body = framing.take(received)
        while not framing.complete:
            body += framing.take(b"")  # raises the fault behind content
            received = next(arriving, b"")
            if not (received or framing.may_end()):
                raise Closed
            kept = kept and bool(received)
            if not received:
                break
            body += framing.take(received)
        kept = kept and not framing.rest and not b"".join(arriving)
        coding = coding_of(head.headers.get("content-encoding", "")) if body else ""
        if coding:
            body = decoded(coding, body)
    except Closed:
        return "ConnectionException"
    except http.client.HTTPException:
        return "ProtocolException"
    except DecodeError:
        return "ResponseDecodeError"
    return written(head.status, body) + ("" if kept else ", once")


def decoded(coding: str, body: bytes) -> bytes:
    decoder, content = Decoder(coding), b""
    for value in body:
        content += decoder.decode(bytes((value,)), 65_536)
    if decoder.unfinished:
        raise DecodeError("it ends too early")
    return content


def test_no_reading_depends_on_where_the_bytes_are_cut():
    for name, row in ROWS.items():
        wire = row.wire
        cuts = [[wire[:at], wire[at:]] for at in range(1, len(wire))]
        cuts.append([wire[at : at + 1] for at in range(len(wire))])
        readings = {reading_of(row.method, [each for each in cut if each]) for cut in cuts}
        assert readings <= {row.reading}, name


def test_a_response_that_ends_too_early_is_never_taken_for_another_one():
    for name, row in ROWS.items():
        whole = row.reading.removesuffix(", once")
        for end in range(len(row.wire) if row.response else 0):
            found = reading_of(row.method, [row.wire[:end]] if end else []).removesuffix(", once")
            # Only EOF says where a close-delimited body ends.
            same = whole.startswith(found) if row.closes else found == whole
            assert same or found.endswith(("Exception", "Error")), (name, end, found)
