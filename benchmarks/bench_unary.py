"""CPU of one ``get_run`` on loopback, beside the same work by hand.

By hand is ``urllib3.PoolManager().request(...)`` and ``TypeAdapter(Run).validate_json(...)`` with
the same headers. The server runs in a process of its own, so that only the client is measured.

Run it with ``python benchmarks/bench_unary.py``; it ends with 1 if a budget is missed.
"""

from __future__ import annotations

import multiprocessing
import socket
import sys
import threading
from multiprocessing.connection import Connection

import urllib3
from _timing import Table, best_cpu_seconds
from pydantic import TypeAdapter

from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1.models.run import Run

CALLS = 200  # short rounds, many of them: the best one is the least disturbed
ROUNDS = 40
RUN = (
    b'{"run_id":"0f5d7d2e-97d4-4f0a-a3b1-8f0f6a6a8f3a","agent_id":"agent-1","thread_id":null,'
    b'"status":"pending","created_at":"2025-01-01T00:00:00Z","updated_at":"2025-01-01T00:00:01Z",'
    b'"creation":{"agent_id":"agent-1","input":{"question":"why?"},"metadata":{"team":"a"}}}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Wed, 01 Jan 2025 00:00:00 GMT\r\nserver: bench\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(RUN)
) + RUN


def serve(report: Connection) -> None:
    """Answer every request with the same run; a request is never longer than one piece."""

    def answer(sock: socket.socket) -> None:
        with sock:
            while sock.recv(65_536):
                sock.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        report.send(listener.getsockname()[1])
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(sock,), daemon=True).start()


def measure(host: str) -> Table:
    """Measure all ways to get a run."""
    url = f"{host}/runs/r1"
    headers = {
        "Accept": "application/json",
        "User-Agent": "acp_client_v0_1/0/python",
        "Authorization": "Bearer token",
    }
    manager = urllib3.PoolManager()
    adapter = TypeAdapter(Run)
    configuration = Configuration(host=host, access_token="token")
    with ApiClient(configuration) as client:
        runs, rest = RunsApi(client), client.rest_client

        def by_hand() -> None:
            for _ in range(CALLS):
                adapter.validate_json(manager.request("GET", url, headers=headers).data)

        def transport_by_hand() -> None:
            for _ in range(CALLS):
                manager.request("GET", url, headers=headers)

        def transport() -> None:
            for _ in range(CALLS):
                rest.request("GET", url, headers=headers, safe=True)

        def get_run() -> None:
            for _ in range(CALLS):
                runs.get_run("r1")

        jobs = (by_hand, transport_by_hand, transport, get_run)
        seconds = best_cpu_seconds({job.__name__: job for job in jobs}, ROUNDS)
    manager.clear()
    table = Table(f"get_run on loopback, {CALLS} calls, CPU of the client")
    for name, used in seconds.items():
        table.figure(f"{name}: microseconds per call", f"{used / CALLS * 1e6:.0f}")
    table.at_most("get_run / by hand", seconds["get_run"] / seconds["by_hand"], 1.0)
    by_itself = seconds["transport"] / seconds["transport_by_hand"]
    table.figure("transport / PoolManager.request", f"{by_itself:.2f}")
    return table


def main() -> int:
    """Start the server, measure, and stop it."""
    receive, send = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(send,), daemon=True)
    server.start()
    try:
        table = measure(f"http://127.0.0.1:{receive.recv()}")
    finally:
        server.terminate()
        server.join()
    table.show()
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
