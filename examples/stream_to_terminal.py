"""Run an agent and print what it streams, as it comes.

In mode `custom` each event is an update and gets a line. In mode `result` each event is the whole
result so far: on a terminal it takes the place of the one before. A connection that breaks is made
again, and goes on after the last event that arrived.

    python examples/stream_to_terminal.py
    python examples/stream_to_terminal.py --mode result --input '{"count": 30}'
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator

from _server import command_line, configured, exit_code, find_agent, json_object, show

from acp_client_v0_1 import (
    AgentsApi,
    ApiClient,
    CustomRunResultUpdate,
    RunCreate,
    RunOutputStream,
    RunResult,
    RunsApi,
    StreamInterrupted,
    wait_for_run_output,
)

TO_LINE_START_AND_ERASE = "\r\x1b[2K"


def main() -> int:
    """Create a run, print its events, then its output."""
    options = parse_arguments()
    with configured() as configuration, ApiClient(configuration) as client:
        runs = RunsApi(client)
        agent = find_agent(AgentsApi(client), options.agent)
        run = runs.create_run(
            RunCreate(agent_id=agent.agent_id, input=options.input, streaming=options.mode)
        )
        replacing = sys.stdout.isatty()
        for event in events_of(runs, run.run_id, options.reconnects):
            print_event(event, replacing)
        if replacing and options.mode == "result":
            print()
        # The events do not say how the run ended; its output does.
        return show(wait_for_run_output(runs, run.run_id, timeout=options.timeout))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("Run an agent and print what it streams, as it comes.")
    parser.add_argument("--agent", default="counter", help="agent to run (%(default)s)")
    parser.add_argument(
        "--input", type=json_object, default='{"count": 5}', help="its input, JSON (%(default)s)"
    )
    parser.add_argument(
        "--mode", choices=["custom", "result"], default="custom", help="of streaming (%(default)s)"
    )
    parser.add_argument(
        "--reconnects", type=int, default=5, help="connections that may break (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds for the output (%(default)s)"
    )
    return parser.parse_args()


def events_of(runs: RunsApi, run_id: str, reconnects: int) -> Iterator[RunOutputStream]:
    """Give the events of a run, over as many connections as it takes."""
    last_event_id = ""
    while True:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else None
        with runs.get_run_stream(run_id, _headers=headers) as stream:
            try:
                yield from stream
                return
            except StreamInterrupted as error:
                if reconnects <= 0:
                    raise
                print(f"connecting again: {error}", file=sys.stderr)
                last_event_id = error.last_event_id or last_event_id
                reconnects -= 1


def print_event(event: RunOutputStream, replacing: bool) -> None:
    """Print an event; a result so far takes the place of the one before if `replacing`."""
    match event.data.actual_instance:
        case CustomRunResultUpdate(update=update):
            print(json.dumps(update, ensure_ascii=False), flush=True)
        case RunResult(result=result):
            text = json.dumps(result, ensure_ascii=False)
            if replacing:
                # A line that wraps could not be erased as one. Some terminals say they are 0 wide.
                text = text[: (shutil.get_terminal_size().columns or 80) - 1]
                print(TO_LINE_START_AND_ERASE + text, end="", flush=True)
            else:
                print(text, flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
