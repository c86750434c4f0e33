"""The one exception that turns into an error answer of the local server.

ACP 0.1 knows a single form of error body, a JSON string. Whatever cannot be done raises
`Refusal` with the status and that string; only app.py turns it into a response, so no other
module of the server knows HTTP's side of an error.
"""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):
    """A request that the server declines.

    Args:
        status: HTTP status code: 401, 404, 409 or 422.
        message: One line for the caller, the answer's JSON string.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
