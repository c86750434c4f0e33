"""The marks by which a run proves whose it is, and what a client has seen of them.

A server may mask, cut, convert or leave out whatever it shows, so an input that reads otherwise
proves nothing. Each create has a mark of its own in its metadata:

- The usual mark is the client token, 32 random hexadecimal digits.
- If the caller gives a client token, the mark stands beside it, under a key of its own. It is a
  digest of what is asked for, and 32 random digits. The digest includes the random digits, so equal
  inputs cannot be linked. Whoever compares two creates makes the digest again.

A run *shows* a mark if it has the same digits, in any case of letters. It shows *another* mark only
if it has something of the form of a mark. Otherwise the mark is *hidden*: left out, masked or cut.
A client token of the caller has no form, so it is compared exactly.

Invariants: no I/O and no clock. Threads may share all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_create import RunCreate

CLIENT_TOKEN_KEY = "acp-client-token"
"""The key of the run's metadata that holds the client token."""

CREATE_KEY = "acp-client-create"
"""The key of the run's metadata that holds the mark of a create with a caller's client token."""

# `testing.repeatable_tokens` makes the 32 hex digits of a client token from what it is ``about``.
digits_of: Callable[[object], str] | None = None

_HEX = "[0-9a-fA-F]{32}"
_FORMS = {CLIENT_TOKEN_KEY: re.compile(_HEX), CREATE_KEY: re.compile(f"{_HEX}-{_HEX}")}
# What a server shows in place of a secret. No caller can have a client token of these forms.
_MASK = re.compile(r"(?i)[\W_]*((redacted|masked|hidden|filtered|removed|x{3,})[\W_]*)?")


class Mark(NamedTuple):
    """A mark: its key in the metadata of the run, and its text."""

    key: str
    value: str
    # The client token of the caller that stands beside the mark, or "". It may have the same form.
    beside: str = ""

    @property
    def is_random(self) -> bool:
        """Whether the text has the form that only a client makes. If not, a caller has given it."""
        return bool(_FORMS[self.key].fullmatch(self.value))

    def shown_by(self, run: Run) -> bool | None:
        """Tell whether a run shows this mark, or shows another one. None if its mark is hidden."""
        metadata = run.creation.metadata or {}
        found = metadata.get(self.key)
        if found == self.value:
            return True
        if not self.is_random:
            return None if not isinstance(found, str) or is_mask(found) else False
        shown = {_mark_in(metadata, key) for key in _FORMS} - {"", self.beside.lower()}
        return self.value.lower() in shown or (False if shown else None)


def is_mask(text: str) -> bool:
    """Tell whether a server may show a text in place of a secret."""
    return bool(_MASK.fullmatch(text))


def _mark_in(metadata: dict[str, Any], key: str) -> str:
    """Return the text of a key in lower case if it has the form of a mark, or ""."""
    found = metadata.get(key)
    return found.lower() if isinstance(found, str) and _FORMS[key].fullmatch(found) else ""


def marks_of(creation: RunCreate) -> tuple[Mark, ...]:
    """Return the mark of a create, and after it the client token of its caller, if it has them."""
    token, own = client_token_of(creation), (creation.metadata or {}).get(CREATE_KEY)
    if not token:
        return ()
    given = Mark(CLIENT_TOKEN_KEY, token)
    return (Mark(CREATE_KEY, own, token), given) if isinstance(own, str) and own else (given,)


def client_token_of(creation: RunCreate) -> str:
    """Return the client token of a create, or ""."""
    token = (creation.metadata or {}).get(CLIENT_TOKEN_KEY)
    return token if isinstance(token, str) else ""


def by_key(*marks: Mark) -> dict[str, str]:
    """Return marks as they stand in metadata."""
    return {mark.key: mark.value for mark in marks}


def with_marks(metadata: Mapping[str, Any], marks: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata of a create with its marks. The metadata may be of another run."""
    marked = {**metadata, **marks}
    if CREATE_KEY not in marks:
        marked.pop(CREATE_KEY, None)
    return marked


def new_client_token(about: object = None) -> str:
    """Return a client token that no other run has: the hex digits of a random UUID.

    The UUID is of version 4 (RFC 9562, section 5.4). `uuid.uuid4` is not used, because it
    would make a create one per cent slower. ``about`` is the create that the token is for.
    """
    digits = os.urandom(16).hex() if digits_of is None else digits_of(about)
    return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"


def marker(creation: RunCreate) -> Callable[[str, str | None], str]:
    """Return a function for the marks of a create that has a caller's client token.

    It makes a mark from random digits and the thread. The input may be long and the marks many, so
    the input is written once.
    """
    values = [creation.input or {}, creation.config or {}, creation.model_extra or {}]
    written, token = _json(_plain(values))[1:], client_token_of(creation)

    def mark_beside(random: str, thread_id: str | None) -> str:
        text = f"{_json([random, token, thread_id])[:-1]},{written}"
        return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}-{random}"

    return mark_beside


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Return a JSON value with its whole floats as integers, since servers write 5.0 as 5."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return list(map(_plain, cast("list[object]", value)))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def comparison(creation: RunCreate, habits: Habits) -> Callable[[Run], str]:
    """Return a function that compares the digest in a run's mark with a create.

    It returns "same" if the run was made for the same request, "thread" if it was made for the same
    request on another thread of ACP, "other" if for another one, and "" if that is not known.
    """
    mark_beside = marker(creation)

    def compare(run: Run) -> str:
        metadata, known = run.creation.metadata or {}, by_key(*habits.marks_of(run.run_id))
        found = _mark_in(metadata, CREATE_KEY) or known.get(CREATE_KEY)
        if not found:
            return ""
        random = found.partition("-")[2]
        if found == mark_beside(random, creation.thread_id):
            return "same"
        threads = (run.thread_id, run.creation.thread_id, None)
        elsewhere = any(found == mark_beside(random, thread) for thread in threads)
        return "thread" if elsewhere else "other"

    return compare


class Habits:
    """What a client has seen of how its server treats marks. All calls of a client share it."""

    def __init__(self) -> None:
        # Facts about the runs of an agent, and some about a key of the metadata. The server
        # - ("shows", agent, key, action): has shown some mark with this key in this action. A
        #   caller's client token counts for no key: it may be shorter than what the server cuts;
        # - ("compares", agent, key): finds no run by a mark that no run has, so it compares marks;
        # - ("ignores", agent, key): finds runs by such a mark, so it ignores marks;
        # - ("rewrites", agent): shows an input or a config in another way than it got it;
        # - ("one mark", agent): refuses a create with two marks.
        self.facts: set[tuple[str, ...]] = set()
        # The ids that the last creates were given, with the marks of each. To append is one step,
        # and so is to copy, so there is no lock.
        self.made: deque[tuple[str, tuple[Mark, ...]]] = deque(maxlen=1000)
        # For each agent and key, the mark of a run that the server has given to this client.
        self.given: dict[tuple[str, str], Mark] = {}

    def shows(self, mark: Mark, run: Run, agent_id: str, action: str) -> bool | None:
        """Tell whether a run shows a mark, or another one. None if its mark is hidden.

        If the server has shown marks in the same action before, a run without a mark is not hiding
        one. It is somebody else's.
        """
        shown = mark.shown_by(run)
        fact = ("shows", agent_id, mark.key if mark.is_random else "", action)
        if shown is not None:
            self.facts.add(fact)
        elif fact in self.facts and not (run.creation.metadata or {}).get(mark.key):
            return False
        return shown

    def has_kept(self, key: str, agent_id: str) -> bool:
        """Tell whether the server has shown a mark with this key after the response to a create.

        That response may repeat what the server does not keep.
        """
        return any(("shows", agent_id, key, action) in self.facts for action in ("look", "search"))

    def marks_of(self, run_id: str) -> tuple[Mark, ...]:
        """Return the marks of the last create that was given an id. Empty if there is none."""
        return dict(self.made.copy()).get(run_id, ())

    def made_for_another(self, run_id: str, mark: Mark | None, own: object = None) -> bool:
        """Tell whether a create with another mark was given an id. ``own`` is not counted."""
        others = [each for each in self.made.copy() if each[0] == run_id and each is not own]
        return any(mark not in marks for _, marks in others)
