"""Imported once, by the process that all others are forked from: a run of each kind.

So what the package loads or builds on first use is not built again in thousands of processes.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration
from acp_client_v0_1.cli import main
from acp_client_v0_1.testing import Quirks
from chaos import play  # noqa: F401 - to have it loaded
from chaos.server import AGENT_ID, Truth

with (
    Truth().server(Quirks()) as _server,
    ApiClient(Configuration(host=_server.url)) as _client,
    tempfile.TemporaryDirectory() as _folder,
    contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())),
):
    _agent = AgentHandle(AGENT_ID, _client)
    list(_agent.map([{"n": 0}], journal=Path(_folder) / "journal"))
    list(_agent.start({"n": 0, "updates": 1}, streaming="custom").events())
    main(["run", AGENT_ID, '{"n": 0}', "--host", _server.url])
