"""Many runs at once: what a batch of thousands asks of the server."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest
from support.transport import eventually

pytestmark = pytest.mark.load

MANY = 1000
POLLS = 250


def test_a_thousand_runs_in_flight_are_found_polled_and_ended(call: Any) -> None:
    server = call.server
    released = [False]

    def worker(input: Any, config: Any, context: Any) -> Any:
        while not released[0]:
            context.sleep(1)
        return input

    agent_id = server.register(worker)
    metadata = {"batch": "b"}
    ids = [call.run(agent_id, input={"n": n}, metadata=metadata) for n in range(MANY)]
    wanted = {"metadata": metadata, "status": "pending", "limit": 1000}
    assert [run["run_id"] for run in call.ok("POST", "/runs/search", wanted)] == ids

    polls = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in ids[:POLLS]]
    for connection, run_id in zip(polls, ids, strict=False):
        target = f"/runs/{run_id}/output?block_timeout=600"
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert eventually(lambda: len(server.requests) == MANY + 1 + POLLS, 30)
    # All of them wait, and the server still has time for others.
    assert call.ok("GET", f"/runs/{ids[-1]}")["status"] == "pending"
    released[0] = True
    for number, connection in enumerate(polls):
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["result"] == {"n": number}
        response.close()
        connection.close()
    assert eventually(lambda: call.ok("POST", "/runs/search", wanted) == [], 30)
    assert eventually(lambda: not server._engine._threads, 10)
