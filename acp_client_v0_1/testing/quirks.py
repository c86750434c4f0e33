"""How the local server departs from its defaults, as real servers were seen to do.

A quirk holds for the whole life of a server; what goes wrong with single responses is a Fault.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

__all__ = ["Quirks"]

_CHOICES = {
    "event_ids": ("run", "connection", "none", "opaque"),
    "search_metadata": ("matched", "ignored", "fails"),
    "search_order": ("oldest", "newest"),
    "updated_at": ("microseconds", "seconds"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Habits of a server; the defaults are those of a server without quirks.

    Args:
        event_ids: The ids of streamed events: "run" counts from 1 within the run, "connection"
            from 1 on each connection, "none" sends none, and "opaque" hex strings without order.
            `Last-Event-ID` is honoured with "run" and "opaque" only.
        replay: Whether a stream begins with the events that the client has not seen. If False,
            only the first connection to a run gets past events; a later one gets what happens
            after it was made, and `Last-Event-ID` is ignored.
        search_metadata: What searches do with `metadata`: "matched" filters by it, "ignored" does
            not, "fails" responds to such a search with status 500.
        search_order: Whether searches give the oldest or the newest record first.
        updated_at: Write the times of a run with "microseconds", or as whole "seconds".
        comments_after_end: Keep the stream of a run that is over open, sending only keep-alive
            comments, instead of ending it, or of responding 204.

    Raises:
        TypeError: `replay` or `comments_after_end` is not a bool.
        ValueError: Another field has a value that is not listed above.
    """

    event_ids: Literal["run", "connection", "none", "opaque"] = "run"
    replay: bool = True
    search_metadata: Literal["matched", "ignored", "fails"] = "matched"
    search_order: Literal["oldest", "newest"] = "oldest"
    updated_at: Literal["microseconds", "seconds"] = "microseconds"
    comments_after_end: bool = False

    def __post_init__(self) -> None:
        """Refuse a value that would silently do nothing."""
        for field in fields(self):
            value: object = getattr(self, field.name)
            choices = _CHOICES.get(field.name)
            if choices is None and not isinstance(value, bool):
                raise TypeError(f"{field.name}: must be a bool, not {type(value).__name__}")
            if choices is not None and value not in choices:
                raise ValueError(
                    f"{field.name}: must be one of {', '.join(choices)}, not {value!r}"
                )
