"""JSON answers, rendered alike for routes, refusals and faults."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

__all__ = ["JsonResponse"]


class JsonResponse(Response):
    """An answer whose body is a JSON value, written by pydantic as everything else here."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body's bytes."""
        return to_json(content)
