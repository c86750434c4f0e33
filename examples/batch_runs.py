r"""Run an agent on many inputs, many at a time; continue after Ctrl-C or a crash.

The inputs are JSON Lines, one object a line, from a file or standard input. Each gives a line of
JSON when it is done, with its number and its `result` or `error`. With `--journal` the same command
continues where it stopped, and no input runs twice.

    printf '{"count": %d, "interval": 0.1}\n' 3 1 4 1 5 | python examples/batch_runs.py --progress
    export ACP_HOST=http://127.0.0.1:8000
    python examples/batch_runs.py inputs.jsonl --agent echo --journal runs.jsonl > results.jsonl

Without --host and ACP_HOST it starts a local server of its own, whose runs end with the script, so
that there is nothing for a journal. The bar needs `pip install tqdm`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, OpenApiException


def main() -> None:
    """Run the agent on each line, and write a line for each outcome."""
    parser = argparse.ArgumentParser(description="Run an agent on many inputs, many at a time.")
    parser.add_argument("inputs", nargs="?", help="a file of JSON Lines (standard input)")
    parser.add_argument("--host", default=os.environ.get("ACP_HOST"), help="server (ACP_HOST)")
    parser.add_argument("--agent", default="counter", help="its name or id (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, help="runs at a time (%(default)s)")
    parser.add_argument("--journal", help="file that keeps what was started and done")
    parser.add_argument("--progress", action="store_true", help="show a bar")
    options = parser.parse_args()
    if options.journal and not options.host:
        parser.error("--journal is for the runs of a server that stays: --host or ACP_HOST")

    with contextlib.ExitStack() as stack:
        if not options.host:
            from acp_client_v0_1.testing import LocalServer

            options.host = stack.enter_context(LocalServer()).url
        client = stack.enter_context(ApiClient(Configuration.from_env(host=options.host)))
        agent = AgentHandle.get(options.agent, api_client=client)

        lines = sys.stdin
        if options.inputs:
            lines = stack.enter_context(open(options.inputs, encoding="utf-8"))
        batch = agent.map(
            objects_of(lines),
            concurrency=options.concurrency,
            journal=options.journal,
            progress=options.progress,
        )
        failures = 0
        for item in stack.enter_context(batch):
            failed = isinstance(item.outcome, Exception)
            failures += failed
            outcome = {"error": str(item.outcome)} if failed else {"result": item.outcome}
            print(json.dumps({"number": item.index + 1, **outcome}), flush=True)
        if failures:
            sys.exit(f"inputs without a result: {failures}")


def objects_of(lines: Iterable[str]) -> Iterator[Any]:
    """Read JSON Lines, in which a line may be blank."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from error


if __name__ == "__main__":
    try:
        main()
    except (OpenApiException, OSError, ValueError) as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt as error:
        print(error, file=sys.stderr)  # how many runs continue
        sys.exit(130)
