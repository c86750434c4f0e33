"""Write all runs of an agent as JSON Lines, one run a line, whatever their number.

The search gives them page by page. A file appears only when it is complete. A local server starts
without runs, so `--sample` can create some first.

    python examples/export_runs.py echo --sample 25 --page-size 10
    ACP_HOST=http://localhost:8000 python examples/export_runs.py echo --output runs.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TextIO

from _server import FINE, command_line, configured, exit_code, find_agent

from acp_client_v0_1 import (
    AgentsApi,
    ApiClient,
    Run,
    RunCreate,
    RunsApi,
    RunSearchRequest,
    RunStatus,
)


def main() -> int:
    """Find the agent, and write its runs."""
    options = parse_arguments()
    with configured() as configuration, ApiClient(configuration) as client:
        runs = RunsApi(client)
        agent_id = find_agent(AgentsApi(client), options.agent).agent_id
        for number in range(options.sample):
            runs.create_run(RunCreate(agent_id=agent_id, input={"number": number}))
        wanted = RunSearchRequest(agent_id=agent_id, status=options.status, limit=options.page_size)
        count = 0
        with opened(options.output) as file:
            for run in all_runs(runs, wanted):
                print(run.to_json(), file=file)
                count += 1
    print(f"{count} runs of {options.agent}", file=sys.stderr)
    return FINE


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("Write all runs of an agent as JSON Lines.")
    parser.add_argument("agent", help="name of the agent, for example echo")
    parser.add_argument("--output", type=Path, metavar="FILE", help="instead of standard output")
    parser.add_argument(
        "--status", type=RunStatus, metavar="STATUS", help="only runs in it, for example success"
    )
    parser.add_argument(
        "--page-size", type=page_size, default=100, help="runs a request, 1 to 1000 (%(default)s)"
    )
    parser.add_argument(
        "--sample", type=int, default=0, metavar="N", help="create N runs first, to try it"
    )
    return parser.parse_args()


def page_size(text: str) -> int:
    """Read how many runs a request may ask for."""
    if not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"must be from 1 to 1000, not {text}")
    return int(text)


def all_runs(runs: RunsApi, wanted: RunSearchRequest) -> Iterator[Run]:
    """Give every run that a search finds, once, page after page."""
    seen: set[str] = set()
    before: list[str] = []
    offset = 0
    # Only an empty page is the end: a server may give less than it is asked for.
    while page := runs.search_runs(wanted.model_copy(update={"offset": offset})):
        ids = [run.run_id for run in page]
        if ids == before:
            raise SystemExit("the server gives the same page again: it does not heed `offset`")
        # Where the newest come first, a run that is created meanwhile shifts all others.
        yield from (run for run in page if run.run_id not in seen)
        seen.update(ids)
        before = ids
        offset += len(page)


@contextlib.contextmanager
def opened(path: Path | None) -> Generator[TextIO, None, None]:
    """Open a file that takes its place when it is complete, or standard output for None."""
    if path is None:
        yield sys.stdout
        return
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("w", encoding="utf-8") as file:
        yield file
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(exit_code(main))
