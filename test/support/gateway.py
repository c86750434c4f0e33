"""What stands in front of a local server: a gateway with tokens, a limiter, and a cache."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator

from support.socket_server import Connection, Request, SocketServer, response


class Gateway(SocketServer):
    """Passes on the requests that have its present token. Any other request gets a 401."""

    def __init__(self, port: int, uses: float = float("inf")) -> None:
        super().__init__(handler=self._pass_on)
        self._behind, self._uses = port, uses
        self._numbers, self._turn = itertools.count(1), threading.Lock()
        self.issued: list[str] = []
        self._tried: dict[tuple[str, str, bytes], str] = {}
        self.refused: list[Request] = []
        self.expire()

    def expire(self) -> None:
        """Make the present token useless."""
        self._present, self._left = f"planted-t0ken-{next(self._numbers)}", self._uses

    def issue(self) -> str:
        """Give the present token."""
        self.issued.append(self._present)
        return self._present

    def _accepts(self, request: Request) -> bool:
        with self._turn:
            if self._left < 1:
                self.expire()
            request_key = (request.method, request.path, request.body)
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            tried = self._tried.pop(request_key, None)
            # A thread that is slow to send again must not meet a token that others have used up.
            again = tried not in (None, given) and given in self.issued
            good = given == self._present or again
            if not good:
                self._tried[request_key] = given
            self._left -= good
        return good

    def _pass_on(self, connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            if not self._accepts(request):
                self.refused.append(request)
                connection.play(response(b'{"detail": "the token has expired"}', 401))
                continue
            for data in passed_on(self._behind, request):
                connection.play(data)
            connection.close()
            return


def passed_on(port: int, request: Request) -> Iterator[bytes]:
    """Send a request to a local server, and give the response as it comes."""
    with socket.create_connection(("127.0.0.1", port)) as behind:
        behind.sendall(request.raw_head + b"\r\nconnection: close\r\n\r\n" + request.body)
        while data := behind.recv(65536):
            yield data


class Limiter(SocketServer):
    """Passes on some requests in each second, or some at the same time, and refuses the others."""

    def __init__(self, port: int, refusal: bytes, rate: int = 10_000, at_once: int = 1000) -> None:
        super().__init__(handler=self._pass_on)
        self._behind, self._refusal, self._rate, self._at_once = port, refusal, rate, at_once
        self._lock, self._inside = threading.Lock(), 0
        self._passed: deque[float] = deque(maxlen=rate)
        self.refused = 0

    def _enters(self) -> bool:
        with self._lock:
            now = time.monotonic()
            is_full = len(self._passed) == self._rate and now - self._passed[0] < 1
            if is_full or self._inside >= self._at_once:
                self.refused += 1
                return False
            self._passed.append(now)
            self._inside += 1
            return True

    def _pass_on(self, connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            if not self._enters():
                connection.play(self._refusal)
                continue
            try:
                if self._at_once < 1000:
                    # So that requests that were sent at the same time are there at the same time.
                    time.sleep(0.02)
                for data in passed_on(self._behind, request):
                    connection.play(data)
            finally:
                with self._lock:
                    self._inside -= 1
            return connection.close()


class Cache(SocketServer):
    """Keeps each response to a GET for ever, and marks it by headers when it comes again."""

    def __init__(self, port: int, marks: bytes) -> None:
        super().__init__(handler=self._pass_on)
        self._behind, self._marks = port, marks
        self._kept: dict[str, bytes] = {}

    def _pass_on(self, connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            if request.method == "GET" and (kept := self._kept.get(request.path)):
                connection.play(kept)
                return connection.close()
            got = b""
            for data in passed_on(self._behind, request):
                got += data
                connection.play(data)
            self._kept[request.path] = got.replace(b"\r\n", b"\r\n" + self._marks + b"\r\n", 1)
            return connection.close()
