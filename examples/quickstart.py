"""The main job, once through: find an agent, run it, watch it, answer it, search, delete.

With ACP_HOST in the environment it uses that server (and ACP_API_KEY and the like, see
docs/guides/configuration.md); otherwise it starts a local one of its own.

    python examples/quickstart.py
    ACP_HOST=http://localhost:8000 python examples/quickstart.py --count 10
"""

from __future__ import annotations

import argparse
import sys
import uuid
from typing import Any

from _server import FINE, command_line, configured, exit_code, find_agent, show

from acp_client_v0_1 import (
    Agent,
    AgentsApi,
    ApiClient,
    CustomRunResultUpdate,
    RunCreate,
    RunInterrupt,
    RunsApi,
    RunSearchRequest,
    StreamingMode,
    wait_for_run_output,
)

PATIENCE = 60.0  # seconds that a run may take to its next output


def main() -> int:
    """Do all of it; 0 if it went well."""
    options = parse_arguments()
    # Runs can be found by their metadata: this mark is on all runs of this script, and no others.
    mark = {"quickstart": uuid.uuid4().hex}
    with configured() as configuration, ApiClient(configuration) as client:
        agents, runs = AgentsApi(client), RunsApi(client)
        print(f"server: {configuration.host}")
        stream_a_run(runs, introduced(agents, options.agent), options.count, mark)
        answer_a_run(runs, introduced(agents, options.asking_agent), options.action, mark)
        delete_runs(runs, mark)
    return FINE


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("Find an agent, run it, stream it, answer it, search, and delete.")
    parser.add_argument("--agent", default="counter", help="agent to stream (%(default)s)")
    parser.add_argument("--count", type=int, default=3, help="how far it counts (%(default)s)")
    parser.add_argument("--asking-agent", default="approval", help="agent that asks (%(default)s)")
    parser.add_argument("--action", default="deploy", help="what it asks about (%(default)s)")
    return parser.parse_args()


def introduced(agents: AgentsApi, name: str) -> Agent:
    """Find an agent, and print what it says of itself."""
    agent = find_agent(agents, name)
    print(f"\nagent: {agent.metadata.ref.name} {agent.metadata.ref.version}")
    print(f"       {agent.metadata.description}")
    return agent


def stream_a_run(runs: RunsApi, agent: Agent, count: int, mark: dict[str, Any]) -> None:
    """Create a run, print its events as they come, then its output."""
    run = runs.create_run(
        RunCreate(
            agent_id=agent.agent_id,
            input={"count": count},
            metadata=mark,
            streaming=StreamingMode.CUSTOM,
        )
    )
    print(f"run {run.run_id} is {run.status}")
    with runs.get_run_stream(run.run_id) as stream:
        for event in stream:
            payload = event.data.actual_instance
            update = payload.update if isinstance(payload, CustomRunResultUpdate) else payload
            print(f"  event {event.id}: {update}", flush=True)
    show(wait_for_run_output(runs, run.run_id, timeout=PATIENCE))


def answer_a_run(runs: RunsApi, agent: Agent, action: str, mark: dict[str, Any]) -> None:
    """Create a run that asks, say yes, and print what comes of it."""
    run = runs.create_run(
        RunCreate(agent_id=agent.agent_id, input={"action": action}, metadata=mark)
    )
    output = wait_for_run_output(runs, run.run_id, timeout=PATIENCE)
    show(output)
    if isinstance(output.actual_instance, RunInterrupt):
        runs.resume_run(run.run_id, {"approved": True})
        print("answer: approved")
        show(wait_for_run_output(runs, run.run_id, timeout=PATIENCE))


def delete_runs(runs: RunsApi, mark: dict[str, Any]) -> None:
    """Find the runs of this script by their metadata, and delete them."""
    search = RunSearchRequest(metadata=mark, limit=100)
    found = runs.search_runs(search)
    print(f"\nfound {len(found)} runs")
    for run in found:
        runs.delete_run(run.run_id)
        print(f"  deleted {run.run_id}, which was {run.status}")
    print(f"found {len(runs.search_runs(search))} runs afterwards")


if __name__ == "__main__":
    sys.exit(exit_code(main))
