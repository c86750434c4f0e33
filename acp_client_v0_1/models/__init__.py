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
    from acp_client_v0_1.models.agent import Agent as Agent
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor as AgentACPDescriptor
    from acp_client_v0_1.models.agent_acp_spec import AgentACPSpec as AgentACPSpec
    from acp_client_v0_1.models.agent_acp_spec_interrupts_inner import (
        AgentACPSpecInterruptsInner as AgentACPSpecInterruptsInner,
    )
    from acp_client_v0_1.models.agent_capabilities import AgentCapabilities as AgentCapabilities
    from acp_client_v0_1.models.agent_metadata import AgentMetadata as AgentMetadata
    from acp_client_v0_1.models.agent_ref import AgentRef as AgentRef
    from acp_client_v0_1.models.agent_search_request import AgentSearchRequest as AgentSearchRequest
    from acp_client_v0_1.models.custom_run_result_update import (
        CustomRunResultUpdate as CustomRunResultUpdate,
    )
    from acp_client_v0_1.models.run import Run as Run
    from acp_client_v0_1.models.run_create import RunCreate as RunCreate
    from acp_client_v0_1.models.run_error import RunError as RunError
    from acp_client_v0_1.models.run_interrupt import RunInterrupt as RunInterrupt
    from acp_client_v0_1.models.run_output import RunOutput as RunOutput
    from acp_client_v0_1.models.run_output_stream import RunOutputStream as RunOutputStream
    from acp_client_v0_1.models.run_result import RunResult as RunResult
    from acp_client_v0_1.models.run_search_request import RunSearchRequest as RunSearchRequest
    from acp_client_v0_1.models.run_status import RunStatus as RunStatus
    from acp_client_v0_1.models.stream_event_payload import StreamEventPayload as StreamEventPayload
    from acp_client_v0_1.models.streaming_mode import StreamingMode as StreamingMode
    from acp_client_v0_1.models.streaming_modes import StreamingModes as StreamingModes
    from acp_client_v0_1.models.thread import Thread as Thread
    from acp_client_v0_1.models.thread_create import ThreadCreate as ThreadCreate
    from acp_client_v0_1.models.thread_search_request import (
        ThreadSearchRequest as ThreadSearchRequest,
    )
else:
    __getattr__, __dir__ = lazy_exports(__name__, modules_of(__all__))
