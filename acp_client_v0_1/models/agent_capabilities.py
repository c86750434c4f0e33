# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentCapabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.streaming_modes import StreamingModes

__all__ = ["AgentCapabilities"]


class AgentCapabilities(schema.Model):
    """Which parts of the protocol an agent supports."""

    threads: Annotated[bool, schema.STRICT] | None = schema.Field(
        default=False, description="Whether the agent's runs can share a thread."
    )
    """Whether the agent's runs can share a thread."""
    interrupts: Annotated[bool, schema.STRICT] | None = schema.Field(
        default=False, description="Whether the agent's runs can be interrupted and resumed."
    )
    """Whether the agent's runs can be interrupted and resumed."""
    callbacks: Annotated[bool, schema.STRICT] | None = schema.Field(
        default=False, description="Whether changes of status are sent to a webhook."
    )
    """Whether changes of status are sent to a webhook."""
    streaming: StreamingModes | None = schema.Field(
        default=None, description="The streaming modes that the agent supports."
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
        ) -> None:
            """Which parts of the protocol an agent supports."""
