"""Names that load their module when they are first used (PEP 562).

``import acp_client_v0_1`` alone then costs almost nothing: pydantic and urllib3 are loaded by the
first name that needs them. A name, once loaded, is an ordinary attribute of its package.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # typing's own would take longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(
    package: str,
    exports: Mapping[str, str],
    submodules: tuple[str, ...] = (),
    rooms: tuple[str, ...] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: The ``__name__`` of the package.
        exports: For each name, the module that defines it.
        submodules: Names of submodules that are attributes of the package, as if it imported them.
        rooms: Submodules whose own ``__all__`` says which other names of the package they define.
    """

    def load(name: str) -> Any:
        if name in exports:
            value = getattr(import_module(exports[name]), name)
        elif name in submodules:
            value = import_module(f"{package}.{name}")
        elif name in sys.modules[package].__all__:
            loaded = (import_module(f"{package}.{room}") for room in rooms)
            value = getattr(next(room for room in loaded if name in room.__all__), name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*sys.modules[package].__all__, *submodules})

    return load, names
