"""Compares what a server returned with what was asked, before anything is believed.

A response, a search, a page or a journal may name somebody else's run: a cache or a proxy mixes up
responses, a client token was used before, or a server uses the id of a run that it has forgotten.

Strategy: a server may return less than it got, or write it in another way. So two values differ
only if both are known, and no server would write the one for the other:

- *Ids* may have other letters (upper or lower case), and a UUID may lack its dashes. An empty id,
  or a UUID of zeros, is not known.
- *The agent* and *the thread* may be addressed by a name, and a run may carry the id, or the other
  way round. A run has two ids of each, its own and the one of its create. One that is equal is
  enough, and a UUID cannot be compared with a name.
- *The client token* may have other letters, or be masked, or be missing. If the response to a
  create shows the client token, it is the response to this create.
- *Input and config* may have keys, nulls and defaults that the server adds. An input that the
  server returns as empty, or not at all, is not known. Many servers write an input in their own
  way: they leave out keys, or convert texts and large numbers. So these values count only where the
  client token does not show whose the run is.

The other fields of a create are not compared: servers change them. Many name threads of their own.

Invariants: no I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from acp_client_v0_1._text import short, warn_caller
from acp_client_v0_1.exceptions import ApiValueError, ResponseValidationError
from acp_client_v0_1.handles._token import client_token_of

if TYPE_CHECKING:
    from acp_client_v0_1.models import Run, RunCreate

_UUID = re.compile("[0-9a-f]{32}")
# A client token of one of these forms is masked.
_MASKED = re.compile(r".*([*•…<\[]|\.\.\.).*|(.)\2{2,}|redacted|masked|hidden", re.DOTALL)


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


def carries(run: Run, client_token: str) -> bool | None:
    """Tell whether a run carries a client token. Return None if the server does not show that."""
    found, token = client_token_of(run.creation).strip().lower(), client_token.strip().lower()
    return found == token or (None if not found or _MASKED.fullmatch(found) else False)


def check_mark(run: Run, client_token: str, *, shown: bool = False) -> None:
    """Raise an error if a run carries another client token. With ``shown``, it must carry this."""
    mark = carries(run, client_token) if client_token else True
    if mark is False or (shown and not mark):
        words = f"does not carry the client token {short(client_token)}: it may be somebody else's"
        reason = f"run {short(run.run_id)} {words}, and is left alone"
        raise ResponseValidationError(reason=reason, body=run.to_json())


def differences(run: Run, asked: RunCreate) -> list[str]:
    """Return in what a run differs from the run that was asked for. If in nothing, it is that run.

    The result has some of the names "agent_id", "client_token", "input" and "config". A run that
    shows the client token is that run, however its server writes the input.
    """
    token = client_token_of(asked)
    marked = carries(run, token) if token else None
    other = ["client_token"] if marked is False else []
    if not is_of(run, asked.agent_id):
        other.append("agent_id")
    return other if marked else other + _other_values(run, asked)


def _other_values(run: Run, asked: RunCreate) -> list[str]:
    made = run.creation
    values = {"input": (made.input, asked.input), "config": (made.config, asked.config)}
    return [name for name, (found, wanted) in values.items() if found and not _has(found, wanted)]


def asked_for(found: list[Run], asked: RunCreate) -> list[Run]:
    """Of the runs with a client token, return those that were asked for, oldest first.

    A client token is one agent's, so runs of other agents are left out. If this agent has such
    runs, and all of them were created with another input or config, raise `ApiValueError`. If the
    server does not return what a run was created with, the run is used, with a warning.
    """
    ours = [run for run in found if is_of(run, asked.agent_id)]
    fits = [run for run in ours if not _other_values(run, asked)]
    if ours and not fits:
        run_id, other = short(ours[0].run_id), " and ".join(_other_values(ours[0], asked))
        raise ApiValueError(
            f"the client token is of run {run_id}, which was created with another {other}",
            hint=f"use another client_token, or RunHandle({run_id!r}, client)",
        )
    made = fits[0].creation if fits else asked
    if (asked.input and not made.input) or (asked.config and not made.config):
        warn_caller(
            f"run {short(fits[0].run_id)} was found by its client token, and the server does not "
            "return what it was created with: the run is used as it is"
        )
    return fits


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
