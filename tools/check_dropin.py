"""Checks that a script written for openapi-generator's own client runs here: `make dropin`.

The pinned generator makes its own client, the stock client, from openapi.yaml in a temporary folder
with its own templates, under this package's name. Then, each client in processes of its own:

* `dropin/describe.py` describes the public surface by introspection. Each name of the stock client
  must be here, with a compatible signature, or be listed in `dropin/differences.yaml`. It evaluates
  the expressions of that list, too, which must give different results.
* Each script of `dropin/scripts/` runs against a local server of its own. Both runs must print the
  same, and both servers must receive the same requests.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from dropin.compare import differences, judge
from dropin.stock import ROOT, generate_stock_client

from acp_client_v0_1.testing import LocalServer, RecordedRequest

PARTS = ROOT / "tools" / "dropin"
# The headers that a caller sets; the transport sets the others.
COMPARED_HEADERS = ("content-type", "cookie", "x-first", "x-second", "x-third", "x-call")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def compare_surfaces(stock: Path) -> list[str]:
    """Compare the public names of both clients; return what is wrong."""
    groups = yaml.safe_load((PARTS / "differences.yaml").read_text("utf-8"))
    names = [entry for group in groups for entry in group.get("names", ())]
    expressions = [entry for group in groups for entry in group.get("expressions", ())]
    describing = (
        run(client, PARTS / "describe.py", *expressions, check=True) for client in (stock, ROOT)
    )
    theirs, ours = (json.loads(described.stdout) for described in describing)
    found, entries = list(differences(theirs, ours)), [*names, *expressions]
    print(f"{len(theirs)} public names and results of the stock client")
    print(f"{len(found)} differences, {len(entries)} entries in the reviewed list")
    return judge(found, entries)


def compare_scripts(stock: Path) -> Iterator[str]:
    """Run each script on both clients; yield where the outcomes differ."""
    for script in sorted((PARTS / "scripts").glob("*.py")):
        theirs, ours = outcome(script, stock), outcome(script, ROOT)
        print(f"{script.name}: {len(theirs)} lines of outcome")
        if theirs[-1] != "exit code 0":
            yield f"{script.name} does not run on the stock client"
        yield from difflib.unified_diff(
            theirs, ours, f"{script.name}, stock", f"{script.name}, here", n=1, lineterm=""
        )


def outcome(script: Path, client: Path) -> list[str]:
    """Run a script on a client: what it prints, what the server receives, how it ends.

    Ids differ from run to run, so they are replaced.
    """
    with LocalServer() as server:
        done = run(client, script, server.url, stderr=subprocess.PIPE, check=False)
        requests = [received(request) for request in server.requests]
    ending = f"exit code {done.returncode}"
    lines = [*done.stdout.splitlines(), *requests, *done.stderr.splitlines(), ending]
    return [_ID.sub("<id>", line) for line in lines]


def received(request: RecordedRequest) -> str:
    """Describe a request in a line: method, path, query, the caller's headers, body."""
    headers = {name: request.headers.get(name) for name in COMPARED_HEADERS}
    body = json.dumps(json.loads(request.body or "null"), sort_keys=True)
    return f"{request.method} {request.path} {request.query} {headers} {body}"


def run(client: Path, program: Path, *arguments: str, **options: Any) -> Any:
    """Run a program with a client first on the import path; return how it ended."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(client)}
    command = [sys.executable, "-W", "error", str(program), *arguments]
    return subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, text=True, timeout=300, **options
    )


def main() -> int:
    """Generate, compare, and print what is wrong; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="acp-dropin-") as folder:
        stock = Path(folder)
        generate_stock_client(stock)
        faults = [*compare_surfaces(stock), *compare_scripts(stock)]
    print(*faults, sep="\n", end="\n" if faults else "")
    print("NOT a drop-in replacement" if faults else "a drop-in replacement of the stock client")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
