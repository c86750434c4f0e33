# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model ThreadCreate."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from acp_client_v0_1 import _schema as schema


class ThreadCreate(schema.Model):
    """What a new thread is made from.

    Attributes:
        agent_id: The ID of the agent that the thread is for.
        metadata: Keys and values to find the thread by.
    """

    agent_id: schema.Identifier
    metadata: schema.JsonObject | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            agent_id: str | UUID,
            metadata: dict[str, Any] | None = None,
            additional_properties: dict[str, Any] | None = None,
        ) -> None: ...
