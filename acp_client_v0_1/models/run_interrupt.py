# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunInterrupt."""

from typing import Literal

from acp_client_v0_1 import _schema as schema


class RunInterrupt(schema.Model):
    """A question of the agent, which waits for resume_run to answer it.

    Attributes:
        type: Tells an interrupt from the other outputs.
        interrupt: What the agent asks. The key `interrupt_type` names the type of interrupt.
    """

    type: Literal["interrupt"] = "interrupt"
    interrupt: schema.JsonObject
