"""What the tests of the transport share: a client that does not wait long, and the clock."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from acp_client_v0_1 import ApiClient
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.rest import RESTClientObject
from support.parts import Call, Deadline, Pool, Slots, Timeout, parse_target
from support.socket_server import SocketServer


@contextlib.contextmanager
def rest_client(
    retries: Any = False, transport: Any = None, **settings: Any
) -> Iterator[RESTClientObject]:
    client = RESTClientObject(Configuration(retries=retries, **settings), transport)
    try:
        yield client
    finally:
        client.close()


def refused(
    kind: Any,
    url: str,
    words: Any = None,
    method: str = "GET",
    headers: Any = None,
    **settings: Any,
) -> Any:
    """Make a call that fails, by a client with these settings; give its error."""
    with rest_client(**settings) as client, pytest.raises(kind, match=words) as failure:
        client.request(method, url, headers, safe=method == "GET")
    return failure.value


def fetch(*responses: Any, method: str = "GET", path: str = "", **options: Any) -> Any:
    """Give what a call with these options gets from a server of these responses."""
    with talking(*responses) as (client, server):
        return client.request(method, server.url + path, **options)


@contextlib.contextmanager
def talking(
    *responses: Any, retries: Any = False, **settings: Any
) -> Iterator[tuple[RESTClientObject, SocketServer]]:
    """Make a transport with these settings, and a server of these responses for it."""
    with SocketServer(*responses) as server, rest_client(retries, **settings) as client:
        yield client, server


@contextlib.contextmanager
def serving(
    *responses: Any, handler: Any = None, transport: Any = None, **settings: Any
) -> Iterator[tuple[SocketServer, ApiClient]]:
    """Make a server of these responses, and a client of it with these settings."""
    with (
        SocketServer(*responses, handler=handler) as server,
        ApiClient(Configuration(host=server.url, **settings), transport=transport) as client,
    ):
        yield server, client


def pool_of(client: RESTClientObject) -> Pool:
    """Give the pool of a client that has only talked to one origin."""
    (only,) = client._pools._own().values()
    return only


def in_use(slots: Slots) -> int:
    """Count the slots that are held or waited for."""
    return sum(ref() is not None for ref in list(slots._line))


def causes(error: BaseException | None) -> list[BaseException]:
    """Give what led to an error, from its cause on to the first of all, through every wrapper."""
    found: list[BaseException] = []
    while error is not None and (error := error.__cause__ or error.__context__) is not None:
        found.append(error)
    return found


class Stopwatch:
    """Measures a ``with`` block in seconds."""

    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._started = time.monotonic()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> float:
        self.seconds = time.monotonic() - self._started
        return self.seconds


def eventually(condition: Any, seconds: float = 10.0) -> bool:
    end, pause = time.monotonic() + seconds, 0.0005
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.01)
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """A port whose queue is full: it accepts no connection, so the handshake gets no response."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(address)
        yield address[1]


def in_child(work: Callable[[], object]) -> Callable[[], int]:
    """Do some work in a forked process; give what waits for its exit code, 0 if nothing failed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(15)  # a child that hangs ends here
            work()
            code = 0
        finally:
            os._exit(code)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def a_call(seconds: float | None = None, **changes: Any) -> Call:
    """Make a safe GET call with this much time left, in seconds."""
    arguments: dict[str, Any] = {
        "method": "GET",
        "target": parse_target("http://127.0.0.1/"),
        "headers": {},
        "body": None,
        "safe": True,
        "stream": False,
        "timeout": Timeout(),
        "deadline": Deadline.after(seconds),
    }
    return Call(**{**arguments, **changes})
