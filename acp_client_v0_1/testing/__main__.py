"""`python -m acp_client_v0_1.testing`: a local ACP 0.1 server for the shell, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterable
from errno import EACCES, EADDRINUSE
from typing import Any

from acp_client_v0_1.testing.server import LocalServer

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM, and return the exit status (1 if the port is taken)."""
    parser = _parser()
    try:
        return serve(**vars(parser.parse_args(arguments)))
    except ValueError as error:
        parser.error(str(error))


def serve(host: str, port: int, api_key_env: str = "", **others: Any) -> int:
    """Do the same as `main`. Raise a ValueError that names an argument if it cannot be used."""
    keys: dict[str, str] = {}
    if api_key_env:
        keys["x-api-key"] = os.environ.get(api_key_env, "")
        if not keys["x-api-key"]:
            raise ValueError(f"--api-key-env: the variable {api_key_env} is not set")
    try:
        server = LocalServer(host=host, port=port, api_key=keys, **others)
        server.start()
    except OSError as error:
        # Python adds the address, which stands before the reason already.
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        address = f"{host}:{port}"
        hint = "; --port takes another, 0 any" if error.errno in (EACCES, EADDRINUSE) else ""
        sys.stderr.write(f"cannot listen at {address}: {reason}{hint}\n")
        return 1
    with server:
        # The handlers come before the greeting, whose reader may send a signal at once.
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: ended.set())
        sys.stdout.write(_greeting(server, keys))
        sys.stdout.flush()
        # Windows delivers no signal during an endless wait.
        while not ended.wait(1):
            pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acp_client_v0_1.testing",
        description="A local ACP 0.1 server with an agent for each way a run can go.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    add("--port", type=int, default=8000, help="port; 0 takes a free one (%(default)s)")
    add("--base-path", default="", metavar="PATH", help="path of the server, such as /acp/v0")
    help = "environment variable with the key that each request must have in x-api-key"
    add("--api-key-env", default="", metavar="NAME", help=help)
    help = "name of this machine that clients use, beside localhost; may be repeated"
    several: dict[str, Any] = {"action": "append", "default": []}
    add("--allowed-host", dest="allowed_hosts", metavar="NAME", help=help, **several)
    return parser


def _greeting(server: LocalServer, keys: Iterable[str]) -> str:
    agents = [f"  {each.agent_id}  {each.name:<10} {each.description}" for each in server.agents]
    needed = [f"Each request needs the header {name}." for name in keys]
    if any(name.lower() in ("all_proxy", "http_proxy") for name in os.environ):
        needed.append("A proxy is set: clients need no_proxy=127.0.0.1,localhost.")
    return "\n".join([f"ACP 0.1 at {server.url}", "", *agents, "", *needed, "Ctrl-C ends it.", ""])


if __name__ == "__main__":
    sys.exit(main())
