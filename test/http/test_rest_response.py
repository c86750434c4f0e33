"""Bodies as they arrive: every framing and cut, codings, and who owns the connection."""

from __future__ import annotations

import contextlib
import gc
import gzip
import importlib.util
import threading
import tracemalloc
import zlib

import pytest
from support.socket_server import (
    CLOSE,
    RESET,
    STALL,
    Gate,
    SocketServer,
    chunk,
    drip,
    head,
    response,
)
from support.transport import Stopwatch, eventually, rest_client

from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1.exceptions import (
    ApiTimeoutError,
    ConnectionException,
    ProtocolException,
    ResponseDecodeError,
)

CHUNKED = head(transfer_encoding="chunked")


def with_length(*pieces: bytes) -> bytes:
    return head(content_length=str(sum(map(len, pieces))))


FRAMINGS = {
    "content-length": ([with_length(b"one", b"two"), b"one"], [b"two"], True),
    "chunked": ([CHUNKED, chunk(b"one")], [chunk(b"two"), chunk(b"")], True),
    "close": ([head(connection="close"), b"one"], [b"two", CLOSE], False),
    "HTTP/1.0": ([b"HTTP/1.0 200 OK\r\n\r\n", b"one"], [b"two", CLOSE], False),
}


@pytest.mark.parametrize("begin, rest, reusable", FRAMINGS.values(), ids=FRAMINGS)
def test_bytes_are_there_when_they_have_come(begin, rest, reusable):
    gates = Gate(), Gate()
    responses = [[*begin, gate, *rest] for gate in gates]
    with SocketServer(*responses) as server, rest_client() as client:
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
    "inside a chunk": [CHUNKED, b"6\r\none", CLOSE],
    "after a chunk": [CHUNKED, chunk(b"one"), CLOSE],
    "inside a chunk's size": [CHUNKED, chunk(b"one"), b"0", CLOSE],
    "reset": [head(content_length="10"), b"one", 0.1, RESET],
}


@pytest.mark.parametrize("script", CUT.values(), ids=CUT)
def test_a_cut_is_never_a_clean_end(script):
    with SocketServer(script) as server, rest_client() as client:
        received = client.request("GET", server.url + "/", stream=True)
        with pytest.raises(ConnectionException) as failure:
            assert received.read_available() == b"one"
            received.read_available()
        assert failure.value.status == 200
        with pytest.raises(ConnectionException):
            received.read_available()
        assert eventually(lambda: not server.still_open)


def test_the_last_chunk_ends_the_body_without_its_trailer():
    with SocketServer([CHUNKED, chunk(b"one"), b"0\r\n", CLOSE]) as server, rest_client() as client:
        assert client.request("GET", server.url + "/").data == b"one"


@pytest.mark.parametrize(
    "script",
    [
        [CHUNKED, b"nonsense\r\n"],
        [CHUNKED, b"-5\r\n"],
        [CHUNKED, b"1000000000000000\r\none"],  # bytes in one chunk: a petabyte
        [CHUNKED, b"3\r\nonetwo\r\n"],
        [head(content_length="five"), b"12345"],
        [head(content_length="9" * 5_000), b"12345"],
        [head(content_length="+5"), b"12345"],
        [head(content_length="\xb2"), b"12"],  # a superscript two
        [head(transfer_encoding="magic"), b"12345"],
        [head(transfer_encoding="magic", content_length="5"), b"12345"],
        [head(transfer_encoding="gzip, chunked"), chunk(b"12345"), chunk(b"")],
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n x: folded into nothing\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 50,
        head(**{f"x{n}": "y" for n in range(200)}),
        [b"HTTP/1.1 200 OK\r\na: b\r\n", b" c\r\n" * 50_000, STALL],
    ],
)
def test_broken_framing_is_a_protocol_error(script):
    with (
        SocketServer(script) as server,
        rest_client(retries=2) as client,
        pytest.raises(ProtocolException),
    ):
        client.request("GET", server.url + "/", safe=True, _request_timeout=2)
    assert len(server.requests) == 1


def test_the_20th_informational_response_in_a_row_ends_the_call():
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    with SocketServer(early * 19 + response(b'"a"')) as server, rest_client() as client:
        assert client.request("GET", server.url).data == b'"a"'
    with (
        SocketServer([early * 20, "close"]) as server,
        rest_client() as client,
        pytest.raises(ProtocolException, match="20 responses, all informational"),
    ):
        client.request("GET", server.url)


@pytest.mark.parametrize(
    "begin", [b"HTTP/1.1 200 OK\r\n0\r\n", b"0\r\n", b"HTTP/1.1 200 OK\r\na: b\n0\r\n"]
)
def test_a_head_that_looks_like_a_last_chunk_is_cut(begin):
    with (
        SocketServer([begin, CLOSE]) as server,
        rest_client() as client,
        pytest.raises((ConnectionException, ProtocolException)),
    ):
        client.request("GET", server.url + "/", _request_timeout=5)


def headers_of(lines: bytes):
    script = b"HTTP/1.1 200\r\ncontent-length: 0\r\n" + lines + b"\r\n"
    with SocketServer(script) as server, rest_client() as client:
        return client.request("GET", server.url + "/").headers


def test_headers_as_they_come():
    headers = headers_of(
        b"X-One: 1\r\nx-one:2 \r\nX-Folded: a\r\n  b\r\n\tc\r\nX-Empty:\r\nX-Latin: \xe9\r\n"
    )
    assert headers["X-ONE"] == "1, 2"
    assert headers.getlist("x-one") == ["1", "2"]
    assert (headers["x-folded"], headers["x-empty"], headers["x-latin"]) == ("a b c", "", "é")
    bare = b"HTTP/1.1 200 OK\ncontent-length: 1\n\nx"
    with SocketServer(bare) as server, rest_client() as client:
        assert client.request("GET", server.url + "/").data == b"x"


def test_a_value_has_no_line_of_its_own():
    headers = headers_of(b"X-One: a\rContent-Length: 9\r\nX-Two: a\0b\r\n")
    assert (headers["x-one"], headers["x-two"]) == ("a Content-Length: 9", "a b")
    assert headers["content-length"] == "0"


@pytest.mark.parametrize("line", [b"no colon", b": no name", b"a b: c", b"\x00: c"])
def test_lines_that_are_no_headers(line):
    with pytest.raises(ProtocolException, match="not a header"):
        headers_of(line + b"\r\n")


def test_lengths_that_agree_are_one_and_others_none():
    for lengths, error in (
        (b"1, 1", None),
        (b"1, 2", ProtocolException),
        (b"1\r\ncontent-length: 1", None),
        (b"\t1 \t", None),
        (b"1\x0b", ProtocolException),
        (b"1\r", ProtocolException),
        (b"\x001", ProtocolException),
        (b"1\x85", ProtocolException),
        (b"1\r\n \x0c", ProtocolException),
        (b"1\r\ncontent-length: 2", ProtocolException),
        (b"+1", ProtocolException),
    ):
        script = b"HTTP/1.1 200 OK\r\ncontent-length: " + lengths + b"\r\n\r\nx"
        with SocketServer(script) as server, rest_client() as client:
            if error is None:
                assert client.request("GET", server.url + "/").data == b"x"
                continue
            with pytest.raises(error, match="content-length"):
                client.request("GET", server.url + "/")


DOUBTFUL = {
    "chunks and a length": [head(transfer_encoding="chunked", content_length="4")],
    "chunks and no length": [head(transfer_encoding="chunked", content_length="x")],
    "chunks in HTTP/1.0": [
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n"
    ],
}


@pytest.mark.parametrize("begin", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_doubtful_framing_is_read_but_its_connection_not_used_again(begin):
    script = [*begin, chunk(b"one"), chunk(b"")]
    with SocketServer(script) as server, rest_client() as client:
        for _ in range(2):
            assert client.request("GET", server.url + "/").data == b"one"
            assert eventually(lambda: not server.still_open)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("status", "connections"), [(404, 1), (407, 1), (408, 2), (409, 1), (500, 2), (599, 2)]
)
def test_a_connection_is_not_used_again_after_a_status_for_which_servers_close_it(
    status, connections
):
    script = response(b'"x"', status)
    with SocketServer(script) as server, rest_client() as client:
        for _ in range(2):
            assert client.request("GET", server.url).status == status
    assert server.connections == connections


@pytest.mark.parametrize(("options", "connections"), [("Keep-Alive", 1), ("x", 2), ("close", 2)])
def test_a_server_of_http_1_0_has_to_say_that_it_keeps_the_connection(options, connections):
    script = response(b'"x"', connection=options).replace(b"HTTP/1.1", b"HTTP/1.0")
    with SocketServer(script) as server, rest_client() as client:
        for _ in range(2):
            assert client.request("GET", server.url).data == b'"x"'
    assert server.connections == connections


def test_the_coding_identity_is_none():
    responses = (
        head(transfer_encoding="Identity", content_length="3") + b"one",
        [head(transfer_encoding="identity"), b"two", CLOSE],
    )
    with SocketServer(*responses) as server, rest_client() as client:
        assert [client.request("GET", server.url + "/").data for _ in responses] == [b"one", b"two"]


def test_a_line_that_is_too_long():
    with pytest.raises(ProtocolException):
        headers_of(b"x: " + b"y" * 70_000 + b"\r\n")


def test_a_close_is_seen_in_each_line_of_its_header():
    script = response(b"x").replace(b"\r\n\r\n", b"\r\nconnection: te\r\nconnection: close\r\n\r\n")
    with SocketServer(script) as server, rest_client() as client:
        for _ in range(2):
            assert client.request("GET", server.url + "/").data == b"x"
    assert server.connections == 2


def test_informational_responses_are_passed_over():
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    with (
        SocketServer(early + b"HTTP/1.1 100 Continue\r\n\r\n" + response(b'"a"')) as server,
        rest_client() as client,
    ):
        received = client.request("GET", server.url + "/")
    assert (received.status, received.data) == (200, b'"a"')


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("framing", [{"content_length": "5"}, {"transfer_encoding": "chunked"}])
def test_responses_without_body(status, framing):
    script = head(status, **framing)
    with SocketServer(script) as server, rest_client() as client:
        assert client.request("GET", server.url + "/").data == b""
        assert client.request("HEAD", server.url + "/").data == b""
    assert server.connections == 1


CODINGS = {
    "gzip": gzip.compress(b"x" * 5000),
    "x-gzip": gzip.compress(b"x" * 2500) + gzip.compress(b"x" * 2500),
    "deflate": zlib.compress(b"x" * 5000),
    "identity": b"x" * 5000,
}


@pytest.mark.parametrize("stray", [b"\n", b"\0", b"\r\n", b"\x1fx", b"more"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_follows_gzip_and_is_no_gzip_counts_for_nothing(stray, stream):
    script = response(gzip.compress(b"x" * 500) + stray, content_encoding="gzip")
    with SocketServer(script) as server, rest_client() as client:
        received = client.request("GET", server.url + "/", stream=stream, _request_timeout=5)
        assert b"".join(iter(received.read_available, b"")) if stream else received.data
        assert stream or received.data == b"x" * 500


@pytest.mark.parametrize("cut", [1, 2, 9, 15])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_second_gzip_that_is_cut_is_damage(cut, stream):
    second = gzip.compress(b"y" * 500)
    script = response(gzip.compress(b"x" * 500) + second[:cut], content_encoding="gzip")
    with (
        SocketServer(script) as server,
        rest_client() as client,
        pytest.raises(ResponseDecodeError, match="too early"),
    ):
        client.request("GET", server.url + "/", stream=stream, _request_timeout=5).read()


@pytest.mark.parametrize("coding", CODINGS)
def test_content_codings(coding):
    script = response(CODINGS[coding], content_encoding=coding)
    with SocketServer(script) as server, rest_client() as client:
        received = client.request("GET", server.url + "/")
        assert received.data == b"x" * 5000
        assert received.response.data == b"x" * 5000


def test_bare_deflate():
    raw = zlib.compress(b"x" * 5000)[2:-4]
    with SocketServer(response(raw, content_encoding="deflate")) as server, rest_client() as client:
        assert client.request("GET", server.url + "/").data == b"x" * 5000


def test_coded_content_comes_when_it_is_flushed():
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"one") + packer.flush(zlib.Z_SYNC_FLUSH)
    second = packer.compress(b"two") + packer.flush()
    gate = Gate()
    script = [
        head(transfer_encoding="chunked", content_encoding="gzip"),
        chunk(first),
        gate,
        chunk(second),
        chunk(b""),
    ]
    with SocketServer(script) as server, rest_client() as client:
        received = client.request("GET", server.url + "/", stream=True)
        assert received.read_available() == b"one"
        gate.open()
        assert received.read() == b"two"


STREAMED = {
    **CODINGS,
    "GZIP": CODINGS["gzip"],
    "gzip, identity": CODINGS["gzip"],
}


@pytest.mark.parametrize("coding", STREAMED)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_coded_body_in_pieces(coding, size):
    body = STREAMED[coding]
    if len(body) > 4_000 and size < 1_000:
        size = 500
    chunks = [chunk(body[begin : begin + size]) for begin in range(0, len(body), size)]
    script = [head(transfer_encoding="chunked", content_encoding=coding), *chunks, chunk(b"")]
    with SocketServer(script) as server, rest_client() as client:
        for _ in range(2):
            received = client.request("GET", server.url + "/", stream=True)
            assert b"".join(iter(received.read_available, b"")) == b"x" * 5000
        begun = client.request("GET", server.url + "/", stream=True)
        first = begun.read_available()
        assert first + begun.read() == b"x" * 5000
        assert server.connections == 1


UNUSUAL = {
    "bare deflate": ("deflate", zlib.compress(b"x" * 5000)[2:-4]),
    "padding behind gzip": ("gzip", gzip.compress(b"x" * 5000) + b"\0" * 512),
    "gzip behind stray bytes": ("gzip", gzip.compress(b"x" * 5000) + b"?" + gzip.compress(b"y")),
    "more behind deflate": ("deflate", zlib.compress(b"x" * 5000) + b"more"),
    "an empty gzip between": (
        "gzip",
        gzip.compress(b"x" * 2500) + gzip.compress(b"") * 3 + gzip.compress(b"x" * 2500),
    ),
}


@pytest.mark.parametrize(("coding", "body"), UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("size", [1, 100_000])
def test_unusual_codings_in_pieces_as_in_whole(coding, body, size):
    chunks = [chunk(body[begin : begin + size]) for begin in range(0, len(body), size)]
    script = [head(transfer_encoding="chunked", content_encoding=coding), *chunks, chunk(b"")]
    with SocketServer(script) as server, rest_client() as client:
        assert client.request("GET", server.url + "/").data == b"x" * 5000
        received = client.request("GET", server.url + "/", stream=True)
        assert b"".join(iter(received.read_available, b"")) == b"x" * 5000


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_little_that_decodes_to_much_is_given_in_pieces(coding):
    comments = b":\n" * 16_000_000
    body = gzip.compress(comments, 6) if "gzip" in coding else zlib.compress(comments, 6)
    script = response(body, content_encoding=coding)
    with SocketServer(script) as server, rest_client() as client:
        received = client.request("GET", server.url + "/", stream=True)
        tracemalloc.start()
        pieces = [len(piece) for piece in iter(received.read_available, b"")]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert sum(pieces) == len(comments)
    assert max(pieces) <= 65_536
    assert most < 2_000_000


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
        chunk(packer.flush()) + chunk(b""),
    ]
    with SocketServer(script) as server, rest_client() as client:
        received = client.request("GET", server.url + "/", stream=True)
        came = b""
        while len(came) < len(body):
            came += received.read_available()
        gate.open()
        assert came == body
        assert received.read_available() == b""


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # so that the tests have the same names in each process


def compressed(coding: str, content: bytes) -> bytes:
    if coding == "gzip":
        return zipped(content)
    if coding == "deflate":
        return zlib.compress(content)
    names = {"br": ["brotli"], "zstd": ["compression.zstd", "backports.zstd"]}[coding]
    name = next(name for name in names if importlib.util.find_spec(name.partition(".")[0]))
    packed: bytes = importlib.import_module(name).compress(content)
    return packed


MEMBERS = {"gzip": 3, "deflate": 1, "br": 1, "zstd": 3}  # as many as a body of the coding may have
PIECE = 65_536  # bytes that are decoded at once


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
@pytest.mark.parametrize(
    ("coding", "stray"), [*((coding, b"") for coding in MEMBERS), ("gzip", b"stray")]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_member_that_ends_where_a_piece_does_is_decoded_once(coding, stray, size, stream):
    members = [bytes([65 + number]) * size for number in range(MEMBERS[coding])]
    body = b"".join(compressed(coding, member) for member in members) + stray
    with SocketServer(response(body, content_encoding=coding)) as server, rest_client() as client:
        received = client.request("GET", server.url, stream=stream, _request_timeout=5)
        pieces = list(iter(received.read_available, b"")) if stream else [received.data]
    assert b"".join(pieces) == b"".join(members)
    assert not stream or max(map(len, pieces)) <= PIECE


def test_no_member_of_gzip_is_read_after_stray_bytes():
    script = [
        head(transfer_encoding="chunked", content_encoding="gzip"),
        chunk(zipped(b"first") + b"stray"),
        chunk(zipped(b"second")) + chunk(b""),
    ]
    with SocketServer(script) as server, rest_client() as client:
        received = client.request("GET", server.url, stream=True, _request_timeout=5)
        assert list(iter(received.read_available, b"")) == [b"first"]


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
    with SocketServer(*scripts) as server, rest_client() as client:
        for _ in cut:
            with pytest.raises(ResponseDecodeError, match="cannot be decoded"):
                client.request("GET", server.url, _request_timeout=5)
        for _ in changed:
            with contextlib.suppress(ResponseDecodeError):  # some bits say nothing of the content
                client.request("GET", server.url, _request_timeout=5)


@pytest.mark.parametrize(
    "coding, body",
    [
        ("gzip", b"this is no gzip"),
        ("gzip", zipped(b"x" * 5000)[:-12]),
        ("deflate", b"this is no deflate"),
        ("deflate", zlib.compress(b"x" * 5000)[:-5]),
        ("deflate", b"x"),
        ("gzip", zipped(b"x") + zipped(b"y" * 5000)[:-12]),
        ("gzip, gzip", zipped(zipped(b"x" * 5000)[:-12])),
        ("gzip, gzip", zipped(zipped(b"x" * 5000))[:-12]),
        ("magic", b"x"),
    ],
)
def test_broken_coding_is_a_decode_error(coding, body):
    script = response(body, content_encoding=coding)
    with SocketServer(script) as server, rest_client(retries=2) as client:
        with pytest.raises(ResponseDecodeError):
            client.request("GET", server.url + "/", safe=True)
        assert len(server.requests) == 1
        streamed = client.request("GET", server.url + "/", stream=True)
        with pytest.raises(ResponseDecodeError):
            list(iter(streamed.read_available, b""))


def test_bytes_beyond_the_body_never_reach_the_next_response():
    surplus = response(b'"surplus"')
    responses = [
        response(b'"a"') + surplus,
        [CHUNKED, chunk(b'"b"') + chunk(b"") + surplus],
        response(b'"c"'),
    ]
    with SocketServer(*responses) as server, rest_client() as client:
        got = [client.request("GET", server.url + "/").data for _ in range(3)]
    assert got == [b'"a"', b'"b"', b'"c"']
    assert server.connections == 3  # more of it may follow


@pytest.mark.parametrize("begin", [head(204), head(304), head(content_length="0")])
def test_bytes_beyond_an_empty_body_end_the_connection(begin):
    with (
        SocketServer(begin + b"HTTP/1.1 200 O", response(b'"b"')) as server,
        rest_client() as client,
    ):
        assert client.request("GET", server.url).data == b""
        assert client.request("GET", server.url).data == b'"b"'
    assert server.connections == 2


@pytest.mark.parametrize("way", ["abort", "close"])
def test_abort_and_close_from_another_thread_wake_a_blocked_read(way):
    with SocketServer([CHUNKED, chunk(b"one"), STALL]) as server, rest_client() as client:
        received = client.request("GET", server.url + "/", stream=True)
        assert received.read_available() == b"one"
        threading.Timer(0.2, getattr(received, way)).start()
        with Stopwatch() as blocked, pytest.raises(ConnectionException, match="aborted"):
            received.read_available()
    assert blocked.seconds < 5
    getattr(received, way)()


def test_abort_after_the_end_does_not_touch_the_next_call():
    with SocketServer(response(b'"a"')) as server, rest_client() as client:
        done = client.request("GET", server.url + "/", stream=True)
        assert done.read() == b'"a"'
        going_on = client.request("GET", server.url + "/", stream=True)
        done.abort()
        done.close()
        assert going_on.read() == b'"a"'
    assert server.connections == 1


@pytest.mark.parametrize("way_out", ["close", "drop"])
def test_an_unread_response_closes_its_connection(way_out):
    with SocketServer([CHUNKED, chunk(b"one"), STALL]) as server, rest_client() as client:
        received = client.request("GET", server.url + "/", stream=True)
        if way_out == "close":
            received.close()
            received.close()
        del received
        gc.collect()
        assert eventually(lambda: not server.still_open)


@pytest.mark.parametrize("seconds", [1.0, (5, 0.5)])
def test_reading_ends_in_time(seconds):
    script = [CHUNKED, *([chunk(b"one"), 0.3] * 3), STALL]
    with SocketServer(script) as server, rest_client() as client, Stopwatch() as all_of_it:
        received = client.request("GET", server.url + "/", stream=True, _request_timeout=seconds)
        with pytest.raises(ApiTimeoutError):
            while received.read_available():
                pass
    assert all_of_it.seconds < 5


def test_urllib3s_response_reads_the_body_and_returns_the_connection():
    script = [CHUNKED, chunk(b"one"), chunk(b"two"), chunk(b"")]
    with SocketServer(script) as server, rest_client() as client:
        for _ in range(2):
            raw = client.request("GET", server.url + "/", stream=True).response
            gc.collect()
            assert (raw.status, raw.headers["Transfer-Encoding"]) == (200, "chunked")
            assert b"".join(raw.stream()) == b"onetwo"
        assert client.request("GET", server.url + "/", stream=True).response.data == b"onetwo"
    assert server.connections == 1


def test_urllib3s_response_that_is_dropped_closes_its_connection():
    with SocketServer([CHUNKED, chunk(b"one"), STALL]) as server, rest_client() as client:
        raw = client.request("GET", server.url + "/", stream=True).response
        assert raw.read(3) == b"one"
        del raw
        gc.collect()
        assert eventually(lambda: not server.still_open)


def test_the_stock_surface():
    with SocketServer(response(b'"a"', x_thing="1")) as server, rest_client() as client:
        received = client.request("get", server.url + "/p?q=1")
    assert (received.status, received.reason, received.method) == (200, "Scripted", "GET")
    assert received.url == server.url + "/p?q=1"
    assert received.getheader("X-Thing") == "1"
    assert received.getheader("x-none", "default") == "default"
    assert received.getheaders()["x-thing"] == "1"
    assert received.read() == received.data == received.response.data == b'"a"'
    assert repr(received) == "<RESTResponse GET 200 Scripted>"


@pytest.mark.parametrize("amount", [1, 2, 7, None])
@pytest.mark.parametrize("framing", ["sized", "chunked", "close"])
def test_urllib3s_response_reads_amounts(framing, amount):
    """A read takes what it asked for, and leaves the rest of the piece to the next."""
    body = bytes(range(256)) * 100
    script = {
        "sized": response(body),
        "chunked": [CHUNKED + chunk(body[:999]) + chunk(body[999:]) + chunk(b"")],
        "close": [head(connection="close") + body, "close"],
    }[framing]
    with SocketServer(script) as server, rest_client() as client:
        raw = client.request("GET", server.url + "/", stream=True).response
        pieces = list(iter(lambda: raw.read(amount), b""))
        assert b"".join(pieces) == body
        assert {len(piece) for piece in pieces[:-1]} <= {amount}
        assert raw.closed


def test_urllib3s_response_waits_after_a_read_that_did_not():
    with (
        SocketServer([CHUNKED, 0.3, chunk(b"one") + chunk(b"")]) as server,
        rest_client() as client,
    ):
        streamed = client.request("GET", server.url + "/", stream=True)
        with pytest.raises(NothingYet):
            streamed.read_available(wait=0.01)
        assert streamed.response.read() == b"one"


def test_urllib3s_response_of_a_body_that_was_read():
    script = [CHUNKED, chunk(b"one") + chunk(b"two") + chunk(b"")]
    with SocketServer(script) as server, rest_client() as client:
        for read in (
            lambda raw: b"".join(raw.stream(2)),
            lambda raw: b"".join(raw.read_chunked()),
            lambda raw: raw.release_conn() or raw.read(),
        ):
            received = client.request("GET", server.url + "/")
            assert read(received.response) == received.data == b"onetwo"
        assert server.connections == 1


def test_a_dripping_head_is_still_read():
    with SocketServer([*drip(response(b'"slow"'), 0.003)]) as server, rest_client() as client:
        assert client.request("GET", server.url + "/").data == b'"slow"'


@pytest.mark.parametrize("status", [200, 204])
def test_no_bytes_need_no_decoding(status):
    script = head(status, content_encoding="gzip", content_length="0")
    with SocketServer(script) as server, rest_client() as client:
        assert client.request("GET", server.url + "/").data == b""
        assert client.request("GET", server.url + "/", stream=True).read_available() == b""
