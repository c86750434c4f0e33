"""Names that load their module when they are first used (PEP 562).

``import acp_client_v0_1`` alone then costs almost nothing: pydantic and urllib3 are loaded by the
first name that needs them. A name, once loaded, is an ordinary attribute of its package.

Invariant: a package is imported before a module in it. Before Python 3.15, two threads that import
them at the same time each wait for what the other has begun, and one gets a half-loaded module.
"""

from __future__ import annotations

import sys
from importlib import import_module

# typing's own constant would take longer to import than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType
    from typing import Any


def lazy_exports(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the functions ``__getattr__`` and ``__dir__`` of a package.

    ``homes`` maps relative module names to the names that each defines, separated by spaces, or to
    ``*`` for its ``__all__``. Submodules are attributes of the package, too.
    """
    submodules = {home.split(".")[1] for home in homes} - {""}

    def imported(home: str) -> ModuleType:
        import_module(home.rpartition(".")[0] or ".", package)
        return import_module(home, package)

    def home_of(name: str) -> ModuleType:
        for home, names in homes.items():
            if name in names.split():
                return imported(home)
        rooms = (imported(home) for home, names in homes.items() if names == "*")
        return next(room for room in rooms if name in room.__all__)

    def load(name: str) -> Any:
        if name in submodules:
            value = imported(f".{name}")
        elif name in sys.modules[package].__all__:
            value = getattr(home_of(name), name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*sys.modules[package].__all__, *submodules})

    return load, listed


def modules_of(classes: Iterable[str]) -> dict[str, str]:
    """Map relative module names to the one class in each, as the generator names its files."""
    return {f".{_snake(name)}": name for name in classes}


def _snake(name: str) -> str:
    # This does not use `re`, whose import would take longer than that of the package.
    words = name[0]
    for before, letter, after in zip(name, name[1:], f"{name[2:]} ", strict=False):
        begins = letter.isupper() and (before.islower() or after.islower())
        words += f"_{letter}" if begins else letter
    return words.lower()
