"""The characters of simulated servers: what they show, store and find, and who else uses them.

A character holds for a whole schedule, and each agent behind a gateway may have its own. What a run
shows, and how a search compares, are the `Quirks` of the local server, by the same code. So what
the simulation finds can be played again through sockets.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from support.parts import echo_of, matches, stored

from acp_client_v0_1 import RunCreate
from acp_client_v0_1.testing import Quirks

_ORDINARY, _COUNTS = Quirks(), Quirks(run_ids="counted")


@dataclass(frozen=True)
class Character:
    """The habits of a server, by default an ordinary one with ids that never come again."""

    quirks: Quirks = _ORDINARY
    lag: float = 0.0  # seconds until a search finds a new run
    rate: float = math.inf  # requests a second; a proxy responds 503 to the others
    # Others start runs before and during a call: without metadata, or with marks as ours.
    strangers: Literal["", "plain", "marked"] = ""
    # At this time, in seconds from the first request, the server restarts and forgets its runs.
    # Others are the first to start new ones.
    restart: float = math.inf
    # A create gets the response to another create, or one from a cache.
    mixes: Literal["", "swapped", "cached"] = ""

    @classmethod
    def drawn(cls, rng: random.Random) -> Character:
        ids = rng.choice(("random", "counted"))
        if rng.random() < 0.4:
            return cls(Quirks(run_ids=ids))
        shown = rng.choice((*("whole", "none") * 3, "masked", "masked tokens", "capitals", "cut"))
        quirks = Quirks(
            run_ids=ids,
            echo_metadata=shown,
            search_metadata=rng.choice((*("matched", "ignored") * 3, "any case", "words")),
            echo_input=rng.choice((*("whole",) * 4, "converted", "masked", "completed", "none")),
        )
        if rng.random() < 0.1:
            quirks = replace(quirks, echo_metadata="whole", stored_metadata="none")
        return cls(
            quirks,
            lag=rng.choice((0.0, 0.0, 0.4, 1.5)),
            rate=rng.choice((*(math.inf,) * 7, 5.0)),
            strangers=rng.choice(("", "plain", "marked")),
            restart=rng.choice((*(math.inf,) * 6, 0.5, 2.0, 20.0)),
            mixes=rng.choice((*("",) * 6, "swapped", "cached")),
        )

    @property
    def counts(self) -> bool:
        """Whether an id comes again after a restart."""
        return self.quirks.run_ids != "random"

    @property
    def stores(self) -> bool:
        """Whether metadata is stored."""
        return self.quirks.stored_metadata != "none"

    @property
    def shows(self) -> bool:
        """Whether a run shows its mark, in whatever case."""
        return self.stores and self.quirks.echo_metadata in ("whole", "capitals")

    @property
    def compares(self) -> bool:
        """Whether a search for a mark finds its run alone."""
        return self.stores and self.quirks.search_metadata != "ignored"

    @property
    def finds(self) -> bool:
        """Whether a search leads to a run that is there."""
        return self.compares or self.shows

    @property
    def proves(self) -> bool:
        """Whether a search shows that there is no run. A run without metadata may hide its mark."""
        alone = not (self.strangers or self.mixes) and self.restart == math.inf
        return self.compares or self.marks_others or (self.shows and alone)

    @property
    def marks_others(self) -> bool:
        """Whether the runs of others show other marks."""
        return self.shows and self.strangers == "marked"

    @property
    def tells_apart(self) -> bool:
        """Whether the record of a run shows that it is not of an input."""
        return self.marks_others or self.quirks.echo_input in ("whole", "completed")

    def shown(self, creation: RunCreate) -> RunCreate:
        """Return what a run shows of its create."""
        if self.quirks == _ORDINARY or self.quirks == _COUNTS:
            return creation
        sent = creation.to_dict()
        return RunCreate(**echo_of(stored(sent, self.quirks), self.quirks))

    def finds_by(self, creation: RunCreate, wanted: dict[str, Any] | None) -> bool:
        """Tell whether a search for some metadata finds a run."""
        how = self.quirks.search_metadata
        if not wanted or how == "ignored":
            return True
        kept = stored({"metadata": creation.metadata or {}}, self.quirks).get("metadata", {})
        return matches(kept, wanted, how)

    def __str__(self) -> str:
        """Return the fields that are not the usual ones."""
        usual, words = Character(), list[str]()
        for mine, theirs in ((self.quirks, usual.quirks), (self, usual)):
            values = {field.name: getattr(mine, field.name) for field in fields(mine)}
            values.pop("quirks", None)
            other = (f"{n}={v!r}" for n, v in values.items() if v != getattr(theirs, n))
            words.extend(other)
        return ", ".join(words) or "usual habits"
