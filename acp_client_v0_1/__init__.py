# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.

"""Run AI agents on any server that speaks the Agent Connect Protocol (ACP) 0.1.

A synchronous client: find an agent, create a run, wait for its output or stream it, answer its
interrupts, search and delete. ``ApiClient`` sends the operations of ``RunsApi``, ``AgentsApi`` and
``ThreadsApi``; ``Configuration`` says where to and how. A call that fails raises ``ApiException``.

Each name loads its module when it is first used, so importing the package is almost free.
"""

from __future__ import annotations

from acp_client_v0_1._lazy import lazy_exports
from acp_client_v0_1._version import __version__

TYPE_CHECKING = False  # typing's own would take longer to import than all of this

__all__ = [
    "__version__",
    # operations, one class a tag
    "AgentsApi",
    "RunsApi",
    "ThreadsApi",
    # the client
    "ApiClient",
    "ApiResponse",
    "Configuration",
    "EventStream",
    "ServerSentEvent",
    "SSEParser",
    "instrument",
    "wait_for_run_output",
    # agents and runs
    "AgentHandle",
    "RunHandle",
    "RunEvent",
    "RunEvents",
    "PendingInterrupt",
    "iter_agents",
    "iter_runs",
    "iter_threads",
    # batches
    "Batch",
    "BatchCounts",
    "BatchItem",
    # errors
    "ApiAttributeError",
    "ApiException",
    "ApiKeyError",
    "ApiTimeoutError",
    "ApiTypeError",
    "ApiValueError",
    "BadRequestException",
    "ConflictException",
    "ConnectionException",
    "EventTooLarge",
    "ForbiddenException",
    "JournalDamaged",
    "JournalError",
    "JournalLocked",
    "JournalMismatch",
    "NameResolutionException",
    "NotFoundException",
    "OpenApiException",
    "ProtocolException",
    "ProxyException",
    "ResponseDecodeError",
    "ResponseTooLarge",
    "ResponseValidationError",
    "RunWaitTimeout",
    "ServiceException",
    "StreamDecodeError",
    "StreamInterrupted",
    "TLSException",
    "TooManyRequestsException",
    "TransportException",
    "UnauthorizedException",
    "UnprocessableEntityException",
    "AgentLookupError",
    "InterruptLimit",
    "ResumeAmbiguous",
    "RunFailed",
    "RunGone",
    "RunInterrupted",
    "RunStartAmbiguous",
    "RunTimedOut",
    "SchemaMismatch",
    "SearchDrift",
    "StaleInterrupt",
    "StreamGap",
    "TokenError",
    # models
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
    from acp_client_v0_1 import api as api
    from acp_client_v0_1 import api_client as api_client
    from acp_client_v0_1 import api_response as api_response
    from acp_client_v0_1 import batch as batch
    from acp_client_v0_1 import configuration as configuration
    from acp_client_v0_1 import exceptions as exceptions
    from acp_client_v0_1 import handles as handles
    from acp_client_v0_1 import models as models
    from acp_client_v0_1 import rest as rest
    from acp_client_v0_1 import streaming as streaming
    from acp_client_v0_1 import telemetry as telemetry
    from acp_client_v0_1 import waiting as waiting
    from acp_client_v0_1.api.agents_api import AgentsApi as AgentsApi
    from acp_client_v0_1.api.runs_api import RunsApi as RunsApi
    from acp_client_v0_1.api.threads_api import ThreadsApi as ThreadsApi
    from acp_client_v0_1.api_client import ApiClient as ApiClient
    from acp_client_v0_1.api_response import ApiResponse as ApiResponse
    from acp_client_v0_1.batch import Batch as Batch
    from acp_client_v0_1.batch import BatchCounts as BatchCounts
    from acp_client_v0_1.batch import BatchItem as BatchItem
    from acp_client_v0_1.configuration import Configuration as Configuration
    from acp_client_v0_1.exceptions import ApiAttributeError as ApiAttributeError
    from acp_client_v0_1.exceptions import ApiException as ApiException
    from acp_client_v0_1.exceptions import ApiKeyError as ApiKeyError
    from acp_client_v0_1.exceptions import ApiTimeoutError as ApiTimeoutError
    from acp_client_v0_1.exceptions import ApiTypeError as ApiTypeError
    from acp_client_v0_1.exceptions import ApiValueError as ApiValueError
    from acp_client_v0_1.exceptions import BadRequestException as BadRequestException
    from acp_client_v0_1.exceptions import ConflictException as ConflictException
    from acp_client_v0_1.exceptions import ConnectionException as ConnectionException
    from acp_client_v0_1.exceptions import EventTooLarge as EventTooLarge
    from acp_client_v0_1.exceptions import ForbiddenException as ForbiddenException
    from acp_client_v0_1.exceptions import JournalDamaged as JournalDamaged
    from acp_client_v0_1.exceptions import JournalError as JournalError
    from acp_client_v0_1.exceptions import JournalLocked as JournalLocked
    from acp_client_v0_1.exceptions import JournalMismatch as JournalMismatch
    from acp_client_v0_1.exceptions import NameResolutionException as NameResolutionException
    from acp_client_v0_1.exceptions import NotFoundException as NotFoundException
    from acp_client_v0_1.exceptions import OpenApiException as OpenApiException
    from acp_client_v0_1.exceptions import ProtocolException as ProtocolException
    from acp_client_v0_1.exceptions import ProxyException as ProxyException
    from acp_client_v0_1.exceptions import ResponseDecodeError as ResponseDecodeError
    from acp_client_v0_1.exceptions import ResponseTooLarge as ResponseTooLarge
    from acp_client_v0_1.exceptions import ResponseValidationError as ResponseValidationError
    from acp_client_v0_1.exceptions import RunWaitTimeout as RunWaitTimeout
    from acp_client_v0_1.exceptions import ServiceException as ServiceException
    from acp_client_v0_1.exceptions import StreamDecodeError as StreamDecodeError
    from acp_client_v0_1.exceptions import StreamInterrupted as StreamInterrupted
    from acp_client_v0_1.exceptions import TLSException as TLSException
    from acp_client_v0_1.exceptions import TooManyRequestsException as TooManyRequestsException
    from acp_client_v0_1.exceptions import TransportException as TransportException
    from acp_client_v0_1.exceptions import UnauthorizedException as UnauthorizedException
    from acp_client_v0_1.exceptions import (
        UnprocessableEntityException as UnprocessableEntityException,
    )
    from acp_client_v0_1.handles.agent import AgentHandle as AgentHandle
    from acp_client_v0_1.handles.errors import AgentLookupError as AgentLookupError
    from acp_client_v0_1.handles.errors import InterruptLimit as InterruptLimit
    from acp_client_v0_1.handles.errors import ResumeAmbiguous as ResumeAmbiguous
    from acp_client_v0_1.handles.errors import RunFailed as RunFailed
    from acp_client_v0_1.handles.errors import RunGone as RunGone
    from acp_client_v0_1.handles.errors import RunInterrupted as RunInterrupted
    from acp_client_v0_1.handles.errors import RunStartAmbiguous as RunStartAmbiguous
    from acp_client_v0_1.handles.errors import RunTimedOut as RunTimedOut
    from acp_client_v0_1.handles.errors import SchemaMismatch as SchemaMismatch
    from acp_client_v0_1.handles.errors import SearchDrift as SearchDrift
    from acp_client_v0_1.handles.errors import StaleInterrupt as StaleInterrupt
    from acp_client_v0_1.handles.errors import StreamGap as StreamGap
    from acp_client_v0_1.handles.errors import TokenError as TokenError
    from acp_client_v0_1.handles.events import RunEvent as RunEvent
    from acp_client_v0_1.handles.events import RunEvents as RunEvents
    from acp_client_v0_1.handles.interrupts import PendingInterrupt as PendingInterrupt
    from acp_client_v0_1.handles.run import RunHandle as RunHandle
    from acp_client_v0_1.handles.searching import iter_agents as iter_agents
    from acp_client_v0_1.handles.searching import iter_runs as iter_runs
    from acp_client_v0_1.handles.searching import iter_threads as iter_threads
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
    from acp_client_v0_1.streaming import EventStream as EventStream
    from acp_client_v0_1.streaming import ServerSentEvent as ServerSentEvent
    from acp_client_v0_1.streaming import SSEParser as SSEParser
    from acp_client_v0_1.telemetry import instrument as instrument
    from acp_client_v0_1.waiting import wait_for_run_output as wait_for_run_output
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "ApiClient": "acp_client_v0_1.api_client",
            "ApiResponse": "acp_client_v0_1.api_response",
            "Configuration": "acp_client_v0_1.configuration",
            "EventStream": "acp_client_v0_1.streaming",
            "ServerSentEvent": "acp_client_v0_1.streaming",
            "SSEParser": "acp_client_v0_1.streaming",
            "instrument": "acp_client_v0_1.telemetry",
            "wait_for_run_output": "acp_client_v0_1.waiting",
            "AgentHandle": "acp_client_v0_1.handles.agent",
            "RunHandle": "acp_client_v0_1.handles.run",
            "RunEvent": "acp_client_v0_1.handles.events",
            "RunEvents": "acp_client_v0_1.handles.events",
            "PendingInterrupt": "acp_client_v0_1.handles.interrupts",
            "iter_agents": "acp_client_v0_1.handles.searching",
            "iter_runs": "acp_client_v0_1.handles.searching",
            "iter_threads": "acp_client_v0_1.handles.searching",
            "Batch": "acp_client_v0_1.batch",
            "BatchCounts": "acp_client_v0_1.batch",
            "BatchItem": "acp_client_v0_1.batch",
        },
        (
            "api",
            "api_client",
            "api_response",
            "batch",
            "configuration",
            "exceptions",
            "handles",
            "models",
            "rest",
            "streaming",
            "telemetry",
            "waiting",
        ),
        (
            "api",
            "models",
            "exceptions",
            "handles.errors",
        ),
    )
