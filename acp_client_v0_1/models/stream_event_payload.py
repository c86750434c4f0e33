# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model StreamEventPayload."""

from typing import ClassVar

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1._schema.one_of import OneOf
from acp_client_v0_1.models.custom_run_result_update import CustomRunResultUpdate
from acp_client_v0_1.models.run_result import RunResult


class StreamEventPayload(
    OneOf[schema.Annotated[CustomRunResultUpdate | RunResult, schema.Field(discriminator="type")]]
):
    """What an event of a stream carries, a result so far or a custom update.

    Its ``actual_instance`` is the CustomRunResultUpdate or RunResult itself.
    """

    one_of_schemas: ClassVar[frozenset[str]] = frozenset({"CustomRunResultUpdate", "RunResult"})
