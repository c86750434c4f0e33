"""Every shell block of the guide runs as printed, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import CodeBlock, all_blocks

from acp_client_v0_1.testing import LocalServer

pytestmark = pytest.mark.guides

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "guides" / "command-line.md"


def stories() -> list[tuple[CodeBlock, str | None]]:
    """Each shell block with what it prints, where the page says so."""
    found: list[tuple[CodeBlock, str | None]] = []
    for block in all_blocks(PAGE):
        if block.language == "sh":
            found.append((block, None))
        elif block.instruction == "shell-prints":
            found[-1] = found[-1][0], block.source
    return found


def test_the_guide_runs_as_printed(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "acp-client"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m acp_client_v0_1 "$@"\n', "utf-8")
    command.chmod(0o755)
    with LocalServer() as server:
        environment = {
            **os.environ,
            "ACP_HOST": server.url,
            "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        }
        assert len(stories()) > 8
        for block, printed in stories():
            done = subprocess.run(
                ["bash", "-c", block.source], env=environment, cwd=tmp_path, timeout=120,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
            place = f"{PAGE.name}:{block.line}"
            assert done.returncode == 0, f"{place}: {done.stderr}"
            if printed is not None:
                expected = re.escape(printed).replace("…", ".*?")
                assert re.fullmatch(expected, done.stdout), f"{place} printed\n{done.stdout}"
