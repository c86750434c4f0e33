"""The public names of the package, apart from operations and models, which the contract decides.

`make generate` writes `acp_client_v0_1/__init__.py` from this table. A new public name is one line
here. A new error class needs none: all classes in `__all__` of the modules of `ERRORS` are public.
"""

from __future__ import annotations

import ast
from itertools import chain
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
        "handles._options": ("RunOptions",),
        "handles.conversation": ("Conversation",),
        "handles.run": ("RunHandle",),
        "handles.events": ("RunEvent", "RunEvents"),
        "handles.interrupts": ("PendingInterrupt",),
        "handles.searching": ("iter_agents", "iter_runs", "iter_threads"),
    },
    "batches": {
        "batch": ("Batch", "BatchCounts", "BatchItem", "BatchOptions"),
    },
}

# The modules whose public classes are all errors.
ERRORS = ("exceptions", "handles.errors")

# The modules whose `__all__` says which further names of the package they define.
ROOMS = ("api", "models", *ERRORS)

# The rooms that are generated. They load nothing, so that the package takes their names from them.
GENERATED = {"api", "models"}

# Modules that are attributes of the package, as those above are, and define no name of it.
OTHERS = ("rest", "transport")


def template_properties() -> dict[str, Any]:
    """The table in the form that `templates/__init__package.mustache` reads."""
    groups = {**GROUPS, "errors": {module: _errors(module) for module in ERRORS}}
    named = {module: names for modules in GROUPS.values() for module, names in modules.items()}
    homes = {**named, **dict.fromkeys(ROOMS, "*")}
    return {
        "exportGroups": [
            {"group": group, "exports": [{"export": name} for name in chain(*modules.values())]}
            for group, modules in groups.items()
        ],
        "homes": [
            {"module": module, "names": " ".join(names), "imported": ", ".join(names)}
            for module, names in homes.items()
        ],
        "others": [{"module": module} for module in OTHERS],
        "submodules": [
            {"submodule": name}
            for name in sorted(
                {module.partition(".")[0] for module in (*homes, *OTHERS)} - GENERATED
            )
        ],
    }


def _errors(module: str) -> tuple[str, ...]:
    """The classes among the public names of a module, read without importing it."""
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text("utf-8"))
    return tuple(
        name
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AugAssign))
        and ast.unparse(node).startswith("__all__ ")
        for name in ast.literal_eval(node.value)
        if name[0].isupper()
    )
