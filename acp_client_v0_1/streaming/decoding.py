"""From a server-sent event to the model that the contract declares for it.

Strategy: the payload's JSON goes into pydantic-core in one call. The other fields of the model come
from the parsed stream, so they are not validated again.

Invariant: the result equals what `model.from_json` returns for the same id, event and data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from acp_client_v0_1._schema import surrogates
from acp_client_v0_1.streaming.event import ServerSentEvent

__all__ = ["event_decoder"]

M = TypeVar("M", bound=BaseModel)

# These set the parts of an instance. BaseModel's own assignment would validate them.
_set_fields = BaseModel.__dict__["__dict__"].__set__
_set_fields_set = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


@cache
def event_decoder(model: type[M]) -> Callable[[ServerSentEvent], M | None]:
    """Make the function that decodes the events of a stream.

    Args:
        model: A model with the fields ``id``, ``event`` (a literal, the name of the events) and
            ``data``.

    Returns:
        A function that turns an event of that name, or without one, into the model, and any other
        event into ``None``. It raises ``pydantic.ValidationError``, a ``ValueError``, if the data
        is not JSON or does not fit.
    """
    (name,) = get_args(model.model_fields["event"].annotation)
    payload_type: Any = model.model_fields["data"].annotation
    adapter = TypeAdapter(payload_type)
    # A model is built when it is first used, and this is its first use.
    adapter.rebuild()
    # This is the method of pydantic-core. TypeAdapter's own method would add a call for each event.
    validate_json = adapter.validator.validate_json
    new = model.__new__

    def decode(event: ServerSentEvent) -> M | None:
        event_name, data, event_id = event
        if event_name != name and event_name != "message":
            return None
        try:
            payload = validate_json(data)
        except ValidationError as error:
            payload = surrogates.read_again(error, validate_json, data)
        # This is how pydantic-core builds an instance. `model_construct` takes twice the time.
        instance = new(model)
        _set_fields(instance, {"id": event_id, "event": name, "data": payload})
        _set_fields_set(instance, {"id", "event", "data"})
        _set_extra(instance, {})
        _set_private(instance, None)
        return instance

    return decode
