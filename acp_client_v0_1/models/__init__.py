# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.

"""The models of the protocol, each loaded when it is first used."""

from __future__ import annotations

from acp_client_v0_1._lazy import lazy_exports, modules_of

TYPE_CHECKING = False  # typing's own would take longer to import than all of this

__all__ = [
    "Agent",
    "AgentACPDescriptor",
    "AgentACPSpec",
    "AgentACPSpecInterruptsInner",
    "AgentCapabilities",
    "AgentMetadata",
    "AgentRef",
    "AgentSearchRequest",
    "CustomRunResultUpdate",
    "Run",
    "RunCreate",
    "RunError",
    "RunInterrupt",
    "RunOutput",
    "RunOutputStream",
    "RunResult",
    "RunSearchRequest",
    "RunStatus",
    "StreamEventPayload",
    "StreamingMode",
    "StreamingModes",
    "Thread",
    "ThreadCreate",
    "ThreadSearchRequest",
]

if TYPE_CHECKING:
    from acp_client_v0_1.models.agent import Agent
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor
    from acp_client_v0_1.models.agent_acp_spec import AgentACPSpec
    from acp_client_v0_1.models.agent_acp_spec_interrupts_inner import AgentACPSpecInterruptsInner
    from acp_client_v0_1.models.agent_capabilities import AgentCapabilities
    from acp_client_v0_1.models.agent_metadata import AgentMetadata
    from acp_client_v0_1.models.agent_ref import AgentRef
    from acp_client_v0_1.models.agent_search_request import AgentSearchRequest
    from acp_client_v0_1.models.custom_run_result_update import CustomRunResultUpdate
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_create import RunCreate
    from acp_client_v0_1.models.run_error import RunError
    from acp_client_v0_1.models.run_interrupt import RunInterrupt
    from acp_client_v0_1.models.run_output import RunOutput
    from acp_client_v0_1.models.run_output_stream import RunOutputStream
    from acp_client_v0_1.models.run_result import RunResult
    from acp_client_v0_1.models.run_search_request import RunSearchRequest
    from acp_client_v0_1.models.run_status import RunStatus
    from acp_client_v0_1.models.stream_event_payload import StreamEventPayload
    from acp_client_v0_1.models.streaming_mode import StreamingMode
    from acp_client_v0_1.models.streaming_modes import StreamingModes
    from acp_client_v0_1.models.thread import Thread
    from acp_client_v0_1.models.thread_create import ThreadCreate
    from acp_client_v0_1.models.thread_search_request import ThreadSearchRequest
else:
    __getattr__, __dir__ = lazy_exports(__name__, modules_of(__all__))
