"""What an examination found: findings, their verdicts, and the outcome for the whole server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal, TypeAlias

import acp_client_v0_1 as acp
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._text import one_line
from acp_client_v0_1.handles._rules import is_unserved

Verdict: TypeAlias = Literal["works", "differs", "missing", "limited", "not tried"]


class Operations(acp.RunsApi, acp.AgentsApi, acp.ThreadsApi):
    """All operations."""


class NotTried(acp.ApiException):
    """A request was not sent: its time was over, or there are enough runs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        section: The part of the report, such as "5. Runs".
        name: What was looked at, such as "long poll" or the name of an operation.
        verdict: "works", "differs" (from the contract, or from what scripts expect), "missing",
            "limited" (it failed in a way that passes, such as a 503, each time it was tried), or
            "not tried" (it was not seen).
        seen: What was seen.
        meaning: What it means for a script.
        advice: What to do about it, or "".
        quirk: The field of `acp_client_v0_1.testing.Quirks` that imitates it, as text, such as
            ``pending_output="404"``, or "".
    """

    section: str
    name: str
    verdict: Verdict
    seen: str
    meaning: str
    advice: str
    quirk: str

    def __str__(self) -> str:
        quirk = f"  [{self.quirk}]" if self.quirk else ""
        words = f"\n{'':13}{self.meaning}; {self.advice}" if self.advice else ""
        return f"  {self.verdict:<9}  {self.name}: {self.seen}{quirk}{words}"


@dataclass(frozen=True, slots=True)
class Report:
    """What an examination found. ``str`` of it is the report for people.

    Attributes:
        server: The URL of the server.
        agent: The name or id of the agent of which runs were started, or None.
        status: 0 if all works, 11 if something differs, 10 if the server refuses requests for now,
            or 1 if the server cannot be used, does not look like ACP 0.1, or does not run the
            agent.
        outcome: The status in words, such as "this does not look like ACP 0.1".
        findings: All findings.
    """

    server: str
    agent: str | None
    status: int
    outcome: str
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON. Its ``version`` grows when a member changes its meaning."""
        return {"version": 1, **asdict(self)}

    def __str__(self) -> str:
        agent = f" with the agent {one_line(self.agent)}" if self.agent else ""
        lines = [f"{self.server}{agent}: {self.outcome}"]
        for section, findings in groupby(self.findings, lambda each: each.section):
            lines += ["", section, *map(str, findings)]
        return "\n".join(lines)


def report_of(
    server: str, agent: str | None, looks_like_acp: bool, found: tuple[Finding, ...]
) -> Report:
    """Judge a server by what was found."""
    verdicts: dict[str, Verdict] = {each.name: each.verdict for each in found}
    status, outcome = outcome_of(verdicts, bool(agent), looks_like_acp)
    return Report(server, agent, status, outcome, found)


def passes(error: Exception | None) -> bool:
    """Tell whether the same request may succeed in a moment.

    So it is after a 429, 503, 502, 504 or 52x, after a connection that broke, and after a timeout.
    """
    if not isinstance(error, acp.ApiException) or isinstance(error, NotTried):
        return False
    failure = failure_of(error)
    return failure.limits or failure.cut or failure.kind == "unsent"


def is_page(error: Exception | None) -> bool:
    """Tell whether the body of an error is HTML or XML, which no server of ACP sends."""
    return str(getattr(error, "body", None) or "").lstrip()[:1] == "<"


def verdict_of(error: Exception | None, *, known: bool) -> Verdict:
    """Judge the outcome of one request: the first row that holds decides.

    ``known`` is False if the request names something that may not exist, or that may be in another
    state. Then a refusal in the server's own words shows that it has the operation.
    """
    status: int = getattr(error, "status", None) or 0
    page, empty = is_page(error), not str(getattr(error, "body", None) or "").strip()
    unserved = isinstance(error, acp.ApiException) and is_unserved(error)
    rows: tuple[tuple[Verdict, object], ...] = (
        ("works", error is None),
        ("not tried", isinstance(error, NotTried)),
        ("limited", passes(error)),
        ("missing", isinstance(error, LookupError) or status in (401, 403, 405, 501)),
        # Proxies have pages of their own for errors, and some servers no words for a 404.
        ("not tried", not known and status >= 400 and (page or (status == 404 and empty))),
        ("missing", status >= 500 or (status >= 400 and (page or unserved))),
        ("differs", known or status < 400),
        ("works", True),
    )
    return next(verdict for verdict, holds in rows if holds)


def outcome_of(found: Mapping[str, Verdict], agent: bool, looks_like_acp: bool) -> tuple[int, str]:
    """Judge the server: the first row that holds decides the exit status and its words."""
    verdicts, started, unknown = {*found.values()}, found.get("create_run"), not looks_like_acp
    ways = ("settings", "connection", "TLS", "client certificate", "access")
    way = {found.get(name) for name in ways}
    asked = {verdict for name, verdict in found.items() if hasattr(Operations, name)}
    refused = started in ("differs", "missing") or found.get("agents") in ("differs", "missing")
    rows: tuple[tuple[object, int, str], ...] = (
        ("missing" in way, 1, "it cannot be used"),
        ("version" in found, 1, "it speaks ACP 0.2 or later, not 0.1"),
        (unknown and asked <= {"limited", "not tried"}, 10, "not now: try later"),
        (unknown, 1, "this does not look like ACP 0.1"),
        (agent and refused, 1, "it does not run the agent"),
        (agent and started != "works", 10, "the agent was not run: try later"),
        (verdicts & {"differs", "missing"}, 11, "something differs"),
        ("limited" in verdicts, 10, "some requests were refused for now: try later"),
        (True, 0, "all works"),
    )
    return next((status, words) for holds, status, words in rows if holds)
