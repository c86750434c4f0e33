"""A minimal server on raw sockets, in a process of its own: it sends prepared bytes.

So the CPU time that is counted is the client's alone.
"""

from __future__ import annotations

import multiprocessing
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection

__all__ = ["MARK", "json_response", "serving", "stream_response"]

MARK = "0" * 32
"""In a response, this stands for the client token of the request."""

_BEFORE_MARK = b'"acp-client-token":"'


def json_response(content: bytes) -> bytes:
    """A response with a JSON body."""
    head = "HTTP/1.1 200 OK\r\ndate: Wed, 01 Jan 2025 00:00:00 GMT\r\nserver: bench\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def stream_response(events: Iterator[bytes]) -> bytes:
    """A response that is an event stream, one event per chunk (RFC 9112, section 7.1)."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@contextmanager
def serving(responses: Mapping[str, bytes]) -> Iterator[str]:
    """Serve a response for each path, whatever the method; gives the host's URL."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(dict(responses), there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(responses: dict[str, bytes], port: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        port.send(listener.getsockname()[1])
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_converse, args=(sock, responses), daemon=True).start()


def _converse(sock: socket.socket, responses: dict[str, bytes]) -> None:
    received = b""
    with sock:
        while True:
            while (end := received.find(b"\r\n\r\n")) < 0:
                if not (piece := sock.recv(65_536)):
                    return
                received += piece
            head, received = received[:end].decode().split("\r\n"), received[end + 4 :]
            lengths = [line[15:] for line in head if line.lower().startswith("content-length:")]
            missing = int(lengths[0]) - len(received) if lengths else 0
            while missing > 0:
                received += (piece := sock.recv(min(missing, 65_536)))
                missing -= len(piece)
            response = responses[head[0].split(" ")[1]]
            _, found, rest = received.partition(_BEFORE_MARK)
            received = b""
            sock.sendall(response.replace(MARK.encode(), rest[:32]) if found else response)
