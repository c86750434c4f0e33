"""This client on urllib3's pools and http.client's parser, beside its own transport.

`Pooled` is a small transport that somebody would write for this client with urllib3 alone. All
above it (operations, models, errors, streams) is this client's own, so the CPU time compares the
transports. It bounds each wait and not the whole call, and no other thread can end a call: what it
lacks would cost time, so its figure is the least that such a transport takes.

The faults come from scripts on loopback sockets. Each job counts how often one reaches the caller:

truncated streams   a stream of events is cut after each of its bytes; some end without an error
another call's run  the server sends 103 first, and the next call gets the late response
credentials         log records show a credential of the query
calls that hang     calls are ended by Ctrl-C at random moments; some hang, or the next one does
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import urllib3

from acp_client_v0_1 import ApiClient, ApiException, Configuration, RunsApi
from acp_client_v0_1.exceptions import ConnectionException

from ..measure import BY_HAND, OURS, Budget, Contestants, Samples, Work, over, returned
from ..samples import RUN, RUN_ID, RUN_JSON, event, small_update
from ..server import json_response, serving, stream_response
from .calls import clients, get_run_jobs, times

POOLED = "on urllib3's pools"
OWN = "its own transport"  # in place of OURS, as nothing can be told as a multiple of 0
EVENTS = 3
STREAM = stream_response(event(number, small_update(number)) for number in range(EVENTS))
INTERRUPTS = 1_000
HANGS = 2.0  # seconds after which a call counts as hanging
SECRET = "not-for-the-log"
HEAD_END = b"\r\n\r\n"

# Kept, as the finalizer of a pool waits for the same lock as its calls.
_hanging: list[RunsApi] = []


class Server:
    """What the client notes about its server."""

    answered = False


class Response:
    """A response of urllib3, with the attributes and methods that this client reads."""

    fault = None
    redirected_to = proxy = credentials = ""
    ambiguous = False
    attempts = 1
    elapsed = 0.0

    def __init__(self, method: str, url: str, response: urllib3.BaseHTTPResponse, read: bool):
        self.method, self.url, self.response = method, url, response
        self.status, self.reason, self.headers = response.status, response.reason, response.headers
        self.data = response.data if read else None

    def read_available(self, *, wait: float | None = None) -> bytes:
        """Return what has arrived. The read timeout bounds it, not ``wait``."""
        try:
            return self.response.read1(65_536) or b""
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionException(
                reason=str(error), method=self.method, url=self.url
            ) from error

    def hidden(self, text: str) -> str:
        """Return the text as it is: what hides credentials is not compared here."""
        return text

    def read_beginning(self) -> bytes:
        """Return the body of an error."""
        if self.data is None:
            self.data = self.response.read(65_536)
        return self.data

    def check_coding(self) -> None:
        """Accept all codings, as urllib3 decodes them."""

    def abort(self) -> None:
        """Wake a blocked read."""
        self.response.shutdown()

    def close(self) -> None:
        """Release the connection."""
        self.response.close()


class Pooled:
    """A transport on urllib3's `PoolManager`, in place of `RESTClientObject`."""

    observer = None

    def __init__(self, configuration: Configuration) -> None:
        self.server = Server()
        self.retries = 0 if configuration.retries == 0 else 3
        size = configuration.connection_pool_maxsize
        self.manager = urllib3.PoolManager(maxsize=size, block=True)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any,
        _request_timeout: Any,
        *,
        safe: bool,
        stream: bool,
        credential: str,
        **unused: object,
    ) -> Response:
        """Send a request; urllib3 retries it if it is safe, follows redirects, and logs."""
        timeout = _request_timeout
        if credential:
            url = f"{url}{'&' if '?' in url else '?'}{credential}"
        try:
            response = self.manager.request(
                method,
                url,
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                timeout=urllib3.Timeout(timeout.total, timeout.connect, timeout.read),
                retries=urllib3.Retry(self.retries if safe else 0, redirect=10),
                preload_content=not stream,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionException(reason=str(error), method=method, url=url) from error
        return Response(method, url, response, read=not stream)

    def close(self) -> None:
        """Close the connections."""
        self.manager.clear()


def client_of(name: str, host: str) -> ApiClient:
    """Make a client without retries, whose faults would show later, and with one connection."""
    configuration = Configuration(host=host, retries=0)
    configuration.connection_pool_maxsize = 1
    client = ApiClient(configuration)
    if name == POOLED:
        client.rest_client = Pooled(configuration)  # type: ignore[assignment]
    return client


@contextmanager
def get_run(count: int) -> Iterator[Contestants]:
    """One run, by its id, by both transports and by hand."""
    with serving({f"/runs/{RUN_ID}": json_response(RUN_JSON)}) as host, clients(host) as each:
        jobs = get_run_jobs(each)
        with ApiClient(each.ours.api_client.configuration) as client:
            client.rest_client = Pooled(client.configuration)  # type: ignore[assignment]
            pooled = RunsApi(client)
            mine: Contestants = {OURS: jobs[OURS], POOLED: lambda: pooled.get_run(RUN_ID)}
            yield times(count, {**mine, BY_HAND: jobs[BY_HAND]})


# The faults --------------------------------------------------------------------------------------


@contextmanager
def scripted(converse: Callable[[socket.socket], object]) -> Iterator[str]:
    """Have a function serve each connection, in a thread; gives the host's URL."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()

    def answer(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            converse(sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def request_on(sock: socket.socket) -> str:
    """Receive a request without a body; gives its path."""
    received = b""
    while HEAD_END not in received:
        piece = sock.recv(65_536)
        if not piece:
            raise ConnectionError("the client has closed")
        received += piece
    return received.split(b" ")[1].decode()


def truncated_streams(name: str) -> float:
    """Cut a stream after each of its bytes. Count those that end without an error, but early."""
    lengths = iter(range(1, len(STREAM)))

    def converse(sock: socket.socket) -> None:
        request_on(sock)
        sock.sendall(STREAM[: next(lengths)])

    taken = 0
    with scripted(converse) as host, client_of(name, host) as client:
        for _ in range(1, len(STREAM)):
            with contextlib.suppress(ApiException):
                taken += len(list(RunsApi(client).get_run_stream("r"))) < EVENTS
    return float(taken)


def wrong_runs(name: str) -> float:
    """Get two runs of a server that sends 103 (Early Hints) before each. Count the wrong ones."""

    def run(path: str) -> bytes:
        return json_response(json.dumps({**RUN, "run_id": path.rpartition("/")[2]}).encode())

    def converse(sock: socket.socket) -> None:
        while True:
            path = request_on(sock)
            sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
            select.select([sock], [], [], 0.2)  # a client that waits sends nothing meanwhile
            sock.sendall(run(path))

    wrong = 0
    with scripted(converse) as host, client_of(name, host) as client:
        for run_id in ("first", "second"):
            with contextlib.suppress(ApiException):
                wrong += RunsApi(client).get_run(run_id).run_id != run_id
    return float(wrong)


def logged_credentials(name: str) -> float:
    """Send a credential in the query. Count the log records, of all levels, that show it."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with scripted(fine) as host, client_of(name, host) as client:
            auth = {"in": "query", "key": "token", "value": SECRET}
            RunsApi(client).get_run(RUN_ID, _request_auth=auth)
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    return float(sum(SECRET in record for record in records))


def fine(sock: socket.socket) -> None:
    """Respond to each request with a run."""
    while True:
        request_on(sock)
        sock.sendall(json_response(RUN_JSON))


def hanging_calls(name: str) -> float:
    """Interrupt calls by real signals. Count those that hang, or after which the next one does."""
    moments = random.Random(1)
    hanging, strikes = 0, 0

    def strike(*_: object) -> None:
        nonlocal strikes
        strikes += 1
        raise KeyboardInterrupt  # the second one gets the thread out of a call that hangs

    before = signal.signal(signal.SIGALRM, strike)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None  # an interrupt of a finalizer is printed
    logging.disable()  # an interrupt inside logging leaves a handler's lock held
    try:
        with scripted(fine) as host:
            runs = RunsApi(client_of(name, host))
            for _ in range(INTERRUPTS):
                strikes = 0
                with contextlib.suppress(KeyboardInterrupt, ApiException):
                    signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.00002, 0.0008), HANGS)
                    while not strikes:
                        runs.get_run(RUN_ID)
                signal.setitimer(signal.ITIMER_REAL, 0)
                if strikes > 1 or not returns(runs):
                    hanging += 1
                    _hanging.append(runs)
                    runs = RunsApi(client_of(name, host))
    finally:
        logging.disable(logging.NOTSET)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, before)
    return float(hanging)


def returns(runs: RunsApi) -> bool:
    """Whether a call in another thread returns, or raises, before it counts as hanging."""

    def work() -> None:
        with contextlib.suppress(ApiException):
            runs.get_run(RUN_ID)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(HANGS)
    return not thread.is_alive()


def in_a_fresh_process(name: str) -> float:
    """Count hanging calls in a process that ends in spite of them."""
    command = [sys.executable, "-m", __name__, name]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


FAULTS: dict[str, Callable[[str], float]] = {
    f"truncated streams taken for whole, of {len(STREAM) - 1}": truncated_streams,
    "calls that return another call's run, of 1": wrong_runs,
    "log records with a credential": logged_credentials,
    f"calls that hang after Ctrl-C, of {INTERRUPTS:,}": in_a_fresh_process,
}


def let_through(fault: str, name: str) -> str:
    """Name what one transport lets through."""
    return f"{fault}: {name}"


@contextmanager
def faults() -> Iterator[Contestants]:
    """Count each fault with both transports."""
    yield {
        let_through(fault, name): partial(count, name)
        for fault, count in FAULTS.items()
        for name in (OWN, POOLED)
    }


def of(name: str) -> Callable[[Samples], list[float]]:
    """The samples of one contestant."""
    return lambda samples: list(samples[name])


WORKS = [
    Work(
        name="transport",
        title="get_run by two transports of this client; by hand: PoolManager and TypeAdapter",
        unit="µs per call",
        scale=1e6 / 200,
        rounds=40,
        make=lambda: get_run(200),
        budgets=(
            Budget(
                "get_run on urllib3's pools, over this transport",
                over(POOLED, OURS),
                1.5,
                at_least=True,
            ),
        ),
        has_peak=False,
        charted=False,
    ),
    Work(
        name="transport_faults",
        title="faults of a network that reach the caller, by two transports of this client",
        unit="count",
        scale=1,
        rounds=1,
        make=faults,
        budgets=tuple(Budget(fault, of(let_through(fault, OWN)), 0) for fault in FAULTS),
        sample=returned,
        warm_up=False,
        has_peak=False,
        charted=False,
    ),
]

if __name__ == "__main__":
    print(hanging_calls(sys.argv[1]), flush=True)
    os._exit(0)
