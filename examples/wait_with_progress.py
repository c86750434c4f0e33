"""Run an agent and wait for its output, with a bar that shows how much of the time is used.

Needs tqdm. Ctrl-C ends the wait, not the run; `--run` waits for a run that exists.

    python examples/wait_with_progress.py --input '{"seconds": 5}' --timeout 20
    ACP_HOST=http://localhost:8000 python examples/wait_with_progress.py --run RUN_ID
"""

from __future__ import annotations

import argparse
import sys

from _server import UNFINISHED, command_line, configured, exit_code, find_agent, json_object, show

from acp_client_v0_1 import (
    AgentsApi,
    ApiClient,
    RunCreate,
    RunOutput,
    RunsApi,
    RunStatus,
    RunWaitTimeout,
    wait_for_run_output,
)

try:
    from tqdm import tqdm
except ImportError:
    sys.exit("the progress bar is drawn by tqdm, which is missing: pip install tqdm")

BAR = "{desc} {n:.0f} s |{bar}| at most {total:.0f} s"


def main() -> int:
    """Find or create the run, wait, and print the output."""
    options = parse_arguments()
    with configured() as configuration, ApiClient(configuration) as client:
        runs = RunsApi(client)
        run_id = options.run or start(client, options)
        print(f"run {run_id}", flush=True)
        try:
            return show(wait(runs, run_id, options.timeout))
        except RunWaitTimeout as error:
            print(f"{error}; wait on with --run {run_id}", file=sys.stderr)
            return UNFINISHED


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("Run an agent and wait for its output with a progress bar.")
    parser.add_argument("--agent", default="slow", help="agent to run (%(default)s)")
    parser.add_argument(
        "--input", type=json_object, default='{"seconds": 3}', help="its input, JSON (%(default)s)"
    )
    parser.add_argument("--run", metavar="ID", help="wait for this run instead of a new one")
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds to wait at most (%(default)s)"
    )
    return parser.parse_args()


def start(client: ApiClient, options: argparse.Namespace) -> str:
    """Create the run that the command line asks for, and give its id."""
    agent = find_agent(AgentsApi(client), options.agent)
    run = RunsApi(client).create_run(RunCreate(agent_id=agent.agent_id, input=options.input))
    return run.run_id


def wait(runs: RunsApi, run_id: str, timeout: float) -> RunOutput:
    """Wait for an output of a run for some seconds, and show the time that passes."""
    with tqdm(total=timeout, desc="waiting", bar_format=BAR) as bar:

        def on_pending(elapsed: float, status: RunStatus) -> None:
            bar.set_description_str(status.value, refresh=False)
            bar.update(min(elapsed, timeout) - bar.n)

        # The bar moves when a request ends without an output: here about once a second.
        return wait_for_run_output(
            runs, run_id, timeout=timeout, block_timeout=1, on_pending=on_pending
        )


if __name__ == "__main__":
    sys.exit(exit_code(main))
