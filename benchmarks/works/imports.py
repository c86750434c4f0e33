"""Imports, each in a fresh interpreter: what a script needs, beside pydantic and urllib3 alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .. import peers
from ..measure import BY_HAND, OURS, STOCK, Budget, Contestants, Work, over, returned

NAMES = "RunsApi, Configuration, ApiClient, RunCreate"
PACKAGE = "import acp_client_v0_1 alone"
FIRST_CLIENT = "the same names and a first client"
MODEL_BY_HAND = "a model and a pool by hand"
STATEMENTS = {
    BY_HAND: "import pydantic, urllib3",
    OURS: f"from acp_client_v0_1 import {NAMES}",
    PACKAGE: "import acp_client_v0_1",
    FIRST_CLIENT: f"from acp_client_v0_1 import {NAMES}; ApiClient()",
    MODEL_BY_HAND: (
        "import pydantic, urllib3\nclass Run(pydantic.BaseModel): run_id: str\n"
        "urllib3.PoolManager()"
    ),
}
PEERS = {
    "httpx + pydantic": "import httpx, pydantic; pydantic.BaseModel",
    "openai": "from openai import OpenAI",
    "langgraph-sdk": "from langgraph_sdk import get_sync_client",
}
PROGRAM = "import time\nstart = time.process_time()\n{}\nprint(time.process_time() - start)"


@contextmanager
def make() -> Iterator[Contestants]:
    """Have each statement imported with bytecode, as of an installed package."""
    statements = dict(STATEMENTS)
    modules = {name: text.split()[1].rstrip(",") for name, text in PEERS.items()}
    statements |= {name: PEERS[name] for name, module in modules.items() if peers.find(module)}
    paths = [str(peers.ROOT)]
    if peers.stock() is not None:
        statements[STOCK] = f"from stock_acp_client import {NAMES}"
        paths.append(os.environ[peers.STOCK_FOLDER])
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {
            "PYTHONPYCACHEPREFIX": cache,
            "PYTHONPATH": os.pathsep.join(paths),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        yield {name: importing(text, environment) for name, text in statements.items()}


def importing(statement: str, environment: dict[str, str]) -> Callable[[], float]:
    """A job that gives the CPU seconds of a statement in an interpreter of its own."""
    command = [sys.executable, "-c", PROGRAM.format(statement)]

    def job() -> float:
        output = subprocess.run(command, env=environment, capture_output=True, check=True)
        return float(output.stdout)

    return job


WORKS = [
    Work(
        name="import",
        title=f"import of {NAMES}; by hand: import pydantic, urllib3",
        unit="ms",
        scale=1e3,
        rounds=15,
        make=make,
        sample=returned,
        budgets=(
            Budget(
                "names and a first client, over a model and a pool by hand",
                over(FIRST_CLIENT, MODEL_BY_HAND),
                1.20,
            ),
            Budget(
                "import acp_client_v0_1 alone",
                lambda samples: [seconds * 1e3 for seconds in samples[PACKAGE]],
                10,
                unit="ms",
            ),
        ),
    )
]
