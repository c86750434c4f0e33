"""Many runs of one agent: `AgentHandle.map`, its journal, and other processes to do the work."""

from __future__ import annotations

from acp_client_v0_1.batch._batch import Batch
from acp_client_v0_1.batch._progress import BatchCounts
from acp_client_v0_1.batch._tasks import BatchItem
from acp_client_v0_1.handles.agent import BatchOptions

__all__ = ["Batch", "BatchCounts", "BatchItem", "BatchOptions"]
