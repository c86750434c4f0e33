# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentCapabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.streaming_modes import StreamingModes

__all__ = ["AgentCapabilities"]


class AgentCapabilities(schema.Model):
    """Which parts of the protocol an agent supports."""

    threads: schema.StrictBool | None = schema.optional(
        "Whether the agent's runs can share a thread.", False
    )
    """Whether the agent's runs can share a thread."""
    interrupts: schema.StrictBool | None = schema.optional(
        "Whether the agent's runs can be interrupted and resumed.", False
    )
    """Whether the agent's runs can be interrupted and resumed."""
    callbacks: schema.StrictBool | None = schema.optional(
        "Whether changes of status are sent to a webhook.", False
    )
    """Whether changes of status are sent to a webhook."""
    streaming: StreamingModes | None = schema.optional(
        "The streaming modes that the agent supports."
    )
    """The streaming modes that the agent supports."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            threads: bool | None = False,
            interrupts: bool | None = False,
            callbacks: bool | None = False,
            streaming: StreamingModes | None = None,
        ) -> None: ...
