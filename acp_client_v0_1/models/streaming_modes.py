# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model StreamingModes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acp_client_v0_1 import _schema as schema

__all__ = ["StreamingModes"]


class StreamingModes(schema.Model):
    """The streaming modes that an agent supports."""

    result: schema.StrictBool | None = schema.optional("Whether the agent streams whole results.")
    """Whether the agent streams whole results."""
    custom: schema.StrictBool | None = schema.optional(
        "Whether the agent streams updates in its own schema."
    )
    """Whether the agent streams updates in its own schema."""

    if TYPE_CHECKING:

        def __init__(self, *, result: bool | None = None, custom: bool | None = None) -> None: ...
