"""The journal of a batch, beside the same facts in SQLite, in a process that is killed.

Both get the three facts of each input (starting, started, done), one at a time, as a batch has
them. The sync policy is the same: a fact has reached the operating system when the call returns, so
that it survives the process; with ``durable`` it has reached the disk. For SQLite that is one
transaction for each fact in WAL mode, with ``synchronous`` OFF or FULL.

The writer tells which inputs are done, and is killed (SIGKILL) while it writes. Then a fresh
process opens the file and reads the entry of each of these inputs, as a resumed batch does.
"""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from acp_client_v0_1.batch._journal import Entry, Header, Journal, json_digest
from acp_client_v0_1.batch._tasks import Task
from acp_client_v0_1.handles.errors import JournalError

from ..measure import OURS, Budget, Contestants, Samples, Work, returned
from ..peak import growth_mib
from ..samples import OUTPUT

SQLITE = "SQLite"
BOTH = (OURS, SQLITE)
CPU, WALL, SIZE = "CPU", "wall, µs per input", "bytes per input"
GROWTH = "growth of peak memory, MiB"
OPENING = "opening after the kill, µs of CPU per input"
READING = "reading an entry, µs of CPU"
GROWTH_OPEN = "growth of peak memory by opening, MiB"
LOST = "inputs lost by the kill"
FIGURES = (CPU, WALL, SIZE, GROWTH, OPENING, READING, GROWTH_OPEN, LOST)

MILLION = 1_000_000
DURABLE_INPUTS = 500
DAMAGED_INPUTS, DAMAGES = 100, 1_000
RESULT = OUTPUT["result"]


class Facts(Protocol):
    """A place for the facts of a batch."""

    def starting(self, task: Task) -> None: ...
    def started(self, task: Task) -> None: ...
    def ended(self, task: Task) -> None: ...
    def entry(self, index: int) -> Any: ...
    def close(self) -> None: ...


class Database:
    """The same facts in SQLite, as one writes them: a row for each input."""

    def __init__(self, path: Path, durable: bool) -> None:
        # Threads share it, and the lock of the module serializes them.
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS inputs (n INTEGER PRIMARY KEY, state TEXT NOT NULL, "
            "input TEXT NOT NULL, token TEXT NOT NULL, key TEXT NOT NULL, run TEXT, outcome TEXT)"
        )

    def starting(self, task: Task) -> None:
        """Note that the run of a task is about to be created."""
        self.db.execute(
            "INSERT INTO inputs VALUES (?, 'starting', ?, ?, ?, NULL, NULL)",
            (task.index, task.digest, task.client_token, task.key),
        )

    def started(self, task: Task) -> None:
        """Note the run of a task."""
        self.db.execute(
            "UPDATE inputs SET state = 'started', run = ? WHERE n = ?", (task.run_id, task.index)
        )

    def ended(self, task: Task) -> None:
        """Note the outcome of a task."""
        self.db.execute(
            "UPDATE inputs SET state = 'done', outcome = ? WHERE n = ?",
            (json.dumps(task.outcome, separators=(",", ":")), task.index),
        )

    def entry(self, index: int) -> Any:
        """Read the last state of an input."""
        row = self.db.execute("SELECT * FROM inputs WHERE n = ?", (index,)).fetchone()
        return None if row is None else (*row[:-1], row[-1] and json.loads(row[-1]))

    def close(self) -> None:
        """Close the file, into which the log is moved before."""
        self.db.close()


def opened(name: str, path: Path, durable: bool) -> Facts:
    """Open the journal or the database."""
    header = Header("agent", "http://127.0.0.1", json_digest({}), "batch")
    return Journal(path, header, durable) if name == OURS else Database(path, durable)


def task_of(index: int) -> Task:
    """A task that has ended, as far as its facts go."""
    known = f"{index:032x}"
    task = Task(index, str(index), None, client_token=known, digest=known)
    task.run_id, task.outcome = f"{known[:8]}-{known[8:12]}-{known[12:16]}-{known[16:]}", RESULT
    return task


def write(facts: Facts, index: int) -> None:
    """Write the facts of one input."""
    task = task_of(index)
    facts.starting(task)
    facts.started(task)
    facts.ended(task)


def write_all(facts: Facts, indexes: Iterable[int]) -> None:
    """Write the facts of some inputs."""
    for index in indexes:
        write(facts, index)


def write_here(name: str, path: Path, count: int, durable: bool) -> None:
    """Write the facts of some inputs, tell what it took, and go on until the process is killed."""
    facts = opened(name, path, durable)
    write(facts, 0)  # what is loaded and made for good
    cpu, wall = time.process_time(), time.perf_counter()
    growth = growth_mib(lambda: write_all(facts, range(1, count)))
    figures = {
        CPU: (time.process_time() - cpu) * 1e6 / count,
        WALL: (time.perf_counter() - wall) * 1e6 / count,
        SIZE: sum(file.stat().st_size for file in path.parent.iterdir()) / count,
        GROWTH: growth,
    }
    print(json.dumps(figures), flush=True)
    for index in itertools.count(count):
        write(facts, index)
        print(index, flush=True)


def read_here(name: str, path: Path, count: int) -> None:
    """Open what was left, read the entry of each input, and tell what it took."""
    cpu = time.process_time()
    kept: list[Facts] = []
    growth = growth_mib(lambda: kept.append(opened(name, path, durable=False)))
    opening = time.process_time() - cpu
    cpu = time.process_time()
    whole = sum(agrees(kept[0].entry(index), index) for index in range(count))
    figures = {
        OPENING: opening * 1e6 / count,
        READING: (time.process_time() - cpu) * 1e6 / count,
        GROWTH_OPEN: growth,
        LOST: float(count - whole),
    }
    print(json.dumps(figures))


def agrees(entry: Any, index: int) -> bool:
    """Whether an entry, of either place, has all facts that were written of an input."""
    if isinstance(entry, Entry):
        found = (
            entry.state,
            entry.input,
            entry.client_token,
            entry.key,
            entry.run_id,
            entry.outcome,
        )
    else:
        found = entry and entry[1:]
    task = task_of(index)
    return found == ("done", task.digest, task.client_token, task.key, task.run_id, task.outcome)


def measure(name: str, count: int, durable: bool) -> dict[str, float]:
    """Write in one process, kill it, and read in another one; gives the figures."""
    python = [sys.executable, "-W", "ignore", "-m", __name__]
    with tempfile.TemporaryDirectory() as folder:
        place = [name, str(Path(folder, "journal"))]
        write = [*python, "write", *place, str(count), "durable" if durable else "quick"]
        with subprocess.Popen(write, stdout=subprocess.PIPE, text=True) as writer:
            if writer.stdout is None:
                raise RuntimeError("the writer has no output")
            figures: dict[str, float] = json.loads(writer.stdout.readline())
            time.sleep(0.2)
            writer.kill()
            written = writer.stdout.read().split("\n")[:-1]  # the last line may be a part of one
        done = int(written[-1]) + 1 if written else count
        read = [*python, "read", *place, str(done)]
        output = subprocess.run(read, check=True, capture_output=True).stdout
        return {**figures, **json.loads(output)}


def silent_damage(name: str) -> float:
    """Change one bit of a file. Count the files that then give other facts without an error."""
    moments = random.Random(1)
    silent = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        facts = opened(name, path, durable=False)
        write_all(facts, range(DAMAGED_INPUTS))
        facts.close()
        whole = path.read_bytes()
        for _ in range(DAMAGES):
            at = moments.randrange(len(whole))
            other = bytes([whole[at] ^ 1 << moments.randrange(8)])
            path.write_bytes(whole[:at] + other + whole[at + 1 :])
            with suppress(JournalError, sqlite3.Error, ValueError):
                with closing(opened(name, path, durable=False)) as facts:
                    entries = [facts.entry(index) for index in range(DAMAGED_INPUTS)]
                silent += not all(map(agrees, entries, range(DAMAGED_INPUTS)))
    return float(silent)


def named(name: str, figure: str) -> str:
    """Name a figure of one of the two."""
    return name if figure == CPU else f"{name}: {figure}"


@contextmanager
def journals(count: int, durable: bool, figures: Sequence[str]) -> Iterator[Contestants]:
    """Jobs that measure, each followed by those that give its other figures."""
    known: dict[str, dict[str, float]] = {}

    def first(name: str) -> float:
        known[name] = measure(name, count, durable)
        return known[name][CPU]

    jobs: Contestants = {}
    for name in BOTH:
        jobs[name] = partial(first, name)
        for figure in figures[1:]:
            jobs[named(name, figure)] = partial(lambda n, f: known[n][f], name, figure)
    yield jobs


def of(name: str) -> Callable[[Samples], list[float]]:
    """The samples of one contestant."""
    return lambda samples: list(samples[name])


def journal_work(key: str, title: str, rounds: int, make: Any, **options: Any) -> Work:
    """A work whose jobs measure themselves."""
    return Work(
        name=key,
        title=f"{title}, in the journal of a batch and in SQLite",
        unit="µs of CPU per input, or as named",
        scale=1,
        rounds=rounds,
        make=make,
        sample=returned,
        warm_up=False,
        has_peak=False,
        charted=False,
        **options,
    )


_DAMAGE = f"changed bits that give other facts silently, of {DAMAGES:,}"


def damaged(name: str) -> str:
    """Name the damage that one of the two does not notice."""
    return f"{name}: {_DAMAGE}"


@contextmanager
def damage() -> Iterator[Contestants]:
    """Jobs that count silent damage."""
    yield {damaged(name): partial(silent_damage, name) for name in BOTH}


WORKS = [
    journal_work(
        "journal",
        "the facts of a million inputs, and a kill",
        1,
        lambda: journals(MILLION, False, FIGURES),
        budgets=(Budget(LOST, of(named(OURS, LOST)), 0),),
    ),
    journal_work(
        "journal_durable",
        f"the facts of {DURABLE_INPUTS:,} inputs, each synchronized to the disk,",
        5,
        lambda: journals(DURABLE_INPUTS, True, (CPU, WALL, LOST)),
    ),
    journal_work(
        "journal_damage",
        "files of which one bit is changed",
        1,
        damage,
        budgets=(Budget(_DAMAGE, of(damaged(OURS)), 0),),
    ),
]

if __name__ == "__main__":
    action, name, path, count, *policy = sys.argv[1:]
    if action == "write":
        write_here(name, Path(path), int(count), durable=policy == ["durable"])
    else:
        read_here(name, Path(path), int(count))
