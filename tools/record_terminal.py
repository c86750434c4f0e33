"""Records pictures of a terminal: docs/images/quickstart.svg and docs/images/command-line.svg.

Runs the quickstart, and the commands below, against a local server, and draws what they print. The
port and the ids, which differ from run to run, are replaced by fixed ones, so that the same output
always gives the same bytes. The picture is plain SVG: no scripts, no fonts but those of the
reader's machine, no other file. Only the beginning of a line has a place; the rest flows, since
monospace fonts differ in width and renderers in how they stretch a text.

    python tools/record_terminal.py           write the pictures
    python tools/record_terminal.py --check   say whether they are up to date
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import uuid
from html import escape
from pathlib import Path

from acp_client_v0_1.testing import LocalServer

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PROMPT = "$ "
COMMANDS = (
    """acp-client run echo '{"message": "Hello"}' --format text""",
    """acp-client run counter '{"count": 3}' --stream custom --format jsonl""",
    """echo '{"approved": true, "reason": "looks good"}' > yes.json""",
    """acp-client start slow '{"seconds": 1}' > run.token""",
    "acp-client wait @run.token --timeout 60 --format text",
    """acp-client run approval '{}' --answer-command 'cat yes.json' --format text""",
    """printf '{"count": %d}\\n' 1 2 > inputs.jsonl""",
    "acp-client batch counter inputs.jsonl --journal c.journal --ordered --format text",
)

# In units of the picture, which a browser shows as pixels
FONT_SIZE = 14
CELL_WIDTH = 8.4  # 0.6 of the size, as most monospace fonts have
WIDEST = 8.7  # of a cell, in any of them
LINE_HEIGHT = 20
PADDING = 20
TITLE_BAR = 34

STYLE = f"""
    .window {{ fill: #161b22; stroke: #30363d }}
    .bar {{ fill: #30363d }}
    text {{ font: {FONT_SIZE}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
            "Liberation Mono", monospace; fill: #e6edf3; white-space: pre }}
    .prompt {{ fill: #7ee787 }}
    .label {{ fill: #79c0ff }}
    .id {{ fill: #a5a5ff }}
"""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PORT = re.compile(r"(?<=//127\.0\.0\.1:)\d+")
_LABEL = re.compile(r"^ *(?:[a-z]+:|event \d+:|run |found |deleted )")


def quickstart() -> list[str]:
    """Run the quickstart; gives what its terminal shows.

    Raises:
        subprocess.CalledProcessError: It failed; what it says about that is on standard error.
    """
    printed = _run([sys.executable, str(ROOT / "examples" / "quickstart.py")], _environment(), ROOT)
    return with_fixed_values(f"{PROMPT}make quickstart\n{printed}").splitlines()


def command_line() -> list[str]:
    """Run the commands against a local server; gives what their terminal shows.

    Raises:
        subprocess.CalledProcessError: One failed; what it says about that is on standard error.
    """
    shown = ""
    with LocalServer() as server, tempfile.TemporaryDirectory() as folder:
        environment = {**_environment(), "ACP_HOST": server.url}
        for command in COMMANDS:
            shown += f"{PROMPT}{command}\n"
            shown += _run(["bash", "-c", command], environment, Path(folder))
    return with_fixed_values(shown).splitlines()


RECORDINGS = {"quickstart.svg": quickstart, "command-line.svg": command_line}


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name[:4] != "ACP_"}
    environment["PYTHONPATH"] = str(ROOT)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return environment


def _run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    return subprocess.run(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
        timeout=60,
    ).stdout


def with_fixed_values(output: str) -> str:
    """Replace the port and the ids by fixed ones; equal ids stay equal."""
    ids: dict[str, str] = {}

    def fixed(found: re.Match[str]) -> str:
        return ids.setdefault(found[0], _fixed_id(len(ids)))

    return _UUID.sub(fixed, _PORT.sub("8000", output))


def _fixed_id(number: int) -> str:
    """Return a UUID that looks random and is the same on every machine."""
    bits = random.Random(f"quickstart {number}").getrandbits(128)
    return str(uuid.UUID(int=bits, version=4))


def draw(shown: list[str]) -> str:
    """Draw a terminal that shows these lines; a command is one that begins with the prompt."""
    title = escape(shown[0].removeprefix(PROMPT), quote=False)
    width = round(max(map(len, shown)) * WIDEST) + 2 * PADDING
    height = TITLE_BAR + len(shown) * LINE_HEIGHT + PADDING
    drawn = "\n".join(_draw_line(line, row) for row, line in enumerate(shown) if line)
    dots = "".join(f'<circle class="bar" cx="{PADDING + 16 * n}" cy="17" r="5"/>' for n in range(3))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title">
  <title id="title">A terminal in which {title} was run</title>
  <style>{STYLE}  </style>
  <rect class="window" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>
  {dots}
{drawn}
</svg>
"""


def _draw_line(line: str, row: int) -> str:
    indent = len(line) - len(line.lstrip())
    x = PADDING + indent * CELL_WIDTH
    y = TITLE_BAR + (row + 1) * LINE_HEIGHT - 6
    return f'  <text x="{x:.1f}" y="{y}" xml:space="preserve">{_coloured(line)}</text>'


def _coloured(line: str) -> str:
    """Return a line as XML without its indent, with coloured spans."""
    if line.startswith(PROMPT):
        return _span("prompt", PROMPT.rstrip()) + escape(line[len(PROMPT.rstrip()) :])
    label = _LABEL.match(line)
    begin = label[0].lstrip() if label is not None else ""
    rest = line.lstrip()[len(begin) :]
    coloured = _UUID.sub(lambda found: _span("id", found[0]), escape(rest, quote=False))
    return (_span("label", begin) if begin else "") + coloured


def _span(name: str, text: str) -> str:
    return f'<tspan class="{name}">{escape(text, quote=False)}</tspan>'


def main() -> int:
    """Write the pictures, or check them; the exit code is 1 if one is out of date."""
    parser = argparse.ArgumentParser(description="Record terminals as SVG.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = False
    for name, record in RECORDINGS.items():
        picture = draw(record()).encode("utf-8")
        path = IMAGES / name
        if not check:
            path.write_bytes(picture)
            print(f"wrote {path.relative_to(ROOT)}")
        elif not path.exists() or path.read_bytes() != picture:
            print(f"{name} is out of date: python tools/record_terminal.py", file=sys.stderr)
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
