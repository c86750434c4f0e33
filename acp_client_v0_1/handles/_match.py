"""Compares what a server returned with what was asked, before anything is believed.

A response, a search, a page or a journal may name somebody else's run: a cache or a proxy mixes up
responses, a client token was used before, or a server uses the id of a run that it has forgotten.

Strategy: a run proves itself by its marks (`_marks`). Where a server hides them, the rest is
compared. A server may return less than it got, or write it in another way. So two values differ
only if both are known, and no server would write the one for the other:

- *Ids* may have other letters (upper or lower case), and a UUID may lack its dashes. An empty id,
  or a UUID of zeros, is not known.
- *The agent* and *the thread* may be addressed by a name, and a run may carry the id, or the other
  way round. A run has two ids of each, its own and the one of its create. One that is equal is
  enough, and a UUID cannot be compared with a name.
- *Input and config* may have keys, nulls and defaults that the server adds. An input that the
  server returns as empty, or not at all, is not known. Many servers write an input in their own
  way: they leave out keys, or convert texts and large numbers.

The other fields of a create are not compared: servers change them. Many name threads of their own.

Invariants: no I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from acp_client_v0_1._text import short, warn_caller
from acp_client_v0_1.exceptions import ApiValueError
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY, Mark, client_token_of, comparison

if TYPE_CHECKING:
    from acp_client_v0_1.handles._marks import Habits
    from acp_client_v0_1.models import Run, RunCreate

_UUID = re.compile("[0-9a-f]{32}")
# The versions of a UUID that no server gives twice (RFC 9562). An id without such a version is
# unique if it has at least this many letters and digits.
_UNIQUE_VERSIONS = "14678"
_UNIQUE_LENGTH = 16


def plain_id(identifier: str) -> str:
    """Return an id in the form in which ids are compared. An unknown id becomes empty."""
    text = identifier.lower()
    digits = text.replace("-", "")
    if not _UUID.fullmatch(digits):
        return text
    return digits if digits.strip("0") else ""


def same_id(asked: str, named: str) -> bool:
    """Tell whether ``named`` is the id of what was asked for, or is not known."""
    return plain_id(named) in ("", plain_id(asked))


def may_repeat(run_id: str) -> bool:
    """Tell whether a server may give an id again, because it counts its runs."""
    digits = run_id.lower().replace("-", "")
    if _UUID.fullmatch(digits):
        return digits[12] not in _UNIQUE_VERSIONS
    return sum(map(str.isalnum, run_id)) < _UNIQUE_LENGTH


def same_alias(asked: str, *named: str | None) -> bool:
    """Tell whether ``named`` may be the ids of what was asked for by an id, or by a name.

    One that is equal is enough. A UUID cannot be compared with a name.
    """
    ours, known = plain_id(asked), {plain_id(each) for each in named if each} - {""}
    has_uuid = any(map(_UUID.fullmatch, known))
    return not known or ours in known or has_uuid is not bool(_UUID.fullmatch(ours))


def is_of(run: Run, agent_id: str | None) -> bool:
    """Tell whether a run may be of an agent. None matches every run."""
    # The comparison of the texts is quick.
    same = agent_id in (None, run.agent_id)
    return same or same_alias(agent_id or "", run.agent_id, run.creation.agent_id)


def is_on(run: Run, thread_id: str) -> bool:
    """Tell whether a run may be on a thread of ACP. The thread of its create counts, too."""
    return same_alias(thread_id, run.thread_id, run.creation.thread_id)


def other_values(run: Run, asked: RunCreate) -> str:
    """Name what a run shows in another way than it was asked for: input, config, or both."""
    made = run.creation
    values = {"input": (made.input, asked.input), "config": (made.config, asked.config)}
    other = (name for name, (found, wanted) in values.items() if found and not _has(found, wanted))
    return " and ".join(other)


def asked_for(found: list[Run], asked: RunCreate, habits: Habits) -> list[Run]:
    """Of the runs with a caller's client token, return those that were asked for, oldest first.

    The digest in a run's mark decides. A run without a digest was made by an older client, or its
    server hides it. Then input and config are compared. If there are only runs that were asked for
    with another input or config, raise `ApiValueError`. A run on another thread is another run.

    If the server does not return what a run was created with, or hides its client token, the run is
    used, with a warning.
    """
    compare = comparison(asked, habits)
    judged = [(run, compare(run)) for run in found]
    if same := [run for run, how in judged if how == "same"]:
        return same
    fits = [run for run, how in judged if not how and not other_values(run, asked)]
    mark = Mark(CLIENT_TOKEN_KEY, client_token_of(asked))
    if fits:
        _warn_of_unknown(fits[0], asked, mark)
    elif others := [run for run, how in judged if how != "thread"]:
        run_id = short(others[0].run_id)
        other = other_values(others[0], asked) or "input, config or thread"
        if mark.shown_by(others[0]) is None:
            other += ", or its server shows them in another way"
        raise ApiValueError(
            f"the client token is of run {run_id}, which was created with another {other}",
            hint=f"use another client_token, or RunHandle({run_id!r}, client)",
        )
    return fits


def _warn_of_unknown(run: Run, asked: RunCreate, mark: Mark) -> None:
    made, unknown = run.creation, ""
    if mark.shown_by(run) is None:
        unknown = "show it"
    elif (asked.input and not made.input) or (asked.config and not made.config):
        unknown = "return what it was created with"
    if unknown:
        found = f"run {short(run.run_id)} was found by its client token, and the server does not"
        warn_caller(f"{found} {unknown}: the run is used as it is")


def _has(found: Any, wanted: Any) -> bool:
    """Tell whether ``found`` contains ``wanted``. A server may add keys and nulls of its own."""
    if isinstance(wanted, dict):
        members = cast("dict[str, Any]", found if isinstance(found, dict) else {})
        parts = cast("dict[str, Any]", wanted)
        return all(map(_has, map(members.get, parts), parts.values()))
    if isinstance(wanted, list) and isinstance(found, list):
        values, items = cast("list[object]", found), cast("list[object]", wanted)
        return len(values) == len(items) and all(map(_has, values, items))
    # Python takes 1 and True for the same.
    same_kind = isinstance(found, bool) == isinstance(wanted, bool)
    return wanted is None or (same_kind and found == wanted)
