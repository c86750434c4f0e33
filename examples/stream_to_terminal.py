"""Run an agent and print what it streams, as it comes, also over connections that break.

In mode `custom` each event is an update and gets a line. In mode `result` each event is the whole
result so far, and on a terminal it takes the place of the one before.

    python examples/stream_to_terminal.py
    ACP_HOST=http://127.0.0.1:8000 python examples/stream_to_terminal.py --mode result

Without --host and ACP_HOST it starts a local server of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, OpenApiException

TO_LINE_START_AND_ERASE = "\r\x1b[2K"


def main() -> None:
    """Start a run, print its events, then its result."""
    parser = argparse.ArgumentParser(description="Run an agent and print what it streams.")
    parser.add_argument("--host", default=os.environ.get("ACP_HOST"), help="server (ACP_HOST)")
    parser.add_argument("--agent", default="counter", help="its name or id (%(default)s)")
    parser.add_argument(
        "--input", type=json.loads, default='{"count": 5}', help="JSON (%(default)s)"
    )
    parser.add_argument("--mode", choices=["custom", "result"], default="custom")
    options = parser.parse_args()

    with contextlib.ExitStack() as stack:
        if not options.host:
            from acp_client_v0_1.testing import LocalServer

            options.host = stack.enter_context(LocalServer()).url
        client = stack.enter_context(ApiClient(Configuration.from_env(host=options.host)))
        agent = AgentHandle.get(options.agent, api_client=client)

        run = agent.start(options.input, streaming=options.mode)
        replacing = options.mode == "result" and sys.stdout.isatty()
        for event in run.events(timeout=300):
            text = printable(json.dumps(event.update or event.result, ensure_ascii=False))
            if replacing:  # a line that wraps could not be erased as one
                text = TO_LINE_START_AND_ERASE + text[: shutil.get_terminal_size().columns - 1]
            print(text, end="" if replacing else "\n", flush=True)
        if replacing:
            print()
        result = json.dumps(run.result(timeout=60), ensure_ascii=False)
        print("result:", printable(result))


def printable(text: str) -> str:
    """Escape what could move the cursor or turn the text: it comes from a server."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


if __name__ == "__main__":
    try:
        main()
    except OpenApiException as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
