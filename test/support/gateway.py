"""A gateway in front of a local server, whose tokens are good for some requests and no more."""

from __future__ import annotations

import itertools
import socket
import threading

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
            with socket.create_connection(("127.0.0.1", self._behind)) as behind:
                behind.sendall(request.raw_head + b"\r\nconnection: close\r\n\r\n" + request.body)
                while data := behind.recv(65536):
                    connection.play(data)
            connection.close()
            return
