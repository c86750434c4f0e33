"""Run an agent and answer its questions from the keyboard.

The agent's descriptor says what an answer looks like: the script asks for each property alone.
Without a description, an answer is one line of JSON. Ctrl-D leaves the run as it is, and prints a
token; `--token` takes it up again, on any machine.

    python examples/answer_interrupts.py --input '{"action": "deploy"}'
    ACP_HOST=http://127.0.0.1:8000 python examples/answer_interrupts.py --token TOKEN

Without --host and ACP_HOST it starts a local server of its own, whose runs end with the script.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from typing import Any

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    OpenApiException,
    PendingInterrupt,
    RunHandle,
)


def main() -> None:
    """Start the run, or attach to it, and answer until it has its result."""
    parser = argparse.ArgumentParser(description="Run an agent and answer its questions.")
    parser.add_argument("--host", default=os.environ.get("ACP_HOST"), help="server (ACP_HOST)")
    parser.add_argument("--agent", default="approval", help="its name or id (%(default)s)")
    parser.add_argument(
        "--input", type=json.loads, default='{"action": "deploy"}', help="JSON (%(default)s)"
    )
    parser.add_argument("--token", help="answer this run instead of a new one")
    options = parser.parse_args()

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
            result = json.dumps(run.drive(ask, timeout=300), ensure_ascii=False)
            print("result:", printable(result))
        except EOFError:
            if local:
                sys.exit("\nno answer; the local server ends now, and the run with it")
            sys.exit(f"\nno answer: the run waits; continue with --token {run.token()}")


def ask(question: PendingInterrupt) -> dict[str, Any]:
    """Show a question, and read its answer."""
    asked = str(question.payload.get("question", question.payload))
    print(f"question: {printable(asked)}")
    schema = question.schema or {}
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    if not properties:
        whole: dict[str, Any] = read("answer, a JSON object", "object")
        return whole
    required = schema.get("required", ())
    answer = {
        name: read(f"{name}, {described.get('type')}", described.get("type"), name in required)
        for name, described in properties.items()
    }
    return {name: value for name, value in answer.items() if value is not None}


def printable(text: str) -> str:
    """Escape what could move the cursor or turn the text: it comes from a server."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def read(prompt: str, kind: str | None, required: bool = True) -> Any:
    """Read a value until it can be used: text for a string, JSON for the rest, None for nothing."""
    while True:
        text = input(f"  {printable(prompt)}{'' if required else ' (may be empty)'}: ")
        if not required and not text:
            return None
        try:
            return text if kind == "string" else json.loads(text)
        except ValueError as error:
            print(f"  that is not JSON: {error}")


if __name__ == "__main__":
    try:
        main()
    except OpenApiException as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
