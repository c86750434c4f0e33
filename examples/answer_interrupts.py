"""Run an agent and answer its questions from the keyboard, until it needs no more.

What an answer looks like is in the agent's descriptor: each property that it names is asked for
alone. Without such a description the answer is one line of JSON. The end of the input (Ctrl-D)
leaves the run as it is; `--run` takes it up again.

    python examples/answer_interrupts.py --input '{"action": "deploy"}'
    ACP_HOST=http://localhost:8000 python examples/answer_interrupts.py --run RUN_ID
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from _server import UNFINISHED, command_line, configured, exit_code, find_agent, json_object, show

from acp_client_v0_1 import (
    AgentsApi,
    ApiClient,
    NotFoundException,
    Run,
    RunCreate,
    RunInterrupt,
    RunsApi,
    wait_for_run_output,
)


def main() -> int:
    """Find or create the run, and answer until it asks no more."""
    options = parse_arguments()
    with configured() as configuration, ApiClient(configuration) as client:
        run = find_run(client, options)
        try:
            return answer_all(client, run, options.timeout)
        except EOFError:
            print(f"\nno answer: run {run.run_id} stays as it is", file=sys.stderr)
            return UNFINISHED


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("Run an agent and answer its questions from the keyboard.")
    parser.add_argument("--agent", default="approval", help="agent to run (%(default)s)")
    parser.add_argument(
        "--input",
        type=json_object,
        default='{"action": "deploy"}',
        help="its input, JSON (%(default)s)",
    )
    parser.add_argument("--run", metavar="ID", help="answer this run instead of a new one")
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds to wait each time (%(default)s)"
    )
    return parser.parse_args()


def find_run(client: ApiClient, options: argparse.Namespace) -> Run:
    """Give the run that the command line names, or a new one."""
    if options.run:
        return RunsApi(client).get_run(options.run)
    agent = find_agent(AgentsApi(client), options.agent)
    return RunsApi(client).create_run(RunCreate(agent_id=agent.agent_id, input=options.input))


def answer_all(client: ApiClient, run: Run, timeout: float) -> int:
    """Answer each question of a run; at its end print the output and give the exit code."""
    runs = RunsApi(client)
    while True:
        output = wait_for_run_output(runs, run.run_id, timeout=timeout)
        code = show(output)
        if not isinstance(output.actual_instance, RunInterrupt):
            return code
        schema = answer_schema(client, run.agent_id, output.actual_instance)
        runs.resume_run(run.run_id, ask_for(schema))


def answer_schema(client: ApiClient, agent_id: str, asked: RunInterrupt) -> dict[str, Any]:
    """Give the JSON Schema of the answer to an interrupt, empty if the agent declares none."""
    try:
        descriptor = AgentsApi(client).get_acp_descriptor_by_id(agent_id)
    except NotFoundException:
        return {}
    for declared in descriptor.specs.interrupts or ():
        if declared.interrupt_type == asked.interrupt.get("interrupt_type"):
            return declared.resume_payload
    return {}


def ask_for(schema: dict[str, Any]) -> dict[str, Any]:
    """Ask for an object of a JSON Schema, one property after the other."""
    properties: dict[str, dict[str, Any]] = schema.get("properties") or {}
    if not properties:
        whole: dict[str, Any] = ask("answer, a JSON object", json_object)
        return whole
    answers: dict[str, Any] = {}
    for name, described in properties.items():
        kind = described.get("type", "JSON")
        optional = name not in schema.get("required", ())
        answer = ask(f"{name}, {kind}", READERS.get(kind, json.loads), optional=optional)
        if answer is not None:
            answers[name] = answer
    return answers


def ask(what: str, read: Callable[[str], Any], *, optional: bool = False) -> Any:
    """Ask until there is an answer that can be read; None for an empty one, if it is optional."""
    while True:
        text = input(f"  {what}{' (may be empty)' if optional else ''}: ").strip()
        if optional and not text:
            return None
        try:
            return read(text)
        except (ValueError, argparse.ArgumentTypeError) as error:
            print(f"  that does not fit: {error}")


def yes_or_no(text: str) -> bool:
    """Read a boolean as people write it."""
    known = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
    if text.lower() not in known:
        raise ValueError("please answer yes or no")
    return known[text.lower()]


# By the type in a JSON Schema; any other is read as JSON.
READERS: dict[str, Callable[[str], Any]] = {
    "boolean": yes_or_no,
    "integer": int,
    "number": float,
    "string": str,
}


if __name__ == "__main__":
    sys.exit(exit_code(main))
