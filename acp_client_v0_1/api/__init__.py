# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.

"""The operations of the protocol, one class a tag, each loaded when it is first used."""

from __future__ import annotations

from acp_client_v0_1._lazy import lazy_exports, modules_of

TYPE_CHECKING = False  # typing's own would take longer to import than all of this

__all__ = [
    "AgentsApi",
    "RunsApi",
    "ThreadsApi",
]

if TYPE_CHECKING:
    from acp_client_v0_1.api.agents_api import AgentsApi
    from acp_client_v0_1.api.runs_api import RunsApi
    from acp_client_v0_1.api.threads_api import ThreadsApi
else:
    __getattr__, __dir__ = lazy_exports(__name__, modules_of(__all__))
