"""Whose a run is, and what an error says of it: cases that a review of the marks found."""

from __future__ import annotations

from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import Quirks

ECHO = "11111111-1111-4111-8111-111111111111"
HEX = "0123456789abcdef" * 2


def agent_of(client: acp.ApiClient, agent_id: str = ECHO) -> acp.AgentHandle:
    return acp.AgentHandle(agent_id, client)


@using(search=0.3)
def test_a_client_token_of_32_digits_is_not_the_mark_of_another_create(serve):
    """An allow-list keeps the caller's client token, and drops the mark of the create."""
    _, client = serve(Quirks(stored_metadata="client token"))
    run = agent_of(client).start({"n": 1}, client_token=HEX)
    assert run.result(timeout=30) == {"n": 1}
    again = acp.RunHandle.from_token(run.token(), client)
    assert again.refresh().status == "success"
