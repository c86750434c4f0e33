"""Run an agent and hear of each change of the run's status by webhook, without waiting for it.

The receiver is the standard library's HTTP server, on a path that nobody can guess. A server on
another machine needs `--listen` with an address that it can reach.

    python examples/receive_webhooks.py
    ACP_HOST=http://acp.example python examples/receive_webhooks.py --listen 192.0.2.7 --port 8080

Without --host and ACP_HOST it starts a local server of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, OpenApiException, Run

SECRET = f"/{secrets.token_urlsafe(16)}"  # a webhook carries no proof of who sent it
LARGEST_BODY = 1024 * 1024  # bytes

changes: queue.Queue[Run] = queue.Queue()


class Receiver(BaseHTTPRequestHandler):
    """Takes POSTs to the secret path, and queues the runs that they tell of."""

    timeout = 10  # seconds of silence that a sender may keep

    def do_POST(self) -> None:
        """Take a run: 200 if it was one."""
        length = self.headers.get("Content-Length", "")
        # Its digits first: int() refuses thousands of them.
        if not length.isdecimal() or len(length) > 10 or int(length) > LARGEST_BODY:
            return self.respond(413)
        body = self.rfile.read(int(length))
        if self.path != SECRET:
            return self.respond(404)
        try:
            changes.put(Run.from_json(body))
        except ValueError:  # pydantic's ValidationError is one
            return self.respond(400)
        return self.respond(200)

    def respond(self, status: int) -> None:
        """Send a response without a body."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    """Listen, start a run that tells of itself, and print what it tells."""
    parser = argparse.ArgumentParser(description="Hear of a run's changes by webhook.")
    parser.add_argument("--host", default=os.environ.get("ACP_HOST"), help="server (ACP_HOST)")
    parser.add_argument("--agent", default="slow", help="its name or id (%(default)s)")
    parser.add_argument(
        "--input", type=json.loads, default='{"seconds": 1}', help="JSON (%(default)s)"
    )
    parser.add_argument("--listen", default="127.0.0.1", help="address (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port (a free one)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds (%(default)s)")
    options = parser.parse_args()

    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(
            ThreadingHTTPServer((options.listen, options.port), Receiver)
        )
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        stack.callback(receiver.shutdown)
        if not options.host:
            from acp_client_v0_1.testing import LocalServer

            options.host = stack.enter_context(LocalServer()).url
        client = stack.enter_context(ApiClient(Configuration.from_env(host=options.host)))
        agent = AgentHandle.get(options.agent, api_client=client)

        webhook = f"http://{options.listen}:{receiver.server_port}{SECRET}"
        run = agent.start(options.input, webhook=webhook)
        print(f"run {run.run_id}, which tells {webhook}", flush=True)
        try:
            change = changes.get(timeout=options.timeout)
        except queue.Empty:
            sys.exit("no webhook came")
        print(f"by webhook: {change.run_id} is {change.status.value}")
        # A webhook tells that something happened; the server itself says what.
        print("result:", json.dumps(run.result(timeout=10)))


if __name__ == "__main__":
    try:
        main()
    except (OpenApiException, OSError) as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
