# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentACPSpecInterruptsInner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acp_client_v0_1 import _schema as schema

__all__ = ["AgentACPSpecInterruptsInner"]


class AgentACPSpecInterruptsInner(schema.Model):
    """A type of interrupt that an agent can raise."""

    interrupt_type: schema.StrictStr = schema.required("The name of the type.")
    """The name of the type."""
    interrupt_payload: schema.JsonObject = schema.required(
        "The JSON Schema of what the agent asks."
    )
    """The JSON Schema of what the agent asks."""
    resume_payload: schema.JsonObject = schema.required(
        "The JSON Schema of the answer that a person gives, the body of resume_run."
    )
    """The JSON Schema of the answer that a person gives, the body of resume_run."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            interrupt_type: str,
            interrupt_payload: dict[str, Any],
            resume_payload: dict[str, Any],
        ) -> None: ...
