"""The journal of a batch in a process that is killed: what it costs, and what it keeps.

The journal gets the three facts of each input (starting, started, done), one at a time, as a batch
writes them. The writer is killed (SIGKILL) while it writes. Then a fresh process opens the file and
reads the entry of each input that was done, as a resumed batch does.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from acp_client_v0_1.batch._journal import Journal
from acp_client_v0_1.batch._lines import Entry, Header
from acp_client_v0_1.batch._tasks import Task
from acp_client_v0_1.handles._schemas import json_digest

from ..measure import OURS, Budget, Contestants, Work, elsewhere, figures_of, of, returned
from ..peak import growth_mib
from ..samples import OUTPUT

GROWTH = "growth of peak memory, MiB"
OPENING = "opening after the kill, µs of CPU per input"
READING = "reading an entry, µs of CPU"
GROWTH_OPEN = "growth of peak memory by opening, MiB"
LOST = "inputs lost by the kill"
INPUTS = 1_000_000


def open_journal(path: str) -> Journal:
    """Open the journal that the writer and the reader share."""
    header = Header("agent", "http://127.0.0.1", json_digest({}), "batch")
    return Journal(Path(path), header, durable=False)


def task_of(index: int) -> Task:
    """Make a task that has ended, as far as its facts go."""
    known = f"{index:032x}"
    task = Task(index, str(index), None, client_token=known, digest=known)
    task.run_id, task.outcome = f"run-{known}", OUTPUT["result"]
    return task


def write(journal: Journal, indexes: Iterable[int]) -> None:
    """Write the facts of some inputs."""
    for index in indexes:
        task = task_of(index)
        journal.starting(task)
        journal.started(task)
        journal.ended(task)


def write_here(path: str, count: int) -> None:
    """Write ``count`` inputs, print the figures, and write on until the process is killed."""
    journal = open_journal(path)
    write(journal, [0])
    start = time.process_time()
    growth = growth_mib(lambda: write(journal, range(1, count)))
    cpu = (time.process_time() - start) * 1e6 / count
    print(json.dumps({OURS: cpu, GROWTH: growth}), flush=True)
    for index in itertools.count(count):
        write(journal, [index])
        print(index, flush=True)


def read_here(path: str, count: int) -> None:
    """Open what was left, read the entry of each input, and print the figures."""
    start, opened = time.process_time(), list[Journal]()
    growth = growth_mib(lambda: opened.append(open_journal(path)))
    opening = time.process_time() - start
    start = time.process_time()
    whole = sum(is_whole(opened[0].entry(index), task_of(index)) for index in range(count))
    reading = time.process_time() - start
    figures = {OPENING: opening * 1e6 / count, READING: reading * 1e6 / count}
    print(json.dumps({**figures, GROWTH_OPEN: growth, LOST: float(count - whole)}))


def is_whole(entry: Entry | None, task: Task) -> bool:
    """Tell whether an entry has all facts of a task."""
    facts = entry and (entry.state, entry.client_token, entry.run_id, entry.outcome)
    return facts == ("done", task.client_token, task.run_id, task.outcome)


def measure() -> dict[str, float]:
    """Write in one process, kill it, read in another one, and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "journal"))
        command = [sys.executable, "-W", "ignore", "-m", __name__, "write", path, str(INPUTS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            if writer.stdout is None:
                raise RuntimeError("the writer has no output")
            figures: dict[str, float] = json.loads(writer.stdout.readline())
            time.sleep(0.2)
            writer.kill()
            # The kill may have cut the last line.
            written = writer.stdout.read().split("\n")[:-1]
        done = int(written[-1]) + 1 if written else INPUTS
        return {**figures, **elsewhere(__name__, "read", path, str(done))}


@contextmanager
def journal() -> Iterator[Contestants]:
    """Measure once. Each figure is a contestant."""
    yield figures_of(measure, (OURS, GROWTH, OPENING, READING, GROWTH_OPEN, LOST))


WORKS = [
    Work(
        name="journal",
        title="the journal of a million inputs, whose writer is killed",
        unit="µs of CPU per input, or as named",
        scale=1,
        rounds=1,
        make=journal,
        budgets=(Budget(LOST, of(LOST), 0),),
        sample=returned,
    )
]

if __name__ == "__main__":
    action, path, count = sys.argv[1:]
    (write_here if action == "write" else read_here)(path, int(count))
