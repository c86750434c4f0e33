"""Wall time of imports in fresh interpreters: what a script needs, beside pydantic and urllib3.

Run it with ``python benchmarks/bench_import.py``; it ends with 1 if the budget is missed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from _timing import Table

ROUNDS = 15
BUDGET = 30.0  # milliseconds more than the two libraries alone
PROGRAM = """
import time
start = time.perf_counter()
{statement}
print((time.perf_counter() - start) * 1000)
"""


def milliseconds(statements: dict[str, str]) -> dict[str, float]:
    """Run each statement in turns, each time in an interpreter of its own; the best of each."""
    best = dict.fromkeys(statements, float("inf"))
    with tempfile.TemporaryDirectory() as cache:
        # With bytecode, as an installed package has it: the first round writes it.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(ROUNDS):
            for name, statement in statements.items():
                command = [sys.executable, "-c", PROGRAM.format(statement=statement)]
                run = subprocess.run(command, env=environment, capture_output=True, check=True)
                best[name] = min(best[name], float(run.stdout))
    return best


def main() -> int:
    """Measure and print; 1 if the budget is missed."""
    took = milliseconds(
        {
            "libraries": "import pydantic, urllib3; pydantic.BaseModel",
            "package": "import acp_client_v0_1",
            "names": "from acp_client_v0_1 import RunsApi, Configuration, ApiClient, RunCreate",
        }
    )
    table = Table("imports, milliseconds")
    table.figure("import pydantic, urllib3", f"{took['libraries']:.1f}")
    table.figure("import acp_client_v0_1", f"{took['package']:.1f}")
    more = took["names"] - took["libraries"]
    table.at_most(
        "RunsApi, Configuration, ApiClient, RunCreate, beyond the libraries", more, BUDGET
    )
    table.show()
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
