"""The public names of the package, apart from operations and models, which the contract decides.

`make generate` writes `acp_client_v0_1/__init__.py` from this table. A new public name is one line
here. A new error class needs none: all classes in `__all__` of the modules of `ERRORS` are public.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent / "acp_client_v0_1"

# Group, as a comment in `__all__`: module inside the package: the names that it defines.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "the client": {
        "api_client": ("ApiClient",),
        "api_response": ("ApiResponse",),
        "configuration": ("Configuration",),
        "streaming": ("EventStream", "ServerSentEvent", "SSEParser"),
        "telemetry": ("instrument",),
        "waiting": ("wait_for_run_output",),
    },
    "agents and runs": {
        "handles.agent": ("AgentHandle",),
        "handles.run": ("RunHandle",),
        "handles.events": ("RunEvent", "RunEvents"),
        "handles.interrupts": ("PendingInterrupt",),
        "handles.searching": ("iter_agents", "iter_runs", "iter_threads"),
    },
    "batches": {
        "batch": ("Batch", "BatchCounts", "BatchItem"),
    },
}

# The modules whose public classes are all errors.
ERRORS = ("exceptions", "handles.errors")

# Modules that are attributes of the package without being imported.
SUBMODULES = (
    "api",
    "api_client",
    "api_response",
    "batch",
    "configuration",
    "exceptions",
    "handles",
    "models",
    "rest",
    "streaming",
    "telemetry",
    "waiting",
)


def template_properties() -> dict[str, Any]:
    """The table in the form that `templates/__init__package.mustache` reads."""
    groups = {**GROUPS, "errors": {module: _errors(module) for module in ERRORS}}
    exports = {
        group: [
            {"export": name, "module": module}
            for module, names in modules.items()
            for name in names
        ]
        for group, modules in groups.items()
    }
    return {
        "exportGroups": [{"group": group, "exports": some} for group, some in exports.items()],
        "lazyExports": [one for group in GROUPS for one in exports[group]],
        "rooms": [{"room": room} for room in ("api", "models", *ERRORS)],
        "submodules": [{"submodule": name} for name in SUBMODULES],
    }


def _errors(module: str) -> tuple[str, ...]:
    """The classes among the public names of a module, read without importing it."""
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text("utf-8"))
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return tuple(name for name in names if name[0].isupper())
