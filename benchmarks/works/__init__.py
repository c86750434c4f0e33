"""What is measured, one module per kind of work; `WORKS` has all of it, in the report's order."""

from __future__ import annotations

from ..measure import Work
from . import batches, calls, codec, handles, imports, journals, memory, parser, streams

__all__ = ["WORKS"]

WORKS: dict[str, Work] = {
    work.name: work
    for module in (
        imports,
        calls,
        handles,
        codec,
        parser,
        streams,
        batches,
        journals,
        memory,
    )
    for work in module.WORKS
}
