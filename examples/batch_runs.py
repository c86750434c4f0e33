r"""Run an agent on many inputs at a time, with a progress bar.

The inputs are JSON Lines, one object a line, from a file or from standard input. Each gives one
line of JSON when it is done, in the order in which they end: the number of the input's line, and
the run's `output`, or a `failure` if there is none. Needs tqdm.

    printf '{"count": %d, "interval": 0.1}\n' 3 1 4 1 5 | python examples/batch_runs.py
    python examples/batch_runs.py inputs.jsonl --agent echo --workers 16 --output outputs.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TextIO

from _server import FAILED, FINE, command_line, configured, exit_code, find_agent, json_object

from acp_client_v0_1 import (
    AgentsApi,
    ApiClient,
    ApiException,
    RunCreate,
    RunsApi,
    wait_for_run_output,
)

try:
    from tqdm import tqdm
except ImportError:
    sys.exit("the progress bar is drawn by tqdm, which is missing: pip install tqdm")

Line = dict[str, Any]


def main() -> int:
    """Read the inputs, run them all, write a line for each; 0 if each has a result."""
    options = parse_arguments()
    inputs = read_inputs(options.inputs)
    failures = 0
    with configured() as configuration, opened(options.output) as file:
        # Every worker holds a connection while it waits.
        configuration.connection_pool_maxsize = options.workers
        with ApiClient(configuration) as client:
            batch = Batch(client, options)
            # Closed before the client is, also when writing fails.
            with contextlib.closing(batch.run(inputs)) as lines:
                for line in lines:
                    failures += line.get("output", {}).get("type") != "result"
                    # Written by tqdm, so that on a terminal the bar moves out of the way.
                    tqdm.write(json.dumps(line, ensure_ascii=False), file=file)
    print(f"{len(inputs)} inputs, {failures} without a result", file=sys.stderr)
    return FAILED if failures else FINE


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("Run an agent on many inputs at a time, with a progress bar.")
    parser.add_argument("inputs", type=Path, nargs="?", help="JSON Lines (standard input)")
    parser.add_argument("--agent", default="counter", help="agent to run (%(default)s)")
    parser.add_argument(
        "--workers", type=positive, default=8, help="inputs at a time (%(default)s)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="instead of standard output")
    parser.add_argument(
        "--timeout", type=float, default=300, help="seconds for each input (%(default)s)"
    )
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a number of at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return int(text)


def read_inputs(path: Path | None) -> dict[int, Line]:
    """Read JSON Lines into objects by the numbers of their lines; empty lines are passed over."""
    # As bytes, which have no other ends of lines than those of JSON Lines.
    data = sys.stdin.buffer.read() if path is None else path.read_bytes()
    inputs: dict[int, Line] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            try:
                inputs[number] = json_object(line)
            except argparse.ArgumentTypeError as error:
                raise SystemExit(f"line {number} of the inputs: {error}") from error
    return inputs


class Batch:
    """Runs one agent on many inputs; one client serves all threads."""

    def __init__(self, client: ApiClient, options: argparse.Namespace) -> None:
        self._runs = RunsApi(client)
        self._agent_id = find_agent(AgentsApi(client), options.agent).agent_id
        self._workers: int = options.workers
        self._timeout: float = options.timeout
        self._stop = threading.Event()

    def run(self, inputs: Mapping[int, Line]) -> Generator[Line, None, None]:
        """Give what came of each input, when it is there."""
        # The bar is drawn before anything begins: what stops the script then has begun no run.
        with tqdm(total=len(inputs), unit="run") as bar, ThreadPoolExecutor(self._workers) as pool:
            try:
                futures = [pool.submit(self._run_one, *item) for item in inputs.items()]
                for future in as_completed(futures):
                    yield future.result()
                    bar.update()
            finally:
                # After Ctrl-C: those that wait end within a second, the others do not begin.
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _run_one(self, number: int, agent_input: Line) -> Line:
        try:
            run = self._runs.create_run(RunCreate(agent_id=self._agent_id, input=agent_input))
            output = wait_for_run_output(
                self._runs, run.run_id, timeout=self._timeout, stop=self._stop
            )
        except ApiException as error:
            return {"line": number, "failure": str(error)}
        return {"line": number, "run_id": run.run_id, "output": output.to_dict()}


@contextlib.contextmanager
def opened(path: Path | None) -> Generator[TextIO, None, None]:
    """Open a file to write to, or give standard output for None."""
    if path is None:
        yield sys.stdout
        return
    with path.open("w", encoding="utf-8") as file:
        yield file


if __name__ == "__main__":
    sys.exit(exit_code(main))
