"""Asks the search of the built site, without a browser: `make search-check`, after `make site`.

The worker tools/search.js runs in Node.js. `PASTED` has words and messages that people have typed
and did not find. `ASKED` has what new users would type, written before its author looked at the
index. A query finds its page if one of its pages is among the first three results.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SITE = Path(__file__).resolve().parent.parent / "build" / "site"
WORKER = Path(__file__).resolve().with_name("search.js")

# Results that count
FIRST = 3

# All of them must find their page.
PASTED = {
    "certificate verify failed": "guides/configuration.html reference/messages.html",
    "SSLError": "guides/configuration.html reference/messages.html",
    "read timed out": "reference/messages.html guides/configuration.html",
    "timed out": "reference/messages.html guides/configuration.html",
    "returned 422": "reference/messages.html",
    "its certificate is refused": "reference/messages.html",
    "no agent is called": "reference/messages.html",
    "is interrupted by": "reference/messages.html",
    "in use by another batch": "reference/messages.html",
    "getting started": "guides/tutorial.html",
    "example": "guides/tutorial.html",
    "bulk": "guides/batches.html",
    "give up after 5 seconds": "guides/configuration.html",
    "ask user": "guides/runs.html",
    "oauth": "guides/authentication.html",
    "metrics": "guides/observing.html",
    "500": "guides/errors.html reference/messages.html",
    "security": "guides/authentication.html",
    "memory usage": "guides/configuration.html guides/batches.html",
    "performance": "guides/many-at-once.html guides/configuration.html guides/batches.html",
    "dataframe": "guides/batches.html",
    "NaN": "guides/batches.html reference/messages.html",
    "airflow": "guides/recipes.html guides/command-line.html guides/runs.html",
    "rate limiting": "guides/errors.html",
    "journal format": "guides/batches.html",
    "what happens if the server goes down": "guides/errors.html",
    "how do I cancel a run": "guides/cancelling.html",
}

# Fewer of them that find one of their pages fail the check.
LEAST_FOUND = 57
ASKED = {
    "how to install": "index.html",
    "hello world": "index.html guides/tutorial.html",
    "list available agents": "guides/agents.html",
    "call an agent": "guides/runs.html index.html",
    "set the base url": "guides/configuration.html",
    "pass headers": "guides/configuration.html guides/authentication.html",
    "set api key from environment": "guides/configuration.html guides/authentication.html",
    "connection refused": "reference/messages.html guides/troubleshooting.html",
    "unauthorized": "guides/authentication.html",
    "403 forbidden": "guides/authentication.html",
    "404 not found": "guides/errors.html reference/messages.html",
    "502 bad gateway": "guides/errors.html reference/messages.html",
    "service unavailable": "guides/errors.html reference/messages.html",
    "too many requests": "guides/errors.html",
    "disable ssl verification": "guides/configuration.html",
    "corporate proxy": "guides/configuration.html",
    "custom CA bundle": "guides/configuration.html",
    "client certificate mtls": "guides/configuration.html",
    "increase timeout": "guides/configuration.html",
    "wait for result": "guides/runs.html guides/waiting.html",
    "get result of finished run": "guides/runs.html",
    "check run status": "guides/runs.html",
    "stop a running job": "guides/cancelling.html",
    "delete a run": "guides/searching.html guides/operations.html guides/cancelling.html",
    "stream output to terminal": "guides/runs.html guides/streaming.html",
    "server sent events": "guides/streaming.html",
    "print tokens as they arrive": "guides/runs.html guides/streaming.html",
    "streaming disconnects": "guides/runs.html guides/streaming.html",
    "process many inputs in parallel": "guides/batches.html guides/many-at-once.html",
    "retry failed items": "guides/batches.html",
    "save results to csv": "guides/batches.html",
    "read input from jsonl file": "guides/command-line.html guides/batches.html",
    "resume interrupted batch": "guides/batches.html",
    "human approval": "guides/runs.html",
    "agent asks a question": "guides/runs.html guides/tutorial.html",
    "conversation history": "guides/conversations.html",
    "keep context between calls": "guides/conversations.html",
    "thread id": "guides/conversations.html",
    "multithreading thread safe": "guides/many-at-once.html",
    "use with asyncio": "guides/many-at-once.html",
    "jupyter notebook": "guides/recipes.html",
    "pydantic validation of output": "guides/recipes.html guides/agents.html",
    "mock server for unit tests": "guides/testing.html reference/local-server.html",
    "pytest fixture": "guides/testing.html",
    "simulate errors in tests": "guides/testing.html reference/local-server.html",
    "logging requests": "guides/observing.html",
    "enable debug output": "guides/observing.html guides/configuration.html",
    "tracing spans": "guides/observing.html reference/spans.html",
    "prometheus": "guides/observing.html",
    "list of exceptions": "reference/errors.html guides/errors.html",
    "catch all errors": "guides/errors.html",
    "avoid duplicate runs": "guides/runs.html",
    "environment variables": "guides/configuration.html",
    "supported python versions": "guides/compatibility.html",
    "migrate from generated client": "guides/moving.html",
    "bash completion": "guides/command-line.html",
    "shell script exit codes": "guides/command-line.html",
    "webhook signature": "guides/webhooks.html",
    "refresh expired token": "guides/authentication.html",
    "paginate search results": "guides/searching.html",
}

# What a worker of a browser has, for Node.js; the locations of the results go to stdout.
_HARNESS = """
const fs = require("fs");
const asked = JSON.parse(fs.readFileSync(0, "utf-8"));
const responses = [];
globalThis.self = { postMessage: message => responses.push(message) };
(0, eval)(fs.readFileSync(asked.worker, "utf-8"));
self.onmessage({ data: { type: 0, data: { items: asked.items } } });
for (const input of asked.queries) self.onmessage({ data: { type: 2, data: { input } } });
const ids = responses.slice(1).map(({ data }) => data.items.map(({ id }) => id));
process.stdout.write(JSON.stringify(ids));
"""


def node() -> str | None:
    """The program that runs the worker, if it is installed."""
    return shutil.which("node") or shutil.which("nodejs")


def results(items: list[dict[str, Any]], queries: Iterable[str]) -> list[list[dict[str, Any]]]:
    """The entries that each query finds, in their order; at most ten."""
    asked = {"worker": str(WORKER), "items": items, "queries": list(queries)}
    command = [node() or "node", "-e", _HARNESS]
    done = subprocess.run(
        command, check=True, input=json.dumps(asked), stdout=subprocess.PIPE, text=True
    )
    return [[items[number] for number in found] for found in json.loads(done.stdout)]


def missed(items: list[dict[str, Any]], wanted: Mapping[str, str]) -> list[str]:
    """A line for each query whose pages are not among the first results."""
    lines = []
    for (query, pages), found in zip(wanted.items(), results(items, wanted), strict=True):
        first = [item["location"] for item in found[:FIRST]]
        if not any(place.partition("#")[0] in pages.split() for place in first):
            lines.append(f"{query!r} finds {', '.join(first) or 'nothing'} before {pages}")
    return lines


def main() -> None:
    """Ask all queries, and name those that find other pages."""
    if node() is None:
        raise SystemExit("no Node.js is installed; on Debian: apt install nodejs")
    items = json.loads((SITE / "search.json").read_text("utf-8"))["items"]
    failed = False
    for wanted, least in ((PASTED, len(PASTED)), (ASKED, LEAST_FOUND)):
        lines = missed(items, wanted)
        count = len(wanted) - len(lines)
        print(f"{count} of {len(wanted)} queries find their page among the first {FIRST}")
        print(*lines, sep="\n", end="\n" if lines else "")
        failed |= count < least
    if failed:
        raise SystemExit("too few queries find their page")


if __name__ == "__main__":
    main()
