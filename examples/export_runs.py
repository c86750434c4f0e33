"""Write all runs of an agent as JSON Lines, one run a line, however many there are.

    python examples/export_runs.py echo --sample 25
    ACP_HOST=http://127.0.0.1:8000 python examples/export_runs.py echo > runs.jsonl

Without --host and ACP_HOST it starts a local server of its own, which has no runs yet: `--sample`
makes some.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    OpenApiException,
    RunStatus,
    iter_runs,
)


def main() -> None:
    """Find the agent, and write its runs."""
    parser = argparse.ArgumentParser(description="Write all runs of an agent as JSON Lines.")
    parser.add_argument("--host", default=os.environ.get("ACP_HOST"), help="server (ACP_HOST)")
    parser.add_argument("agent", nargs="?", default="echo", help="its name or id (%(default)s)")
    parser.add_argument("--status", type=RunStatus, help="only runs in it, for example success")
    parser.add_argument(
        "--sample", type=int, default=0, help="make this many runs first, to try it"
    )
    options = parser.parse_args()

    with contextlib.ExitStack() as stack:
        if not options.host:
            from acp_client_v0_1.testing import LocalServer

            options.host = stack.enter_context(LocalServer()).url
        client = stack.enter_context(ApiClient(Configuration.from_env(host=options.host)))
        agent = AgentHandle.get(options.agent, api_client=client)
        for number in range(options.sample):
            agent.run({"number": number}, timeout=60)

        # 1,000 runs a request; until there are no more.
        for run in iter_runs(client, agent=agent, status=options.status):
            print(run.to_json())


if __name__ == "__main__":
    try:
        main()
    except OpenApiException as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
