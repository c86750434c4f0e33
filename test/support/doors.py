"""The doors of the client in tests: a transport for all clients of the process."""

from __future__ import annotations

from typing import Any


def use_urllib3() -> None:
    """Let each client that is made without a transport have a `Urllib3Transport`."""
    from acp_client_v0_1.rest import RESTClientObject
    from acp_client_v0_1.transport import Urllib3Transport

    real = RESTClientObject.__init__

    def init(self: Any, configuration: Any, transport: Any = None) -> None:
        real(self, configuration, transport or Urllib3Transport())

    RESTClientObject.__init__ = init  # type: ignore[method-assign]
