"""What the examples share: a server to talk to, an agent of it by name, arguments, and an end.

Nothing here is needed to use the package; copy what you like. The scripts end with one of the
exit codes below, and say on standard error what went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Generator
from typing import Any, cast

from acp_client_v0_1 import (
    Agent,
    AgentsApi,
    AgentSearchRequest,
    Configuration,
    OpenApiException,
    RunError,
    RunInterrupt,
    RunOutput,
    RunResult,
)

__all__ = [
    "FAILED",
    "FINE",
    "INTERRUPTED",
    "UNFINISHED",
    "command_line",
    "configured",
    "exit_code",
    "find_agent",
    "json_object",
    "show",
]

FINE = 0
FAILED = 1  # the call, or the run
UNFINISHED = 3  # the run goes on, or waits for an answer; 2 is argparse's, for wrong arguments
INTERRUPTED = 130  # by Ctrl-C, as shells count it


@contextlib.contextmanager
def configured() -> Generator[Configuration, None, None]:
    """Give the configuration of the server at ACP_HOST, or of a local one."""
    if os.environ.get("ACP_HOST"):
        yield Configuration.from_env()
        return
    try:
        from acp_client_v0_1.testing import LocalServer
    except ImportError as error:
        raise SystemExit(f"ACP_HOST is not set, and there is no local server: {error}") from error
    with LocalServer() as server:
        yield Configuration(host=server.url)


def find_agent(agents: AgentsApi, name: str) -> Agent:
    """Give the agent with a name, or end the script and say which there are."""
    found = agents.search_agents(AgentSearchRequest(name=name))
    if not found:
        present = agents.search_agents(AgentSearchRequest(limit=100))
        names = ", ".join(agent.metadata.ref.name for agent in present) or "none"
        raise SystemExit(f"no agent is called {name!r}; the server has: {names}")
    return found[0]


def show(output: RunOutput) -> int:
    """Print an output of any kind, and give the exit code that it means."""
    match output.actual_instance:
        case RunResult(result=result):
            print(f"result: {result}")
            return FINE
        case RunInterrupt(interrupt=interrupt):
            print(f"question: {interrupt.get('question', interrupt)}")
            return UNFINISHED
        case RunError(errcode=code, description=description):
            print(f"error {code}: {description}")
            return FAILED


def command_line(description: str) -> argparse.ArgumentParser:
    """Begin the command line of an example."""
    return argparse.ArgumentParser(
        description=description,
        epilog="Uses the server at ACP_HOST if that is set, and a local one of its own otherwise.",
    )


def json_object(text: str | bytes) -> dict[str, Any]:
    """Read an argument, or other text, that is a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("JSON, but not an object")
    return cast("dict[str, Any]", value)


def exit_code(main: Callable[[], int]) -> int:
    """Run a script's `main`; what is not its fault becomes one line and an exit code."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has had enough, as `head` has. Python must not fail once more at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OpenApiException, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    return code
