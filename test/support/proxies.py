"""Proxies on loopback sockets, for tests: HTTP (forwarding and CONNECT) and SOCKS5.

Each records what it was asked for. They connect to loopback only, whatever name they are given, so
that tests can use names that nobody else resolves.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable

from support.socket_server import Connection, Request, SocketServer


class HttpProxy(SocketServer):
    """An HTTP proxy; once it is ``dripping``, it passes on bytes from a tunnel one at a time."""

    def __init__(
        self, ssl_context: ssl.SSLContext | None = None, refuse: bytes | None = None
    ) -> None:
        super().__init__(handler=self._proxy, ssl_context=ssl_context)
        self._refuse = refuse
        self.dripping = threading.Event()
        self.pass_on = self._pass_on

    def _proxy(self, connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            if self._refuse is not None:
                connection.play([self._refuse, "close"])
                return
            if request.method == "CONNECT":
                port = int(request.path.rpartition(":")[2])
                with socket.create_connection(("127.0.0.1", port)) as upstream:
                    connection.sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                    relay(connection.sock, upstream, self.pass_on)
                return
            self._forward(connection, request)

    def _pass_on(self, sink: socket.socket, data: bytes) -> None:
        if not self.dripping.is_set():
            sink.sendall(data)
            return
        for value in data:
            if self.stopping.wait(0.02):
                return
            sink.sendall(bytes((value,)))

    def _forward(self, connection: Connection, request: Request) -> None:
        authority, _, path = request.path.removeprefix("http://").partition("/")
        port = int(authority.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            head = request.raw_head.split(b"\r\n", 1)[1]
            line = f"{request.method} /{path} HTTP/1.1\r\nconnection: close\r\n".encode()
            upstream.sendall(line + head + b"\r\n\r\n" + request.body)
            upstream.shutdown(socket.SHUT_WR)
            response = b"".join(iter(lambda: upstream.recv(65536), b""))
        connection.sock.sendall(response)


class SocksProxy(SocketServer):
    """A SOCKS5 proxy (RFC 1928) with optional user name and password (RFC 1929), and SOCKS4(a)."""

    def __init__(self, login: tuple[str, str] | None = None) -> None:
        super().__init__(handler=self._proxy)
        self._login = login
        self.asked: list[tuple[str, int]] = []

    def _proxy(self, connection: Connection) -> None:
        sock = connection.sock
        version, count = _exactly(sock, 2)
        if version == 4:
            self._proxy_4(sock)
            return
        _exactly(sock, count)
        sock.sendall(b"\x05\x02" if self._login else b"\x05\x00")
        if self._login is not None and not self._accept_login(sock):
            return
        _, _, _, kind = _exactly(sock, 4)
        if kind == 3:
            host = _exactly(sock, _exactly(sock, 1)[0]).decode()
        else:
            host = socket.inet_ntoa(_exactly(sock, 4))
        (port,) = struct.unpack("!H", _exactly(sock, 2))
        self.asked.append((host, port))
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            sock.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            relay(sock, upstream)

    def _proxy_4(self, sock: socket.socket) -> None:
        port, address = struct.unpack("!H4s", _exactly(sock, 6))
        _up_to_null(sock)  # the user
        host = socket.inet_ntoa(address)
        if host.startswith("0.0.0."):  # SOCKS4a: the name follows
            host = _up_to_null(sock)
        self.asked.append((host, port))
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            sock.sendall(b"\0\x5a" + bytes(6))
            relay(sock, upstream)

    def _accept_login(self, sock: socket.socket) -> bool:
        _exactly(sock, 1)
        given = tuple(_exactly(sock, _exactly(sock, 1)[0]).decode() for _ in range(2))
        sock.sendall(b"\x01\x00" if given == self._login else b"\x01\x01")
        return given == self._login


def relay(
    one: socket.socket,
    other: socket.socket,
    pass_on: Callable[[socket.socket, bytes], None] = lambda sink, data: sink.sendall(data),
) -> None:
    """Pass bytes in both directions until either side ends; ``pass_on`` does it towards ``one``."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if sink is one:
                    pass_on(sink, data)
                else:
                    sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join(5)


def _up_to_null(sock: socket.socket) -> str:
    return b"".join(iter(lambda: _exactly(sock, 1), b"\0")).decode()


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = sock.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise ConnectionError("the client went away")
    return data
