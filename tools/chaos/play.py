"""One seed: a server with faults, and the lives of a client."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from chaos.checks import Lived, Story, faults_of
from chaos.client import Life
from chaos.schedule import STORM, Schedule, schedule_of
from chaos.server import Truth

LIFE = 20.0  # seconds until a life that does not end is a fault
LIVES = 8
FORK = multiprocessing.get_context("forkserver")
ONE = threading.Lock()  # as a process that starts looks whether others have ended


@dataclass
class Verdict:
    """What came of a seed."""

    schedule: Schedule
    faults: list[str]  # what does not hold
    stderr: str = ""  # of the client


def play(seed: int, mutant: str = "") -> Verdict:
    """Play one seed."""
    schedule, truth = schedule_of(seed), Truth()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        with truth.server(schedule.quirks) as server:
            server.faults.add(*schedule.faults)
            story = Story(schedule, truth, server, [])
            _Play(story, folder, mutant).all_lives()
            stderr = folder / "stderr"
            words = stderr.read_text(errors="replace") if stderr.exists() else ""
            return Verdict(schedule, faults_of(story), words)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Play:
    """The lives of one client, one after the other, while its server has faults."""

    def __init__(self, story: Story, folder: Path, mutant: str) -> None:
        self.story, self.folder, self.mutant = story, folder, mutant
        self.steps = list(story.schedule.steps)
        self.ends = math.inf  # of the storm, which begins with the first request

    def all_lives(self) -> None:
        while len(self.story.lives) < LIVES and not self.story.settled:
            calm = not self.ends  # no fault is left
            self.live()
            self.story.settled = self._settled(calm)

    def _settled(self, calm: bool) -> bool:
        """Whether another life would have nothing to do; one after the storm has to settle it."""
        story, number = self.story, len(self.story.lives) - 1
        life = story.lives[-1]
        if life.exit is None:
            return True  # which is a fault of its own
        if story.schedule.kind == "command":
            whole = bool(story.told("exit", number)) and not life.killed
            return whole and (calm or story.schedule.command[0] == "run" or life.exit in (0, 5))
        ended = bool(story.told("end", number))
        if story.schedule.kind == "batch":
            unclear = [one for one in story.told("item", number) if _is_unclear(one)]
            return ended and (calm or not unclear)
        results = story.told("result", number)
        if any(one["error"] == "RunGone" for one in story.told("error", number)):
            return True
        unmade = calm and not story.truth.runs  # from_token finds nothing, and says so
        return unmade or (ended and not (results and _is_unclear(results[0]) and not calm))

    def live(self) -> None:
        story, number = self.story, len(self.story.lives)
        known: dict[str, Any] = {}
        for report in story.reports:
            known |= {"token": report["token"]} if report.get("token") else {}
            known |= {"last_id": report["id"]} if report["what"] == "event" else {}
        quirks = story.schedule.quirks
        if not quirks.replay or quirks.event_ids not in ("run", "opaque"):
            known.pop("last_id", None)
        life = Life(number, story.schedule, story.server.url, self.folder, known, self.mutant)
        process = FORK.Process(target=life.run)
        began = time.monotonic()
        with ONE:
            process.start()
        killed = self._watch(process, began)
        exit = _exit_of(process)
        if exit is None and process.pid is not None:
            _signal(process.pid, signal.SIGUSR1)
            time.sleep(0.5)
            process.kill()
        while _exit_of(process) is None:
            time.sleep(0.01)
        lived = Lived(began, time.monotonic(), exit, killed or exit == -signal.SIGKILL)
        stdout = self.folder / f"stdout{number}"
        lived.stdout = stdout.read_bytes() if stdout.exists() else b""
        story.lives.append(lived)
        reports = self.folder / "reports"
        lines = reports.read_text().splitlines() if reports.exists() else []
        story.reports = [json.loads(line) for line in lines]

    def _watch(self, process: BaseProcess, began: float) -> bool:
        """Do the steps as their requests come; return whether the process was sent a signal."""
        server, signalled = self.story.server, False
        while _exit_of(process) is None and time.monotonic() < began + LIFE:
            time.sleep(0.01)
            if self.ends == math.inf and server.requests:
                self.ends = time.monotonic() + STORM
            if self.ends and time.monotonic() > self.ends:
                self.ends, self.steps = 0.0, []
                server.faults.clear()
            if self.steps and len(server.requests) >= self.steps[0].after:
                step = self.steps[0]
                if step.what in ("restart", "forget"):
                    self.steps.pop(0)
                    self.story.truth.restarts.append(time.monotonic())
                    if step.what == "forget":
                        self.story.truth.forgotten.append(time.monotonic())
                    server.restart(step.seconds, forget=step.what == "forget")
                elif self._started(began):
                    self.steps.pop(0)
                    signalled = True
                    numbers = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}
                    if process.pid is not None and _exit_of(process) is None:
                        _signal(process.pid, numbers.get(step.what, signal.SIGTERM))
        return signalled

    def _started(self, began: float) -> bool:
        """Whether the client can be found again: a batch has a journal, a run its token."""
        if self.story.schedule.kind == "batch":
            return True
        reports = self.folder / "reports"
        if not reports.exists():
            return False
        told = [json.loads(line) for line in reports.read_text().split("\n")[:-1]]
        return any(one["what"] == "started" and one["time"] >= began for one in told)


def _exit_of(process: BaseProcess) -> int | None:
    with ONE:
        return process.exitcode


def _signal(pid: int, number: int) -> None:
    # The process may have ended just now.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_unclear(report: dict[str, Any]) -> bool:
    return report.get("error") == "RunStartAmbiguous"
