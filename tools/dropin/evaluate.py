"""Prints the results of expressions on an openapi-generator client as JSON.

Runs in a process of its own, with the package first on the import path and the expressions as
arguments; they can use the public names of the package.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

PACKAGE = "acp_client_v0_1"


def outcome(expression: str, names: dict[str, Any]) -> str:
    """The result of an expression; of an error only that there is one, as the classes differ."""
    try:
        return repr(eval(expression, dict(names)))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return "an error"


if __name__ == "__main__":
    package = importlib.import_module(PACKAGE)
    public = {name: getattr(package, name) for name in package.__all__}
    json.dump([outcome(expression, public) for expression in sys.argv[1:]], sys.stdout)
