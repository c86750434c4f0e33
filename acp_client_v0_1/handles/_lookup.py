"""The lookup of an agent: by its name, in a search, or by its id."""

from __future__ import annotations

import contextlib
from difflib import get_close_matches
from itertools import islice
from typing import Any

from acp_client_v0_1._arguments import UUID_FORM
from acp_client_v0_1._errors import LONGEST_OF_A_RUN
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._text import one_line, short
from acp_client_v0_1.api import AgentsApi
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.exceptions import ApiException, NotFoundException, ResponseValidationError
from acp_client_v0_1.handles._match import same_alias
from acp_client_v0_1.handles._rules import is_unserved
from acp_client_v0_1.handles.errors import AgentLookupError
from acp_client_v0_1.handles.searching import LARGEST_PAGE, iter_agents
from acp_client_v0_1.models import Agent


def find_agent(client: ApiClient, name: str, version: str | None, timeout: float | None) -> Agent:
    """Return the agent with a name, and with a version, unless that is None.

    Raise `AgentLookupError` if there is no such agent, or if there are several.
    """
    agents = AgentsApi(client.with_options(timeout=timeout))
    request = {"name": name} if version is None else {"name": name, "version": version}
    try:
        page = agents.search_agents({**request, "limit": LARGEST_PAGE})
    except ApiException as error:
        if failure_of(error).kind == "lacks":
            error.hint = "without searches, use AgentHandle(agent_id)"
        raise
    found = [each for each in page if each.metadata.ref.name == name]
    found = [each for each in found if version in (None, each.metadata.ref.version)]
    if len({each.agent_id for each in found}) < len(page):
        # The server ignores the conditions, so the agent may be on another page. Or it has sent an
        # agent twice.
        found = list(islice(iter_agents(agents, request, on_drift="continue"), LARGEST_PAGE))
    if len(found) == 1:
        return found[0]
    named = found
    # The error is raised even if the names of the other agents cannot be read.
    with contextlib.suppress(ApiException):
        named = found or list(islice(iter_agents(agents, on_drift="continue"), LARGEST_PAGE))
    raise _lookup_error(name, version, bool(found), named)


def read_agent(agents: AgentsApi, agent_id: str, **options: Any) -> Agent:
    """Read an agent. Raise `ResponseValidationError` if the response is about another agent."""
    agent = agents.get_agent_by_id(agent_id, **options)
    if not same_alias(agent_id, agent.agent_id):
        named = f"agent {short(agent_id)} the record of agent {short(agent.agent_id)}"
        raise ResponseValidationError(reason=f"the server gave {named}", body=agent.to_json())
    return agent


def explain_id(agent_id: str, error: BaseException) -> bool:
    """Tell whether an error means that the server has no such agent.

    If so, the error gets a hint, unless ``agent_id`` is a UUID: a name may stand where the id
    belongs.
    """
    if not isinstance(error, NotFoundException) or is_unserved(error):
        return False
    if not UUID_FORM.fullmatch(agent_id):
        error.hint = "AgentHandle takes an id: for a name, use AgentHandle.find, or get for either"
    return True


def _lookup_error(
    name: str, version: str | None, several: bool, named: list[Agent]
) -> AgentLookupError:
    """Return the error of a lookup. ``named`` are the agents that the error names."""
    refs = {agent.agent_id: agent.metadata.ref for agent in named}
    candidates = [f"{ref.name} {ref.version} ({agent_id})" for agent_id, ref in refs.items()]
    quoted, listed = f"{name!r:.60}", sorted({ref.name for ref in refs.values()})
    after, hint = "", ""
    before = f"no agent is called {quoted}; the server has "
    versions = [ref.version for ref in refs.values() if ref.name == name]
    close = get_close_matches(name, listed)
    if several:
        before, listed = f"several agents are called {quoted}: ", candidates
        after, hint = "; use an id", "or pass version=" if len({*versions}) > 1 else ""
    elif versions:
        before, listed = f"{quoted} has no version {version!r:.30}; the server has ", versions
    elif close:
        before = f"no agent is called {quoted}: did you mean {close[0]!r:.60}? The server has "
    elif name in refs or UUID_FORM.fullmatch(name):
        hint = "for an id, use AgentHandle(agent_id), or AgentHandle.get for either"
    # `candidates` has the rest.
    room = LONGEST_OF_A_RUN - len(f"{before}{after}; {hint}")
    shown = one_line(", ".join(listed) or "no agent that could be listed", room)
    reason = f"{before}{shown}{after}"
    return AgentLookupError(name=name, candidates=candidates, reason=reason, hint=hint)
