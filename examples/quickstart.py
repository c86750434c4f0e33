"""The main job, once through: find agents, run one and follow it, answer another, find the runs.

    python examples/quickstart.py
    ACP_HOST=http://127.0.0.1:8000 python examples/quickstart.py --count 10

Without --host and ACP_HOST it starts a local server of its own. Credentials come from the
environment: ACP_API_KEY, ACP_TOKEN.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import uuid

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    OpenApiException,
    PendingInterrupt,
    RunsApi,
    RunSearchRequest,
    iter_runs,
)


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description="Find agents, run, follow and answer them.")
    parser.add_argument("--host", default=os.environ.get("ACP_HOST"), help="server (ACP_HOST)")
    parser.add_argument("--count", type=int, default=3, help="how far to count (%(default)s)")
    parser.add_argument("--agent", default="counter", help="name or id (%(default)s)")
    parser.add_argument("--asking-agent", default="approval", help="likewise (%(default)s)")
    options = parser.parse_args()

    with contextlib.ExitStack() as stack:
        if not options.host:
            from acp_client_v0_1.testing import LocalServer

            options.host = stack.enter_context(LocalServer()).url
        client = stack.enter_context(ApiClient(Configuration.from_env(host=options.host)))
        print(f"server: {client.configuration.host}")
        # Runs can be found by their metadata: only runs of this script have this mark.
        mark = {"quickstart": uuid.uuid4().hex}

        counter = introduced(options.agent, client)
        run = counter.start({"count": options.count}, metadata=mark, streaming="custom")
        print(f"run {run.run_id}")
        for event in run.events():
            print(f"  event {event.id}: {event.update or event.result}", flush=True)
        print(f"result: {run.result(timeout=60)}")

        approval = introduced(options.asking_agent, client)
        result = approval.run({"action": "deploy"}, metadata=mark, on_interrupt=say_yes, timeout=60)
        print(f"result: {result}")

        # All first, then delete: a search that is being read does not like to be changed.
        made = list(iter_runs(RunsApi(client), RunSearchRequest(metadata=mark)))
        print(f"\nfound {len(made)} runs")
        for found in made:
            RunsApi(client).delete_run(found.run_id)
            print(f"  deleted {found.run_id}, which was {found.status.value}")


def introduced(id_or_name: str, client: ApiClient) -> AgentHandle:
    """Give an agent, and print what it says of itself."""
    agent = AgentHandle.get(id_or_name, api_client=client)
    about = agent.agent.metadata
    print(f"\nagent: {about.ref.name} {about.ref.version}\n       {about.description}")
    return agent


def say_yes(question: PendingInterrupt) -> dict[str, bool]:
    """Answer a question of the agent."""
    print(f"question: {question.payload['question']}\nanswer: approved")
    return {"approved": True}


if __name__ == "__main__":
    try:
        main()
    except OpenApiException as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
