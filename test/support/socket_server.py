"""A server on a loopback socket that sends exactly the bytes a test scripts, and records requests.

Strategy: one thread accepts, one thread per connection plays. The n-th request, counted over all
connections, gets the n-th response; the last response repeats. A response is bytes, or a sequence
of steps played in order:

- ``bytes``: sent as they are;
- ``float`` or ``int``: seconds of silence (cut short when the server stops);
- ``CLOSE``: the connection ends with a FIN; ``RESET``: it ends with a RST;
- ``STALL``: silence until the server stops or the peer goes away;
- ``drip(data, seconds)``: one byte at a time with a pause after each;
- a callable: called with the `Connection`, for everything else.

Invariants: all sockets and threads are gone when the ``with`` ends; a peer that goes away is no
error; any other exception in a connection's thread is raised at the end of the ``with``.

``SocketServer(handler=f)`` calls ``f(connection)`` for each connection instead; ``f`` reads with
`Connection.read_request` and plays with `Connection.play`.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

CLOSE = "close"
RESET = "reset"
STALL = "stall"


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names in lower case, the last of equal names wins."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """The number of the connection, from 0, in order of acceptance."""
    raw_head: bytes = field(repr=False)


def response(
    body: bytes = b"",
    status: int = 200,
    reason: str = "Scripted",
    content_type: str = "application/json",
    **headers: str,
) -> bytes:
    """Write a whole response with its length; ``retry_after="1"`` becomes ``retry-after: 1``."""
    content = {"content_type": content_type} if content_type else {}
    return head(status, reason, content_length=str(len(body)), **content, **headers) + body


def head(status: int = 200, reason: str = "Scripted", **headers: str) -> bytes:
    """Write a status line and headers only, for a body in steps of its own."""
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def redirect(status: int, location: str) -> bytes:
    """Write a response that redirects to another place."""
    return head(status, location=location, content_length="0")


def chunk(data: bytes) -> bytes:
    """Write one chunk of the chunked transfer coding; ``chunk(b"")`` is the last one."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def drip(data: bytes, seconds: float) -> list[bytes | float]:
    """Send a byte, wait, send the next."""
    return [step for value in data for step in (bytes((value,)), seconds)]


class Connection:
    """One accepted connection, in the thread that plays it."""

    def __init__(self, server: SocketServer, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self.open = True
        self.request_number = -1
        """The number of the last request, counted over all connections."""
        self._buffer = b""

    def read_request(self) -> Request | None:
        """Read the next request and record it; None if the peer has closed."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._receive():
                return None
        raw_head, _, rest = self._buffer.partition(b"\r\n\r\n")
        request_line, *lines = raw_head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        self._buffer = rest
        while len(self._buffer) < length:
            if not self._receive():
                return None
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        method, path, _ = request_line.split(" ")
        request = Request(method, path, headers, body, self.number, raw_head)
        self.request_number = self.server.record(request)
        return request

    def play(self, steps: Any) -> None:
        """Play bytes or a sequence of steps; stops early when the connection ends."""
        for step in (steps,) if isinstance(steps, (bytes, str)) or callable(steps) else steps:
            if not self.open:
                return
            if isinstance(step, bytes):
                self.sock.sendall(step)
            elif isinstance(step, (int, float)):
                self.pause(step)
            elif callable(step):
                step(self)
            elif step:
                {CLOSE: self.close, RESET: self.reset, STALL: self.stall}[step]()

    def pause(self, seconds: float) -> None:
        self.server.stopping.wait(seconds)

    def stall(self) -> None:
        with contextlib.suppress(OSError):
            while not self.server.stopping.is_set() and self._receive():
                pass

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.open = False
        self.sock.close()

    def _receive(self) -> bool:
        """Take in some bytes; False at the peer's end or when the server stops."""
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)


class Gate:
    """A step that waits until the test has opened it, which is to be before any time is over."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.waited_in_vain = False

    def __call__(self, connection: Connection) -> None:
        self.waited_in_vain = not self._opened.wait(15)

    def open(self) -> None:
        assert not self.waited_in_vain
        self._opened.set()


class SocketServer:
    """Serve scripted responses, over TLS with an ``ssl_context``; see the module's text."""

    def __init__(
        self,
        *responses: bytes | Sequence[Any],
        handler: Callable[[Connection], object] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.responses = responses
        self.handler = handler or self._respond_to_requests
        self.ssl_context = ssl_context
        self.requests: list[Request] = []
        self.connections = 0
        """Connections accepted so far."""
        self.most_open = 0
        """The largest number of connections that were open at once."""
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self.ssl_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def still_open(self) -> int:
        """Connections that the peer has not closed yet."""
        return len(self._open)

    def record(self, request: Request) -> int:
        """Keep the request; gives its number, from 0."""
        with self._lock:
            self.requests.append(request)
            return len(self.requests) - 1

    def __enter__(self) -> SocketServer:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        if self._errors:
            raise self._errors[0]

    def stop(self) -> None:
        """Close everything at once; callable before the ``with`` ends."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                # TLS's own would take the connection away from under its thread.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, target: Callable[..., object], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self.stopping.is_set():
                if not selector.select(0.5):
                    continue
                with contextlib.suppress(OSError):  # the listener was just shut down
                    sock, _ = self._listener.accept()
                    self.connections += 1
                    self._start(self._serve, sock, self.connections - 1)

    def _serve(self, sock: socket.socket, number: int) -> None:
        connection = Connection(self, sock, number)
        with self._lock:
            self._open.add(connection)
            self.most_open = max(self.most_open, len(self._open))
        try:
            if self.ssl_context is not None:
                connection.sock = self.ssl_context.wrap_socket(sock, server_side=True)
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.handler(connection)
        except OSError:
            pass  # the peer went away, which is for the test to judge
        except BaseException as error:  # noqa: BLE001 - raised again at the end of the `with`
            self._errors.append(error)
        finally:
            connection.sock.close()
            sock.close()
            with self._lock:
                self._open.discard(connection)

    def _respond_to_requests(self, connection: Connection) -> None:
        for _ in _requests(connection):
            number = min(connection.request_number, len(self.responses) - 1)
            connection.play(self.responses[number])


def _requests(connection: Connection) -> Iterator[Request]:
    while connection.open and (request := connection.read_request()) is not None:
        yield request


def serve_each(respond: Callable[[Request], Iterable[Any] | bytes]) -> Callable[[Connection], None]:
    """Make a handler that computes the response (bytes or steps) of each request."""

    def handle(connection: Connection) -> None:
        for request in _requests(connection):
            connection.play(respond(request))

    return handle
