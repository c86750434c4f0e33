"""From a seed to a scenario, its faults, and what is done to server and client meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from acp_client_v0_1.testing import Fault, Quirks

Kind = Literal["batch", "follow", "command"]
What = Literal["restart", "forget", "kill", "interrupt", "terminate"]

STORM = 2.0  # seconds from the first request until the faults are over
STREAM = ("GET", "/runs/*/stream")
PATHS = (
    (None, None),
    ("POST", "/runs"),
    ("POST", "/runs"),
    ("POST", "/runs/search"),
    ("GET", "/runs/*"),
    ("GET", "/runs/*/output"),
    STREAM,
)


@dataclass(frozen=True)
class Step:
    """Something that is done when so many requests have come."""

    after: int
    what: What
    seconds: float = 0.0  # that the server is away


@dataclass(frozen=True)
class Schedule:
    """All that a seed decides."""

    seed: int
    kind: Kind
    inputs: tuple[dict[str, Any], ...]
    options: dict[str, Any]
    quirks: Quirks
    faults: tuple[Fault, ...]
    steps: tuple[Step, ...]
    kill_at: tuple[int, ...] = ()  # of each life: the client kills itself at this item or event
    command: tuple[str, ...] = ()


_Make = Callable[[random.Random], dict[str, Any]]

FAULTS: dict[str, _Make] = {
    "reset": lambda dice: {"cut": "reset"},
    "closed": lambda dice: {"cut": "close"},
    "lost": lambda dice: {"cut": dice.choice(["close", "reset"]), "after_wire_bytes": 0},
    "head": lambda dice: {"cut": "close", "after_wire_bytes": dice.randint(1, 60)},
    "body": lambda dice: {"cut": "close", "after_body_bytes": dice.randint(0, 300)},
    "delayed": lambda dice: {"delay": dice.uniform(0.05, 0.4)},
    "dripping": lambda dice: {"drip": 0.001},
    "done": lambda dice: {"status": dice.choice([500, 502, 504, 520, 524]), "carried_out": True},
    "late": lambda dice: {"cut": "close", "late": dice.uniform(0.05, 0.4)},
    "gateway": lambda dice: {"status": 504, "late": dice.uniform(0.05, 0.4)},
    "garbage": lambda dice: {"raw": dice.choice([b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{"])},
    "event": lambda dice: {
        "cut": dice.choice(["close", "reset"]),
        "after_events": dice.randint(0, 4),
    },
    "early end": lambda dice: {"cut": "end", "after_events": dice.randint(0, 4)},
}


def schedule_of(seed: int) -> Schedule:
    """Draw all that a seed decides."""
    dice = random.Random(seed)
    kind: Kind = dice.choice(["batch", "batch", "follow", "command"])
    options: dict[str, Any] = {}
    command: tuple[str, ...] = ()
    if kind == "command":
        command = dice.choice([("batch",), ("batch",), ("run",), ("run", "--stream", "custom")])
    many = kind == "batch" or command == ("batch",)
    if many:
        options = {"concurrency": dice.randint(1, 6), "ordered": dice.random() < 0.3}
    numbers = range(dice.randint(3, 9) if many else 1)
    inputs = tuple(_input(dice, number, updates=not many) for number in numbers)
    return Schedule(
        seed=seed,
        kind=kind,
        inputs=inputs,
        options=options,
        quirks=_quirks(dice),
        faults=_faults(dice, kind, any("pad" in one for one in inputs)),
        steps=_steps(dice, kind, many),
        kill_at=tuple(dice.choice([0, 0, dice.randint(1, 5)]) for _ in range(3)),
        command=command,
    )


def _input(dice: random.Random, number: int, updates: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"n": number, "ms": dice.choice([0, 0, 5, 20, 60, 150])}
    if updates:
        made["updates"] = dice.randint(1, 12)
    if dice.random() < 0.2:
        made["fail"] = dice.choice([7, "timeout"])
    elif dice.random() < 0.2:
        made["pad"] = 30_000
    return made


def _quirks(dice: random.Random) -> Quirks:
    return Quirks(
        event_ids=dice.choice(["run", "run", "run", "connection", "none", "opaque"]),
        replay=dice.random() < 0.85,
        search_metadata=dice.choice(["matched", "matched", "ignored", "fails"]),
        search_order=dice.choice(["oldest", "newest"]),
        updated_at=dice.choice(["microseconds", "microseconds", "seconds"]),
    )


def _faults(dice: random.Random, kind: Kind, large: bool) -> tuple[Fault, ...]:
    drawn: list[Fault] = []
    for _ in range(dice.choice([0, 1, 2, 3, 4, 6])):
        name = dice.choice(list(FAULTS))
        method, path = dice.choice(PATHS)
        if kind == "follow" and dice.random() < 0.4:
            name = dice.choice(["event", "event", "early end", name])
            method, path = STREAM
        if name in ("event", "early end"):
            method, path = STREAM
        share, times = dice.choice([0.3, 0.6, 1.0]), dice.choice([1, 1, 2, 4])
        if name == "dripping" and large:
            continue  # a byte at a time would take it half a minute
        made = FAULTS[name](dice)
        drawn.append(Fault(method=method, path=path, share=share, times=times, **made))
    return tuple(drawn)


def _steps(dice: random.Random, kind: Kind, many: bool) -> tuple[Step, ...]:
    whats: list[What] = ["restart", "restart", "kill", "interrupt"]
    if many:
        whats.append("forget")
    if kind == "command":
        whats.append("terminate")
    number = dice.choice([0, 0, 1, 2, 3])
    after = sorted(dice.randint(1, 25 if many else 8) for _ in range(number))
    return tuple(Step(one, dice.choice(whats), dice.uniform(0.02, 0.3)) for one in after)
