"""The agent of the checks, and what it has seen: the truth."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from acp_client_v0_1.testing import (
    AgentContext,
    AgentDefinition,
    AgentError,
    LocalServer,
    Quirks,
)

AGENT_ID = "c4a05000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Made:
    """A run that the server has made."""

    token: str  # its client token
    number: int  # of its input


@dataclass
class Truth:
    """What has happened at the server, whatever anybody was told."""

    runs: list[Made] = field(default_factory=list[Made])
    restarts: list[float] = field(default_factory=list[float])  # when the server went away
    forgotten: list[float] = field(default_factory=list[float])  # and of these, without its runs

    def server(self, quirks: Quirks) -> LocalServer:
        """Return a server, not started, with an agent that tells this truth."""

        def work(
            input: dict[str, Any], config: dict[str, Any], context: AgentContext
        ) -> Generator[dict[str, Any], None, dict[str, Any]]:
            token = str(context.metadata.get("acp-client-token", ""))
            self.runs.append(Made(token, input["n"]))
            seconds = input.get("ms", 0) / 1000
            for number in range(1, input.get("updates", 0) + 1):
                context.sleep(seconds)
                yield {"k": number}
            context.sleep(seconds)
            fail = input.get("fail")
            if fail == "timeout":
                raise TimeoutError("too slow")
            if fail is not None:
                raise AgentError(fail, f"input {input['n']}")
            return result_of(input)

        agent = AgentDefinition(function=work, name="chaos", agent_id=AGENT_ID)
        return LocalServer([agent], quirks=quirks, ping=0.3)


def result_of(input: dict[str, Any]) -> dict[str, Any]:
    """Return the result of an input that does not fail."""
    return {"n": input["n"], "square": input["n"] ** 2, "pad": "x" * input.get("pad", 0)}
