"""Bodies as they arrive: every framing and cut, codings, and who owns the connection."""

from __future__ import annotations

import contextlib
import gc
import gzip
import operator
import random
import socket
import threading
import zlib
from functools import partial

import pytest
from support.costs import Memory
from support.parts import Decoder, NothingYet
from support.socket_server import CLOSE, RESET, STALL, Gate, SocketServer, chunk, head, response
from support.transport import Stopwatch, eventually, fetch, pool_of, rest_client, talking

from acp_client_v0_1.exceptions import ConnectionException, ProtocolException, ResponseDecodeError

CHUNKED = head(transfer_encoding="chunked")


def joined(received):
    return b"".join(iter(received.read_available, b""))


FRAMINGS = {
    "content-length": ([head(content_length="6"), b"one"], [b"two"], True),
    "chunked": ([CHUNKED, chunk(b"one")], [chunk(b"two"), chunk(b"")], True),
    "close": ([head(connection="close"), b"one"], [b"two", CLOSE], False),
    "HTTP/1.0": ([b"HTTP/1.0 200 OK\r\n\r\n", b"one"], [b"two", CLOSE], False),
}


@pytest.mark.parametrize("begin, rest, reusable", FRAMINGS.values(), ids=FRAMINGS)
def test_bytes_are_there_when_they_have_come(begin, rest, reusable):
    gates = Gate(), Gate()
    responses = [[*begin, gate, *rest] for gate in gates]
    with talking(*responses) as (client, server):
        for gate in gates:
            received = client.request("GET", server.url + "/", stream=True)
            assert received.read_available() == b"one"
            gate.open()
            assert received.read_available() == b"two"
            assert received.read_available() == b""
            assert received.read_available() == b""
    assert server.connections == (1 if reusable else 2)


CUT = {
    "content-length": [head(content_length="10"), b"one", CLOSE],
    "of the longest content-length": [head(content_length="9" * 18), b"one", CLOSE],
    "inside the largest chunk": [CHUNKED, b"FFFFFFFFFFFFFFF\r\none", CLOSE],
    "reset": [head(content_length="10"), b"one", 0.1, RESET],
}


@pytest.mark.parametrize("script", CUT.values(), ids=CUT)
def test_a_cut_is_never_a_clean_end(script):
    with talking(script) as (client, server):
        received = client.request("GET", server.url + "/", stream=True)
        with pytest.raises(ConnectionException) as failure:
            assert received.read_available() == b"one"
            received.read_available()
        assert failure.value.status == 200
        with pytest.raises(ConnectionException):
            received.read_available()
        assert eventually(lambda: not server.still_open)


OK = b"HTTP/1.1 200 OK\r\n"


def test_a_line_of_a_head_has_up_to_65_535_bytes():
    longest = OK + b"content-length: 3\r\n" + b"a: ".ljust(65_535, b"b") + b"\r\n\r\none"
    assert fetch(longest).data == b"one"


@pytest.mark.parametrize(
    "script",
    [
        [b"\n", STALL],
        [b"HEL", 0.05, b"LO", STALL],
        [b"HTTP/1.1 200 OK\r\na: ".ljust(70_000, b"b"), STALL],
        OK + b"a: ".ljust(65_536, b"b") + b"\r\ncontent-length: 0\r\n\r\n",
        [b"HTTP/1.1 200 OK\r\na: b\r\n", b" c\r\n" * 50_000, STALL],
    ],
)
def test_broken_framing_is_a_protocol_error(script):
    with talking(script, retries=2) as (client, server), pytest.raises(ProtocolException):
        client.request("GET", server.url + "/", safe=True, _request_timeout=2)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (b"", "the connection was closed without a response"),
        (b"HTTP/1.1 200 OK\r\n0\r\n", "the connection was closed in the middle of the head"),
        (b"HTTP/1.1 200 OK\r\na: b\n0\r\n", "the connection was closed in the middle of the head"),
        (b"0\r\n", "is another kind of server, which sends '0'"),
    ],
)
def test_a_head_that_is_cut_is_no_response(begin, words):
    with pytest.raises((ConnectionException, ProtocolException), match=words):
        fetch([begin, CLOSE], _request_timeout=5)


def test_bare_deflate_refers_back_by_up_to_32_kib():
    content = random.Random(1).randbytes(30_000) * 2
    received = fetch(response(zlib.compress(content)[2:-4], content_encoding="deflate"))
    assert received.data == b"".join(received.response.stream()) == content


def headers_of(lines: bytes):
    return fetch(b"HTTP/1.1 200\r\ncontent-length: 0\r\n" + lines + b"\r\n").headers


def test_headers_as_they_come():
    headers = headers_of(b"X-One: 1\r\nx-one:2 \r\nX-Empty:\r\nX-Latin: \xe9\ta\r\n")
    assert headers["X-ONE"] == "1, 2"
    assert headers.getlist("x-one") == ["1", "2"]
    assert (headers["x-empty"], headers["x-latin"]) == ("", "é\ta")
    for fold in (b"\r\n  ", b"\r\n\t", b"\n "):
        assert headers_of(b"X-Folded: a" + fold + b"b\r\n")["x-folded"] == "a b"


def test_a_value_has_no_line_of_its_own():
    headers = headers_of(
        b"X-One: a\rContent-Length: 9\r\nX-Two: a\0\x08\x0b\x1f\x7fb\x1b \r\nX-Three: a\t\x1b~\r\n"
    )
    assert headers["x-one"] == "a Content-Length: 9"
    assert (headers["x-two"], headers["x-three"]) == ("a     b", "a\t ~")
    assert headers["content-length"] == "0"


@pytest.mark.parametrize(("status", "connections"), [(499, 1), (408, 2), (500, 2)])
def test_a_connection_is_used_again_unless_it_is_doubtful(status, connections):
    with talking(response(b"one", status)) as (client, server):
        for _ in range(2):
            assert client.request("GET", server.url).data == b"one"
            assert connections == 1 or eventually(lambda: not server.still_open)
            assert len(pool_of(client).idle) == (connections == 1)
    assert server.connections == connections


NOTHING_MAY_FOLLOW = {
    "204 with a length": ("GET", head(204, content_length="27")),
    "204 with two lengths": (
        "GET",
        b"HTTP/1.1 204 X\r\ncontent-length: 0\r\nContent-Length: 9\r\n\r\n",
    ),
    "204 with a coding": ("GET", head(204, transfer_encoding="chunked")),
    "304 with a length": ("GET", head(304, content_length="27")),
    "304 with a coding": ("GET", head(304, transfer_encoding="identity")),
    "HEAD with a length": ("HEAD", head(content_length="27")),
    "HEAD with a coding": ("HEAD", head(transfer_encoding="chunked")),
    "103 with a length": ("GET", head(103, content_length="27") + head(204)),
    "100 with a coding": ("GET", head(100, transfer_encoding="chunked") + response(b"")),
    "length 0": ("GET", head(204, content_length="0", connection="close")),
    "HTTP/1.0": ("GET", b"HTTP/1.0 204 X\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "begin"), NOTHING_MAY_FOLLOW.values(), ids=NOTHING_MAY_FOLLOW)
def test_content_that_was_announced_and_cannot_be_is_no_response_to_the_next_call(method, begin):
    """It arrives only when the next request has left, so nothing shows it before."""

    def respond(connection):
        while (request := connection.read_request()) is not None:
            if request.path == "/first":
                connection.play(begin)
                request = connection.read_request()
                connection.play(response(b'"forged"') if request else b"")
            connection.play(response(b'"true"') if request else b"")

    with SocketServer(handler=respond) as server, rest_client() as client:
        for _ in range(2):
            client.request(method, server.url + "/first")
            assert eventually(lambda: not server.still_open)
            assert client.request("GET", server.url + "/next").data == b'"true"'


@pytest.mark.parametrize(
    ("method", "begin"),
    [
        *(("GET", each) for each in (head(204), head(204, content_length="0"), head(304))),
        *(("GET", each) for each in (response(b"", 205), head(103) + response(b""))),
        ("HEAD", head()),
    ],
)
def test_a_response_without_content_leaves_its_connection_in_use(method, begin):
    with talking(begin) as (client, server):
        for _ in range(3):
            assert client.request(method, server.url).data == b""
    assert server.connections == 1


X = b"x" * 500
GZIP = gzip.compress(X, mtime=0)
HALVES = gzip.compress(X[:250]), gzip.compress(X[250:])
CODED = {
    "gzip": ("gzip", GZIP),
    "x-gzip of two members": ("x-gzip", b"".join(HALVES)),
    "deflate": ("deflate", zlib.compress(X)),
    "padding behind gzip": ("gzip", GZIP + b"\0" * 512),
    "gzip behind stray bytes": ("gzip", GZIP + b"?" + gzip.compress(b"y")),
    "half a beginning behind gzip": ("gzip", GZIP + b"\x1fx"),
    "more behind deflate": ("deflate", zlib.compress(X) + b"more"),
    "an empty gzip between": ("gzip", (gzip.compress(b"") * 3).join(HALVES)),
}


@pytest.mark.parametrize(("coding", "body"), CODED.values(), ids=CODED)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_coded_body_however_it_is_cut_and_read(coding, body, size):
    chunks = [chunk(body[begin : begin + size]) for begin in range(0, len(body), size)]
    script = [head(transfer_encoding="chunked", content_encoding=coding), *chunks, chunk(b"")]
    with talking(script) as (client, server):
        received = client.request("GET", server.url)
        assert received.data == received.response.data == X
        assert joined(client.request("GET", server.url, stream=True)) == X
        begun = client.request("GET", server.url, stream=True)
        first = begun.read_available()
        assert first + begun.read() == X
        assert server.connections == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_little_that_decodes_to_much_is_given_in_pieces(coding):
    comments = b":\n" * 4_000_000
    body = gzip.compress(comments, 6) if "gzip" in coding else zlib.compress(comments, 6)
    script = response(body, content_encoding=coding)
    with talking(script) as (client, server):
        received = client.request("GET", server.url + "/", stream=True)
        with Memory() as memory:
            pieces = [len(piece) for piece in iter(received.read_available, b"")]
    assert sum(pieces) == len(comments)
    assert max(pieces) <= 65_536
    assert memory.peak < 2_000_000


def test_all_that_was_flushed_comes_before_more_is_waited_for():
    # More than fits into one piece, and into what zlib puts out at once.
    body = b"".join(b"%d " % number for number in range(60_000))
    packer = zlib.compressobj(wbits=31)
    flushed = packer.compress(body) + packer.flush(zlib.Z_SYNC_FLUSH)
    gate = Gate()
    script = [
        head(transfer_encoding="chunked", content_encoding="gzip"),
        chunk(flushed),
        gate,
        chunk(packer.compress(b"more") + packer.flush()) + chunk(b""),
    ]
    with talking(script) as (client, server):
        received = client.request("GET", server.url + "/", stream=True)
        came = b""
        while len(came) < len(body):
            came += received.read_available()
        gate.open()
        assert came == body
        assert received.read() == b"more"


def compressed(coding: str, content: bytes) -> bytes:
    return gzip.compress(content, mtime=0) if coding == "gzip" else zlib.compress(content)


MEMBERS = {"gzip": 3, "deflate": 1}  # as many as a body of the coding may have
PIECE = 65_536  # bytes that are decoded at once


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
@pytest.mark.parametrize(
    ("coding", "stray"), [*((coding, b"") for coding in MEMBERS), ("gzip", b"stray")]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_member_that_ends_where_a_piece_does_is_decoded_once(coding, stray, size, stream):
    members = [bytes([65 + number]) * size for number in range(MEMBERS[coding])]
    body = b"".join(compressed(coding, member) for member in members) + stray
    with talking(response(body, content_encoding=coding)) as (client, server):
        received = client.request("GET", server.url, stream=stream, _request_timeout=5)
        pieces = list(iter(received.read_available, b"")) if stream else [received.data]
    assert b"".join(pieces) == b"".join(members)
    assert not stream or max(map(len, pieces)) <= PIECE


def test_the_rest_of_a_body_that_cannot_be_decoded_is_not_waited_for():
    begin = head(content_encoding="gzip", content_length="99")
    with talking([begin, b"this is no gzip", STALL]) as (client, server):
        received = client.request("GET", server.url, stream=True)
        with pytest.raises(ResponseDecodeError):
            received.read_available()
        assert eventually(lambda: not server.still_open)


def test_no_member_of_gzip_is_read_after_stray_bytes():
    decoder = Decoder("gzip")
    assert decoder.decode(gzip.compress(b"first"), PIECE) == b"first"
    for rest in (b"stray", gzip.compress(b"second")):
        assert decoder.decode(rest, PIECE) == b""


@pytest.mark.parametrize("coding", MEMBERS)
def test_a_coding_that_is_cut_or_changed_anywhere_raises_no_other_error(coding):
    content = b"".join(b"%d " % number for number in range(300)) * 2
    whole = compressed(coding, content)
    cut = [whole[:place] for place in range(1, len(whole), 7)]
    changed = [
        whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
        for place in range(0, len(whole), 7)
    ]
    scripts = [response(body, content_encoding=coding) for body in cut + changed]
    with talking(*scripts) as (client, server):
        for _ in cut:
            with pytest.raises(ResponseDecodeError, match="cannot be decoded"):
                client.request("GET", server.url, _request_timeout=5)
        for _ in changed:
            with contextlib.suppress(ResponseDecodeError):  # some bits say nothing of the content
                client.request("GET", server.url, _request_timeout=5)


# What is wrong. The connection can be used again, as the body was read to its end.
BAD_CODINGS = {
    "no gzip": ("gzip", b"this is no gzip", "incorrect header check"),
    "gzip that is cut": ("gzip", GZIP[:-12], "it ends too early"),
    "deflate that is cut": ("deflate", zlib.compress(X)[:-5], "it ends too early"),
    **{
        f"{size} bytes of a second gzip": ("gzip", GZIP + GZIP[:size], "it ends too early")
        for size in (1, 15)
    },
    "two codings": ("gzip, gzip", gzip.compress(GZIP), "more than one coding"),
    "a coding of others": ("br", b"x", "not supported"),
}


@pytest.mark.parametrize(("coding", "body", "words"), BAD_CODINGS.values(), ids=BAD_CODINGS)
def test_broken_coding_is_a_decode_error(coding, body, words):
    busy, script = response(b"", 503, retry_after="0"), response(body, content_encoding=coding)
    with talking(busy, script, retries=2) as (client, server):
        with pytest.raises(ResponseDecodeError, match=words) as failure:
            client.request("GET", server.url, safe=True)
        assert len(server.requests) == failure.value.attempts == 2
        assert 0 < failure.value.elapsed < 60
        streamed = client.request("GET", server.url, stream=True)
        with pytest.raises(ResponseDecodeError, match=words):
            list(iter(streamed.read_available, b""))
        assert server.connections == 2


@pytest.mark.parametrize("way", ["abort", "close", "response.shutdown", "response.release_conn"])
def test_what_ends_a_response_from_another_thread_wakes_a_blocked_read(way):
    with talking([CHUNKED, chunk(b"one"), STALL]) as (client, server):
        received = client.request("GET", server.url, stream=True)
        assert received.read_available() == b"one"
        end = operator.attrgetter(way)(received)
        threading.Timer(0.2, end).start()
        with Stopwatch() as blocked, pytest.raises(ConnectionException, match="aborted"):
            received.read_available()
        assert blocked.seconds < 5
        end()
        assert eventually(lambda: not server.still_open)


def test_abort_after_the_end_does_not_touch_the_next_call():
    with talking(response(b'"a"')) as (client, server):
        done = client.request("GET", server.url + "/", stream=True)
        assert done.read() == b'"a"'
        going_on = client.request("GET", server.url + "/", stream=True)
        done.abort()
        done.close()
        assert going_on.read() == b'"a"'
    assert server.connections == 1


@pytest.mark.parametrize("way_out", ["close", "drop", "drop urllib3's"])
def test_an_unread_response_closes_its_connection(way_out):
    with talking([CHUNKED + chunk(b"one"), STALL]) as (client, server):
        received = client.request("GET", server.url + "/", stream=True)
        if way_out == "close":
            received.close()
            received.close()
            with pytest.raises(ConnectionException, match="aborted"):
                received.read_available()  # although the first bytes have come
        elif way_out == "drop urllib3's":
            received = received.response
            assert received.read(3) == b"one"
        del received
        gc.collect()
        assert eventually(lambda: not server.still_open)


def test_urllib3s_response_reads_the_body_and_returns_the_connection():
    with talking([CHUNKED, chunk(b"one"), chunk(b"two"), chunk(b"")]) as (client, server):
        for read in (
            lambda raw: b"".join(raw.stream()),
            lambda raw: b"".join(raw.stream(2)),
            lambda raw: b"".join(raw.read_chunked()),
            lambda raw: raw.data,
        ):
            raw = client.request("GET", server.url + "/", stream=True).response
            gc.collect()
            assert (raw.status, raw.headers["Transfer-Encoding"]) == (200, "chunked")
            assert read(raw) == b"onetwo"
            received = client.request("GET", server.url + "/")
            received.response.release_conn()
            assert read(received.response) == received.data == b"onetwo"
        assert server.connections == 1


def test_the_stock_surface():
    with talking(response(b'"a"', x_thing="1")) as (client, server):
        received = client.request("get", server.url + "/p?q=1")
    assert (received.status, received.reason, received.method) == (200, "Scripted", "GET")
    assert received.url == server.url + "/p?q=1"
    assert received.getheader("X-Thing") == "1"
    assert received.getheader("x-none", "default") == "default"
    assert received.getheaders()["x-thing"] == "1"
    assert received.read() == received.data == received.response.data == b'"a"'
    assert repr(received) == "<RESTResponse GET 200 Scripted>"
    raw = received.response
    assert (raw.status, raw.reason, raw.headers["x-thing"]) == (200, "Scripted", "1")
    assert (raw.version, raw.version_string, raw.url) == (11, "HTTP/1.1", received.url)


def test_as_much_is_read_at_once_as_has_come_up_to_64_kib():
    body = bytes(4 * PIECE)
    plain, coded = response(body), response(gzip.compress(body), content_encoding="gzip")
    large = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * PIECE)]
    with talking(plain, coded, socket_options=large) as (client, server):
        received = client.request("GET", server.url, stream=True)
        peek = partial(received._incoming.sock.recv, 4 * PIECE, socket.MSG_PEEK)
        assert eventually(lambda: len(peek()) > 2 * PIECE)
        assert len(received.read_available()) < PIECE  # of which the head took some
        assert len(received.read_available(10 * PIECE)) == PIECE
        received.close()
        assert len(client.request("GET", server.url, stream=True).read_available()) == PIECE


def test_of_a_body_that_is_quoted_64_kib_are_kept():
    begin = head(404, content_encoding="gzip", content_length="9999999")
    script = [begin + gzip.compress(bytes(4 * PIECE)), STALL]
    with talking(script) as (client, server):
        received = client.request("GET", server.url, stream=True)
        assert received.read_beginning() == bytes(PIECE)
        assert eventually(lambda: not server.still_open)


@pytest.mark.parametrize("amount", [1, 2, 7, None])
@pytest.mark.parametrize("framing", ["sized", "chunked", "close"])
def test_urllib3s_response_reads_amounts(framing, amount):
    """A read takes what it asked for, and leaves the rest of the piece to the next."""
    body = bytes(range(256)) * 20
    script = {
        "sized": response(body),
        "chunked": [CHUNKED + chunk(body[:999]) + chunk(body[999:]) + chunk(b"")],
        "close": [head(connection="close") + body, "close"],
    }[framing]
    with talking(script) as (client, server):
        raw = client.request("GET", server.url + "/", stream=True).response
        pieces = list(iter(lambda: raw.read(amount), b""))
        assert b"".join(pieces) == body
        assert {len(piece) for piece in pieces[:-1]} <= {amount}
        assert raw.closed


def test_urllib3s_response_waits_after_a_read_that_did_not():
    with talking([CHUNKED, 0.3, chunk(b"one") + chunk(b"")]) as (client, server):
        streamed = client.request("GET", server.url + "/", stream=True)
        with pytest.raises(NothingYet):
            streamed.read_available(wait=0)
        assert streamed._incoming.sock.gettimeout() == 0.001
        assert streamed.response.read() == b"one"
