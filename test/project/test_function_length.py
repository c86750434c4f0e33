"""No function is too long to be taken in at a glance, from its signature to its last line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("acp_client_v0_1", "benchmarks", "examples", "fuzz", "tools")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LONGEST = 60  # lines

# Signatures of one keyword a line, which a hover shows; what follows them counts here.
LONG_SIGNATURES = {
    "acp_client_v0_1/configuration/__init__.py": ("__init__",),
    "acp_client_v0_1/handles/agent.py": ("start", "run", "map"),
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_long(module: Path) -> None:
    exempt = LONG_SIGNATURES.get(str(module.relative_to(ROOT)), ())
    lengths = []
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            first = node.body[0] if node.name in exempt else node
            lengths.append((node.end_lineno - first.lineno + 1, node.name))
    assert [length for length in lengths if length[0] > LONGEST] == []
