"""`python -m acp_client_v0_1.testing`: a local ACP 0.1 server for the shell, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from types import FrameType

from acp_client_v0_1.testing.server import LocalServer

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        arguments: Command line without the program's name; by default that of the process.

    Returns:
        The exit status: 0, or 1 if the port is taken.
    """
    options = _parser().parse_args(arguments)
    server = LocalServer(host=options.host, port=options.port)
    try:
        server.start()
    except OSError as error:
        sys.stderr.write(f"cannot listen at {options.host}:{options.port}: {error}\n")
        return 1
    with server:
        sys.stdout.write(_greeting(server))
        sys.stdout.flush()
        _wait_for_signal()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acp_client_v0_1.testing",
        description="A local ACP 0.1 server with an agent for each way a run can go.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port, 0 for a free one (%(default)s)"
    )
    return parser


def _greeting(server: LocalServer) -> str:
    lines = [f"ACP 0.1 at {server.url}", ""]
    for agent in server.agents:
        lines.append(f"  {agent.agent_id}  {agent.name:<10} {agent.description}")
    return "\n".join([*lines, "", "Ctrl-C ends it.", ""])


def _wait_for_signal() -> None:
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    # Windows delivers no signal to a wait without end.
    while not ended.wait(1):
        pass


if __name__ == "__main__":
    sys.exit(main())
