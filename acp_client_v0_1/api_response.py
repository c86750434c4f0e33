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
        headers: The headers of the response. Their names are not case-sensitive.
        data: What the plain method returns.
        raw_data: The content as bytes, without content coding. It is empty if ``data`` is a stream.
    """

    status_code: int
    headers: Mapping[str, str] | None = None
    data: T_co
    raw_data: bytes
