"""What tests use of inner modules that are no tables. A name that moves is followed here alone."""

from __future__ import annotations

from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1._errors import warn_caller
from acp_client_v0_1._http.retry import RetryCounter, RetryPolicy, failure_of
from acp_client_v0_1._http.slots import Inbox
from acp_client_v0_1.handles._wait import Contact, Wait
from acp_client_v0_1.handles.agent import _earlier_creates as earlier_creates

__all__ = [
    "Contact",
    "Inbox",
    "NothingYet",
    "RetryCounter",
    "RetryPolicy",
    "Wait",
    "earlier_creates",
    "failure_of",
    "warn_caller",
]
