# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunOutput."""

from typing import ClassVar

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1._schema.one_of import OneOf
from acp_client_v0_1.models.run_error import RunError
from acp_client_v0_1.models.run_interrupt import RunInterrupt
from acp_client_v0_1.models.run_result import RunResult


class RunOutput(
    OneOf[schema.Annotated[RunError | RunInterrupt | RunResult, schema.Field(discriminator="type")]]
):
    """The output of a run, a result, an interrupt or an error.

    Its ``actual_instance`` is the RunError or RunInterrupt or RunResult itself.
    """

    one_of_schemas: ClassVar[frozenset[str]] = frozenset({"RunError", "RunInterrupt", "RunResult"})
