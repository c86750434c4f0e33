"""How the local server says no, and how it writes JSON.

ACP 0.1 has one form of error body, a JSON string. Whatever cannot be done raises `Refusal` with a
status and that string, and only app.py turns it into a response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

__all__ = ["JsonResponse", "Refusal"]


class JsonResponse(Response):
    """A response whose body is a JSON value, written by pydantic as everything else here."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


class Refusal(Exception):
    def __init__(
        self, status: int, message: object, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
