"""Breaking the calls of a thread from another one.

A call that waits for its response can only be woken by its socket. So a thread that is to be woken
says so (`Interruptible`), and each attempt of its calls is known from then on.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from typing_extensions import Self

from acp_client_v0_1._http.attempt import watching
from acp_client_v0_1._http.tls import innermost

if TYPE_CHECKING:
    from types import TracebackType

    from acp_client_v0_1._http.attempt import Attempt

__all__ = ["Interruptible"]


class Interruptible:
    """The calls of one thread, in a ``with`` of that thread.

    Attributes:
        attempt: The last attempt of these calls; it has a connection as long as it lasts.
    """

    def __init__(self) -> None:
        self.attempt: Attempt | None = None

    def interrupt(self) -> None:
        """Let the call that is under way fail, as if its server had closed the connection.

        A call that is still connecting goes on, within its timeout for that. At the very end of a
        call, the connection may be idle already, or that of another call, which fails instead.
        """
        connection = None if self.attempt is None else self.attempt.connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with contextlib.suppress(OSError, TypeError):
                # ssl's own method would disturb a reader.
                socket.socket.shutdown(innermost(sock), socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        watching.calls = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        watching.calls = None
