"""Run an agent and wait for its result with a progress bar; continue waiting another time.

If the time is over, or on Ctrl-C, the run continues, and the script prints a token. `--token` waits
for the same run again, on any machine. The bar needs `pip install tqdm`.

    python examples/wait_with_progress.py --input '{"seconds": 5}' --timeout 20
    ACP_HOST=http://127.0.0.1:8000 python examples/wait_with_progress.py --token TOKEN

Without --host and ACP_HOST it starts a local server of its own, whose runs end with the script.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import sys

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    OpenApiException,
    RunHandle,
    RunStatus,
    RunWaitTimeout,
)

BAR = "{desc} {n:.0f} s |{bar}| at most {total:.0f} s"


def main() -> None:
    """Start the run, or attach to it, and wait."""
    parser = argparse.ArgumentParser(description="Run an agent and wait with a progress bar.")
    parser.add_argument("--host", default=os.environ.get("ACP_HOST"), help="server (ACP_HOST)")
    parser.add_argument("--agent", default="slow", help="its name or id (%(default)s)")
    parser.add_argument(
        "--input", type=json.loads, default='{"seconds": 3}', help="JSON (%(default)s)"
    )
    parser.add_argument("--token", help="wait for this run instead of a new one")
    parser.add_argument("--timeout", type=float, default=60, help="seconds (%(default)s)")
    options = parser.parse_args()
    if importlib.util.find_spec("tqdm") is None:  # known before a run is started
        sys.exit("the bar needs tqdm: pip install tqdm")

    with contextlib.ExitStack() as stack:
        local = not options.host
        if local:
            from acp_client_v0_1.testing import LocalServer

            options.host = stack.enter_context(LocalServer()).url
        client = stack.enter_context(ApiClient(Configuration.from_env(host=options.host)))
        if options.token:
            run = RunHandle.from_token(options.token, client)
        else:
            run = AgentHandle.get(options.agent, api_client=client).start(options.input)

        try:
            result = wait(run, options.timeout)
        except (RunWaitTimeout, KeyboardInterrupt):
            if local:
                sys.exit("no result yet; the local server ends now, and the run with it")
            sys.exit(f"the run continues; wait for it with --token {run.token()}")
        print("result:", json.dumps(result))


def wait(run: RunHandle, timeout: float) -> dict[str, object]:
    """Wait for the result of a run for some seconds, and show the time that passes."""
    from tqdm import tqdm

    with tqdm(total=timeout, desc="waiting", bar_format=BAR) as bar:

        def on_pending(elapsed: float, status: RunStatus) -> None:
            bar.set_description_str(status.value, refresh=False)
            bar.update(min(elapsed, timeout) - bar.n)

        return run.result(timeout, on_pending=on_pending, every=0.5)


if __name__ == "__main__":
    try:
        main()
    except OpenApiException as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
