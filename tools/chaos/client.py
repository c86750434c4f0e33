"""What runs in the client's process, and reports what it was told, a line for each thing.

The tables below name private places of the package, and are all that changes if those move.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from urllib3.util import Retry

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    OpenApiException,
    RunHandle,
)
from acp_client_v0_1.cli import main
from chaos.schedule import Schedule
from chaos.server import AGENT_ID

# Durations that a check need not wait for: fields of handles._timing.Timing.
TIMES: dict[str, Any] = {
    "quick": 2.0,
    "change": 2.0,
    "backoff": (0.02, 0.2),
    "search": 3.0,
    "search_backoff": (0.02, 0.1),
    "unchanged": 1.0,
    "probe": 0.05,
    "silence": 1.0,
    "least_silence": 0.1,
    "stream_backoff": (0.02, 0.2),
    "early": (0.02, 0.2),
    "pace": (0.02, 0.1),
}


def _without_last_event_id(original: Any) -> Any:
    def get_run_stream(self: Any, *args: Any, _headers: Any = None, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    return get_run_stream


def _a_moment_later(original: Any) -> Any:
    def done(*args: Any) -> None:
        threading.Timer(0.05, lambda: _quietly(original, *args)).start()

    return done


def _quietly(function: Callable[..., Any], *args: Any) -> None:
    with contextlib.suppress(OpenApiException):
        function(*args)


def _always_new(original: Any) -> Any:
    return lambda self, pair: True


# Mistakes that the checks have to find: what changes (a module, and a function or method in it),
# and what it becomes. Of several places, those that there are change.
MUTANTS: dict[str, tuple[tuple[str, str, Callable[[Any], Any]], ...]] = {
    "no-last-event-id": (("api.runs_api", "RunsApi.get_run_stream", _without_last_event_id),),
    "late-outcome": (("batch._journal", "Journal.ended", _a_moment_later),),
    "no-filter": (("handles._continuity", "Continuity._judge", _always_new),),
}


def patch(mutant: str) -> bool:
    """Make the times small, and the mistake; return whether there is a place for both."""
    places = list(MUTANTS[mutant]) if mutant else []
    made = sum(_changed(*place) for place in places)
    timing = ("handles._timing", "_in_use", lambda value: dataclasses.replace(value, **TIMES))
    return _changed(*timing) and (made > 0 or not places)


def _changed(module: str, name: str, change: Callable[[Any], Any]) -> bool:
    """Change something below acp_client_v0_1; return whether it is there."""
    *outer, last = name.split(".")
    try:
        home = importlib.import_module(f"acp_client_v0_1.{module}")
        for one in outer:
            home = getattr(home, one)
        setattr(home, last, change(getattr(home, last)))
    except (ImportError, AttributeError):
        return False
    return True


@dataclass
class Life:
    """One process of the client: which one it is, and where it finds things."""

    number: int
    schedule: Schedule
    url: str
    folder: Path
    known: dict[str, Any]  # what earlier lives have reported: "token", "last_id"
    mutant: str

    def report(self, what: str, **facts: Any) -> None:
        """Append a line, by one write, so that it is there even if the process is killed."""
        line = json.dumps({"what": what, "life": self.number, "time": time.monotonic(), **facts})
        os.write(self.reports, line.encode() + b"\n")

    def handed_out(self, count: int) -> None:
        """Die at once if the schedule says so of this item or event."""
        kills = self.schedule.kill_at
        if self.number < len(kills) and count == kills[self.number]:
            os.kill(os.getpid(), signal.SIGKILL)

    def run(self) -> None:
        """Live, in the client's process."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.reports = os.open(self.folder / "reports", flags)
        os.dup2(os.open(self.folder / "stderr", flags), 2)
        faulthandler.register(signal.SIGUSR1)  # shows where a life hangs
        patch(self.mutant)
        try:
            if self.schedule.kind == "command":
                self.command()
            else:
                with ApiClient(_configuration(self.url)) as client:
                    getattr(self, self.schedule.kind)(client)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.report("end", cpu=time.process_time())
        except KeyboardInterrupt:
            self.report("interrupted")
        except OpenApiException as error:
            self.report("error", **described(error))

    # Scenarios

    def batch(self, client: ApiClient) -> None:
        """Have the items of a batch, with a journal."""
        journal = self.folder / "journal"
        with AgentHandle(AGENT_ID, client).map(
            self.schedule.inputs, journal=journal, **self.schedule.options
        ) as items:
            for count, item in enumerate(items, 1):
                told = described(item.outcome)
                self.report("item", index=item.index, run_id=item.run_id, **told)
                self.handed_out(count)

    def follow(self, client: ApiClient) -> None:
        """Have the events of a run, and its result."""
        if "token" in self.known:
            run = RunHandle.from_token(self.known["token"], client)
        else:
            agent = AgentHandle(AGENT_ID, client)
            run = agent.start(self.schedule.inputs[0], streaming="custom")
        self.report("started", token=run.token())
        known = self.known.get("last_id")
        after = {} if known is None else {"after": known}
        with run.events(on_gap="mark", **after) as events:
            for count, event in enumerate(events, 1):
                gap = event.gap and [event.gap.kind, event.gap.missing]
                self.report("event", id=event.id, told=event.update or {}, gap=gap)
                self.handed_out(count)
            self.report("events", complete=events.complete, ended_by=events.ended_by)
        told: Any
        try:
            told = run.result()
        except OpenApiException as error:
            told = error
        self.report("result", **described(told))

    def command(self) -> None:
        """Run the command, whose stdout is a file."""
        os.dup2(os.open(self.folder / f"stdout{self.number}", os.O_WRONLY | os.O_CREAT), 1)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.environ |= {"ACP_RETRIES": "1", "ACP_TIMEOUT": "2"}
        name, *more = self.schedule.command
        what = [AGENT_ID]
        if name == "batch":
            lines = "".join(json.dumps(one) + "\n" for one in self.schedule.inputs)
            (self.folder / "inputs").write_text(lines)
            what.append(str(self.folder / "inputs"))
            more += ["--journal", str(self.folder / "journal")]
            more += ["--concurrency", str(self.schedule.options["concurrency"])]
            more += ["--ordered"] * self.schedule.options["ordered"]
        else:
            what.append(json.dumps(self.schedule.inputs[0]))
            more += ["--format", "jsonl"]
        self.report("started")
        self.report("exit", status=main([name, *what, "--host", self.url, *more]))
        sys.stdout.close()


def _configuration(url: str) -> Configuration:
    retries = Retry(total=3, backoff_factor=0.02, backoff_max=0.1)
    return Configuration(host=url, timeout=2, retries=retries)


def described(outcome: Any) -> dict[str, Any]:
    """Return what is to be reported of a result or an error."""
    if not isinstance(outcome, Exception):
        return {"result": outcome}
    kept = ("description", "token")
    facts = {name: getattr(outcome, name) for name in kept if hasattr(outcome, name)}
    return {"error": type(outcome).__name__, "text": str(outcome)[:300], **facts}
