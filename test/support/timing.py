"""Short times for agents, runs and batches, by the one value that they all come from."""

from __future__ import annotations

from typing import Any, Protocol


class SetTiming(Protocol):
    """Change some durations of `acp_client_v0_1.handles._timing` until the test ends."""

    def __call__(self, **changes: Any) -> None: ...
