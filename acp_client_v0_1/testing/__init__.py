"""A complete local ACP 0.1 server, to try things and for tests (extra `testing`).

    with LocalServer() as server:
        configuration = Configuration(host=server.url)

agents.py says what an agent is, faults.py what can go wrong. The shell command is
`python -m acp_client_v0_1.testing`. Nothing in the client imports this package.
"""

from __future__ import annotations

import sys as _sys

try:
    from acp_client_v0_1.testing.agents import *
    from acp_client_v0_1.testing.builtin import *
    from acp_client_v0_1.testing.context import AgentContext, RunCancelled
    from acp_client_v0_1.testing.faults import Fault, Faults, RecordedRequest
    from acp_client_v0_1.testing.quirks import Quirks
    from acp_client_v0_1.testing.server import LocalServer
    from acp_client_v0_1.testing.tokens import repeatable_tokens
    from acp_client_v0_1.testing.webhooks import WebhookDelivery
except ModuleNotFoundError as _error:
    _missing = (_error.name or "").partition(".")[0]
    # If a module of this package is missing, the extra would not bring it.
    if _missing not in ("", "acp_client_v0_1"):
        _install = "pip install 'acp-client-v0-1[testing]'"
        _error.msg = f"{__name__} needs {_missing}, which is not installed: {_install}"
        if _sys.argv[:1] == ["-m"]:
            # `python -m acp_client_v0_1.testing` imports this before its own module.
            _sys.stderr.write(f"{_error.msg}\n")
            raise SystemExit(2) from _error
    raise

__all__ = ["LocalServer"]
__all__ += ["AgentContext", "AgentDefinition", "AgentError", "AgentFunction", "Interrupt"]
__all__ += ["InterruptSpec", "JsonObject", "RunCancelled"]
__all__ += ["BUILTIN_AGENTS", "ECHO_AGENT_ID", "COUNTER_AGENT_ID", "APPROVAL_AGENT_ID"]
__all__ += ["FAILING_AGENT_ID", "SLOW_AGENT_ID"]
__all__ += ["Fault", "Faults", "Quirks", "RecordedRequest", "WebhookDelivery"]
__all__ += ["repeatable_tokens"]
