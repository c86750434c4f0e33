"""The private parts of the package that have tests of their own, each named in this file alone.

Whatever a user can see is tested by public names. If one of these parts moves, this file changes.
"""

# ruff: noqa: F401

from acp_client_v0_1._contract import OPERATIONS
from acp_client_v0_1._deadline import Deadline, NothingYet, Timeout, resolve_timeout
from acp_client_v0_1._http import (
    attempt,
    connection,
    dial,
    incoming,
    pool,
    renewal,
    slots,
    tls,
    tls_causes,
)
from acp_client_v0_1._http.attempt import PIECE, Attempt, Interruptible
from acp_client_v0_1._http.call import Call, redirected
from acp_client_v0_1._http.coding import Decoder, coding_of
from acp_client_v0_1._http.errors import LOWER_ERRORS, public_error
from acp_client_v0_1._http.headers import RequestAuth
from acp_client_v0_1._http.outgoing import RequestHeaders
from acp_client_v0_1._http.pool import Pool
from acp_client_v0_1._http.proxies import parse_proxy, proxy_for
from acp_client_v0_1._http.renewal import Renewal
from acp_client_v0_1._http.retry import (
    RetryCounter,
    backoff,
    failure_of,
    failure_of_status,
    limit_of,
    policy_of,
    poll_ran,
    retry_after,
)
from acp_client_v0_1._http.slots import Flag, Inbox, Slot, Slots
from acp_client_v0_1._http.tls_causes import ENDED, cause_of, words_of
from acp_client_v0_1._http.urls import Origin, parse_target
from acp_client_v0_1._schema import Model, OpenEnum
from acp_client_v0_1._schema.one_of import OneOf
from acp_client_v0_1._text import package_logger, warn_caller
from acp_client_v0_1.api.runs_api import _CREATE_RUN as CREATE_RUN
from acp_client_v0_1.handles._polls import Polls
from acp_client_v0_1.handles._rules import Decided, settled, undecided
from acp_client_v0_1.handles._wait import Contact, Wait
from acp_client_v0_1.handles.agent import _earlier_creates as earlier_creates
from acp_client_v0_1.testing._server.echo import echo_of, stored
from acp_client_v0_1.testing._server.store import _matches as matches
