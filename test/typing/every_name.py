"""A user's script that imports all names at once: a type checker knows those of each room.

mypy --strict and pyright read it. mypy evaluates nothing but a list that is written out.
"""
# ruff: noqa: F403, F405

from __future__ import annotations

from typing_extensions import assert_type

from acp_client_v0_1 import *


def names(runs: RunsApi, agent: AgentHandle) -> None:
    assert_type(runs.get_run("r"), Run)
    assert_type(agent.start({}, streaming=StreamingMode.CUSTOM), RunHandle)
    try:
        raise TokenError("t")
    except ApiException as error:
        assert_type(error.status, int | None)
