"""The variants of an operation, declared by its method instead of three times.

A generated method reads nothing of its API object but `api_client.call`. So a variant is a copy of
its method that gets another `call`, and cannot differ from it in parameters or checks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ForwardRef, TypeVar, cast

from typing_extensions import ParamSpec

import acp_client_v0_1 as acp
from acp_client_v0_1.api_response import ApiResponse

if TYPE_CHECKING:
    from acp_client_v0_1.api_client import Api

P = ParamSpec("P")
T = TypeVar("T")


def with_http_info(
    method: Callable[P, T],
) -> Callable[[Callable[..., None]], Callable[P, ApiResponse[T]]]:
    """Declare the variant of ``method``, with its parameters, that returns an `ApiResponse`.

    The decorated function has no body; it gives the variant its name and docstring.
    """
    returns = cast(Any, ApiResponse)[cast(Any, method).__annotations__["return"]]
    return functools.partial(_variant, method, "call_with_http_info", returns)


def without_preload_content(
    method: Callable[P, object],
) -> Callable[[Callable[..., None]], Callable[P, acp.rest.RawResponse]]:
    """Declare the variant of ``method``, with its parameters, that returns the response unread.

    The decorated function has no body; it gives the variant its name and docstring.
    """
    returns = ForwardRef("acp.rest.RawResponse", module=__name__)
    return functools.partial(_variant, method, "call_without_preload_content", returns)


def _variant(method: Any, sender: str, returns: object, declared: Callable[..., None]) -> Any:
    # The copy has the variant's name, which `inspect`, a TypeError and a traceback show.
    code = method.__code__.replace(co_name=declared.__name__)
    copy: Any = FunctionType(code, method.__globals__, None, method.__defaults__)
    functools.update_wrapper(copy, declared)
    annotations = {**method.__annotations__, "return": returns}

    def annotate(format: object) -> dict[str, Any]:
        return annotations

    # Since CPython 3.14, a wrapper copies the function instead of the annotations.
    copy.__annotations__, copy.__annotate__ = annotations, annotate
    del copy.__wrapped__

    @functools.wraps(copy)
    def variant(self: Api, *args: Any, **kwargs: Any) -> Any:
        client = SimpleNamespace(call=getattr(self.api_client, sender))
        return copy(SimpleNamespace(api_client=client), *args, **kwargs)

    return variant
