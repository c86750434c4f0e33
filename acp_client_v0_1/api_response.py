"""What the ``…_with_http_info`` variants of the operations return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["ApiResponse"]

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse(Generic[T_co]):
    """A response with its HTTP status and headers.

    Attributes:
        status_code: The HTTP status.
        headers: The headers of the response, names in any case; None if they are not known.
        data: What the plain method returns.
        raw_data: The content as bytes, content coding undone; empty for a stream, which is read
            through ``data``.
    """

    status_code: int
    headers: Mapping[str, str] | None = None
    data: T_co
    raw_data: bytes
