"""Short times for agents, runs and batches, by the one value that they all come from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import pytest


class SetTiming(Protocol):
    """Change some durations of `acp_client_v0_1.handles._timing` until the test ends."""

    def __call__(self, **changes: Any) -> None: ...


@contextmanager
def using(**changes: Any) -> Iterator[None]:
    """Change some of the durations, or the clock, inside the ``with``, for all threads."""
    from acp_client_v0_1.handles import _timing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_timing, "_in_use", replace(_timing.timing(), **changes))
        yield
