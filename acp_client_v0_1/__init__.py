# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.

"""Run AI agents on any server that speaks the Agent Connect Protocol (ACP) 0.1.

A synchronous client: find an agent, run it, answer its questions, follow its events, search.

    from acp_client_v0_1 import AgentHandle, ApiClient, Configuration

    with ApiClient(Configuration.from_env()) as client:  # the server of ACP_HOST
        counter = AgentHandle.find("counter", api_client=client)
        print(counter.run({"count": 3}, timeout=60))

- ``AgentHandle`` starts runs, and maps many inputs to a ``Batch``. ``RunHandle`` is one run: its
  result, its ``RunEvents``, its questions (``PendingInterrupt``). ``Conversation`` is a thread.
- ``iter_agents``, ``iter_runs`` and ``iter_threads`` search.
- ``Configuration`` says where to and how; ``ApiClient`` sends. ``instrument`` traces.
- ``RunsApi``, ``AgentsApi`` and ``ThreadsApi`` have a method for each operation of the protocol.
- A call that fails raises an ``ApiException``, such as ``RunFailed`` or ``RunWaitTimeout``.

``help(acp_client_v0_1.AgentHandle)`` describes a class, ``help(acp_client_v0_1.AgentHandle.run)``
a method with an example, and ``dir(acp_client_v0_1)`` lists every name.

Each name loads its module when it is first used, so importing the package is almost free.
"""

from __future__ import annotations

from acp_client_v0_1 import api as api
from acp_client_v0_1 import models as models
from acp_client_v0_1._lazy import lazy_exports
from acp_client_v0_1._version import __version__

TYPE_CHECKING = False  # typing's own would take longer to import than all of this

__all__ = [
    "__version__",
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
    "RunOptions",
    "Conversation",
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
    "BatchOptions",
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
    "JournalDamaged",
    "JournalError",
    "JournalLocked",
    "JournalMismatch",
    "ResultMismatch",
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
]
__all__ += api.__all__
__all__ += models.__all__

if TYPE_CHECKING:
    from acp_client_v0_1 import api_client as api_client
    from acp_client_v0_1 import api_response as api_response
    from acp_client_v0_1 import batch as batch
    from acp_client_v0_1 import configuration as configuration
    from acp_client_v0_1 import exceptions as exceptions
    from acp_client_v0_1 import handles as handles
    from acp_client_v0_1 import rest as rest
    from acp_client_v0_1 import streaming as streaming
    from acp_client_v0_1 import telemetry as telemetry
    from acp_client_v0_1 import transport as transport
    from acp_client_v0_1 import waiting as waiting
    from acp_client_v0_1.api import *
    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.api_response import ApiResponse
    from acp_client_v0_1.batch import Batch, BatchCounts, BatchItem, BatchOptions
    from acp_client_v0_1.configuration import Configuration
    from acp_client_v0_1.exceptions import *
    from acp_client_v0_1.handles._options import RunOptions
    from acp_client_v0_1.handles.agent import AgentHandle
    from acp_client_v0_1.handles.conversation import Conversation
    from acp_client_v0_1.handles.errors import *
    from acp_client_v0_1.handles.events import RunEvent, RunEvents
    from acp_client_v0_1.handles.interrupts import PendingInterrupt
    from acp_client_v0_1.handles.run import RunHandle
    from acp_client_v0_1.handles.searching import iter_agents, iter_runs, iter_threads
    from acp_client_v0_1.models import *
    from acp_client_v0_1.streaming import EventStream, ServerSentEvent, SSEParser
    from acp_client_v0_1.telemetry import instrument
    from acp_client_v0_1.waiting import wait_for_run_output
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            ".api_client": "ApiClient",
            ".api_response": "ApiResponse",
            ".configuration": "Configuration",
            ".streaming": "EventStream ServerSentEvent SSEParser",
            ".telemetry": "instrument",
            ".waiting": "wait_for_run_output",
            ".handles.agent": "AgentHandle",
            ".handles._options": "RunOptions",
            ".handles.conversation": "Conversation",
            ".handles.run": "RunHandle",
            ".handles.events": "RunEvent RunEvents",
            ".handles.interrupts": "PendingInterrupt",
            ".handles.searching": "iter_agents iter_runs iter_threads",
            ".batch": "Batch BatchCounts BatchItem BatchOptions",
            ".api": "*",
            ".models": "*",
            ".exceptions": "*",
            ".handles.errors": "*",
            ".rest": "",
            ".transport": "",
        },
    )
