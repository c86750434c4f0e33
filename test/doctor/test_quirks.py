"""At a server with a habit, the report names exactly that habit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

from acp_client_v0_1 import ApiClient, Configuration
from acp_client_v0_1.doctor import Report, examine
from acp_client_v0_1.testing import AgentError, LocalServer, Quirks

# What nobody sees from outside, or what a report on a sound server must not try.
UNSEEN = {
    'on_restart="forgets"': "no client restarts a server",
    'on_restart="hangs"': "no client restarts a server",
    'media_type="text/plain"': "it makes no difference to a script",
    "delete_body=False": "it makes no difference to a script",
    "webhooks=False": "no server can call the process of the doctor",
    'search_metadata="any case"': "handles compare what is found",
    'search_metadata="words"': "handles compare what is found",
    **{
        f'echo_input="{way}"': "handles go by the marks of a run, and not by its input"
        for way in ("converted", "masked", "completed", "none")
    },
    'lacks={"create_thread": 501}': "the doctor makes nothing but runs",
    'lacks={"delete_thread": 501}': "there is no thread of its own to delete",
}
OTHERS = {"lacks": 501, "invalid": 400, "attempts": 3, "unknown_agent": 500}


def written(name: str, value: object) -> list[str]:
    """The fields of `Quirks` as a report writes them, one for each operation that is lacking."""
    if isinstance(value, dict):
        return [f'{name}={{"{operation}": {status}}}' for operation, status in value.items()]
    return [f"{name}={json.dumps(value) if isinstance(value, str) else value}"]


def each_quirk() -> Iterator[tuple[str, Quirks]]:
    """Every field with every value but the default one, of numbers and statuses one."""
    from acp_client_v0_1.testing._values import OPERATIONS

    hints = get_type_hints(Quirks)
    for field in dataclasses.fields(Quirks):
        if field.name == "lacks":
            for number, operation in enumerate(OPERATIONS):
                lacks = {operation: (404, 500, 501)[number % 3]}
                yield written("lacks", lacks)[0], Quirks(lacks=lacks)
            continue
        values: Any = get_args(hints[field.name])
        if isinstance(field.default, bool):
            values = (not field.default,)
        elif field.name in OTHERS:
            values = (OTHERS[field.name], *((200,) if field.name == "unknown_agent" else ()))
        for value in values:
            if value != field.default:
                settings: dict[str, Any] = {field.name: value}
                yield written(field.name, value)[0], Quirks(**settings)


SEEN = {
    name: quirks
    for name, quirks in each_quirk()
    if name.replace("404", "501").replace("500", "501") not in UNSEEN
}


# The agent to run, and its input. What is held is seen from 0.3 seconds on.
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "quick": ("counter", {"count": 4, "interval": 0.05}),
    "slow": ("counter", {"count": 4, "interval": 0.25}),
    "fails": ("failing slowly", {}),
    "asks": ("approval", {"action": "act"}),
}
# What is found or not tried beside the habit.
ALSO = {
    'lacks={"delete_run"': {"unknown agent", "clean-up"},
    'errors="text"': {"get_thread", "get_thread_state", "get_thread_history"},
    "held_errors_fail": {"result", "get_run_stream", "attempts"},
    "attempts": {"result", "get_run_stream"},
}
OF_AGENTS = {
    "attempts": "fails",
    "held_errors": "fails",
    "interrupts": "asks",
    "pending_output": "slow",
    "comments_after_end": "slow",
}


def examined(quirks: Quirks, agent: str) -> Report:
    failed: set[str] = set()

    def failing(input: Any, config: Any, context: Any) -> None:
        context.sleep(0.2 if context.run_id in failed else 0.4)
        failed.add(context.run_id)
        raise AgentError(3, "out of paper")

    name, given = AGENTS[agent]
    with (
        LocalServer(quirks=quirks, ping=0.05) as server,
        ApiClient(Configuration(host=server.url)) as client,
    ):
        server.register(failing, name="failing slowly")
        ids = {each.name: each.agent_id for each in server.agents}
        report = examine(client, ids[name], given)
        left = [run["run_id"] for run in server.runs]
        assert all(any(run_id in each.seen for each in report.findings) for run_id in left)
        assert not left or "delete_run" in quirks.lacks
    return report


def quirks_of(report: Report) -> list[str]:
    """The quirks that are named. On a busy machine, fewer attempts may be seen than are made."""
    unsure = {each.quirk for each in report.findings if each.seen == "at least 2"}
    assert unsure <= {"attempts=2"}
    named = [each.quirk for each in report.findings if each.quirk]
    return ["attempts=3" if each in unsure else each for each in named]


@pytest.mark.parametrize("name", SEEN)
def test_the_report_names_exactly_the_quirk(name, request):
    if name == "comments_after_end=True":  # a stream is read until its time is over
        request.getfixturevalue("short_seconds")
    agent = next((of for field, of in OF_AGENTS.items() if name.startswith(field)), "quick")
    also = next((names for start, names in ALSO.items() if name.startswith(start)), set[str]())
    report = examined(SEEN[name], agent)
    assert quirks_of(report) == [name], str(report)
    assert report.status == (1 if "create_run" in name else 11)
    others = {one.name for one in report.findings if not one.quirk and one.verdict != "works"}
    assert {one for one in others if not one.endswith("webhooks, restarts")} == also, str(report)


# A run that never ends is not begun where none can be deleted.
@pytest.mark.parametrize(
    ("server", "unseen"), [("workflow-srv", {"unknown_agent=500"}), ("acp-proxy", set[str]())]
)
@pytest.mark.slow
def test_the_report_names_the_quirks_of_a_real_server(server, unseen):
    """Some habits only show with an agent that fails, or asks."""
    quirks = Quirks.of(server)
    wanted = {
        words
        for field in dataclasses.fields(Quirks)
        if (value := getattr(quirks, field.name)) not in (field.default, {})
        for words in written(field.name, value)
        if words.replace("404", "501") not in UNSEEN
    }
    reports = [examined(quirks, agent) for agent in ("slow", "fails", "asks")]
    named = {quirk for report in reports for quirk in quirks_of(report)}
    assert named == wanted - unseen, "\n\n".join(map(str, reports))
