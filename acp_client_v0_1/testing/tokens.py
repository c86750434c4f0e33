"""Client tokens that are the same each time, so that a recorded response fits its request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from unittest import mock

from pydantic_core import to_jsonable_python

from acp_client_v0_1.handles import _marks

__all__ = ["repeatable_tokens"]


@contextmanager
def repeatable_tokens() -> Generator[None, None, None]:
    """Make the client tokens of runs and batches the same each time this block runs.

    A token depends on what is asked for, and on how often the same was asked for in this block.
    So the order of threads does not matter. Without this, each run and each batch has a random
    token, and a recorded response to a create shows another one than was sent.

    This is for the whole process, and for tests only: a run of an earlier test has the same token.
    """
    counts: dict[str, count[int]] = {}

    def digits(about: object) -> str:
        text = json.dumps(to_jsonable_python(about, fallback=repr), sort_keys=True)
        number = next(counts.setdefault(text, count()))
        return hashlib.sha256(f"{number} {text}".encode()).hexdigest()[:32]

    with mock.patch.object(_marks, "digits_of", digits):
        yield
