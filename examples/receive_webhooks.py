"""Run an agent and hear of each change of the run's status by webhook, without asking.

The receiver is the standard library's HTTP server, on a path that nobody can guess; a body is read
with `Run.from_json`. It ends when the run has. A server on another machine needs `--listen` with an
address it can reach, or `--url` if a proxy stands between.

    python examples/receive_webhooks.py
    ACP_HOST=http://acp.example python examples/receive_webhooks.py --listen 192.0.2.7 --port 8080
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import secrets
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from _server import UNFINISHED, command_line, configured, exit_code, find_agent, json_object, show

from acp_client_v0_1 import (
    AgentsApi,
    ApiClient,
    Run,
    RunCreate,
    RunsApi,
    RunStatus,
    wait_for_run_output,
)

LARGEST_BODY = 1024 * 1024  # bytes
ENDED = {RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.TIMEOUT}


class Receiver(ThreadingHTTPServer):
    """Takes POSTs to one path and queues the runs that they tell of.

    Args:
        host: Address to listen at.
        port: Port, 0 for a free one.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), Handler)
        # A webhook carries no proof of who sent it. Only the ACP server is told this path.
        self.path = f"/{secrets.token_urlsafe(16)}"
        self.url = f"http://{host}:{self.server_port}"
        self.runs: queue.SimpleQueue[Run] = queue.SimpleQueue()

    @contextlib.contextmanager
    def serving(self) -> Generator[None, None, None]:
        """Serve from a thread of its own."""
        thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers one request: 200 if it was a run."""

    timeout = 10  # seconds of silence that a sender may keep

    def do_POST(self) -> None:
        """Take a run."""
        status, reason = self.take()
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if status != 200:
            print(f"refused a request with {status}: {reason}", file=sys.stderr, flush=True)

    def take(self) -> tuple[int, str]:
        """Queue the run of this request, and give the status to answer with and why."""
        receiver = cast("Receiver", self.server)  # no other server has this handler
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return 411, "no Content-Length"
        # Its digits first: int() refuses thousands of them.
        if len(length) > 10 or int(length) > LARGEST_BODY:
            return 413, f"more than {LARGEST_BODY} bytes"
        # Read in any case: closing a connection with bytes unread could cost the sender the answer.
        body = self.rfile.read(int(length))
        if self.path != receiver.path:
            return 404, "not the path of this receiver"
        try:
            # pydantic's ValidationError is a ValueError.
            run = Run.from_json(body)
        except ValueError as error:
            return 400, str(error).splitlines()[0]
        receiver.runs.put(run)
        return 200, ""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of what went well: the main thread tells of it."""


def main() -> int:
    """Listen, create a run that tells of itself, and print what it tells."""
    options = parse_arguments()
    with Receiver(options.listen, options.port) as receiver, receiver.serving():
        webhook = (options.url or receiver.url).rstrip("/") + receiver.path
        print(f"listening at {webhook}", flush=True)
        with configured() as configuration, ApiClient(configuration) as client:
            runs = RunsApi(client)
            agent = find_agent(AgentsApi(client), options.agent)
            run = runs.create_run(
                RunCreate(agent_id=agent.agent_id, input=options.input, webhook=webhook)
            )
            print(f"run {run.run_id} is {run.status}", flush=True)
            if not print_changes(receiver, run.run_id, options.timeout):
                print(f"run {run.run_id} has not ended", file=sys.stderr)
                return UNFINISHED
            # A webhook tells that something happened; what, the server itself says.
            return show(wait_for_run_output(runs, run.run_id, timeout=10))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("Run an agent and hear of each change of its status by webhook.")
    parser.add_argument("--agent", default="slow", help="agent to run (%(default)s)")
    parser.add_argument(
        "--input", type=json_object, default='{"seconds": 1}', help="its input, JSON (%(default)s)"
    )
    parser.add_argument("--listen", default="127.0.0.1", help="address (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port (a free one)")
    parser.add_argument("--url", help="how the ACP server reaches it, without path (the address)")
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds to listen at most (%(default)s)"
    )
    return parser.parse_args()


def print_changes(receiver: Receiver, run_id: str, timeout: float) -> bool:
    """Print each change of a run as it is told; True once the run has ended."""
    deadline = time.monotonic() + timeout
    while (remaining := deadline - time.monotonic()) > 0:
        try:
            told = receiver.runs.get(timeout=remaining)
        except queue.Empty:
            break
        if told.run_id == run_id:
            print(f"run {run_id} is {told.status}, by webhook", flush=True)
            if told.status in ENDED:
                return True
    return False


if __name__ == "__main__":
    sys.exit(exit_code(main))
