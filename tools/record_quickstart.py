"""Records the quickstart as a picture of a terminal: docs/images/quickstart.svg.

Runs examples/quickstart.py against a local server and draws its output below a prompt. The port
and the ids differ from run to run, so they are replaced by fixed ones: the same output always
gives the same bytes. The picture is plain SVG without scripts or other files, in the fonts of the
reader's machine. Only the start of each line has a fixed position, because monospace fonts differ
in width.

    python tools/record_quickstart.py           write the picture
    python tools/record_quickstart.py --check   say whether it is up to date
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import uuid
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "quickstart.svg"
PROMPT = "$ "
COMMAND = "make quickstart"

# In units of the picture, which a browser shows as pixels
FONT_SIZE = 14
CELL_WIDTH = 8.4  # 0.6 of the size, as most monospace fonts have; PADDING has room for wider ones
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


def quickstart_output() -> str:
    """Run the quickstart on a local server, and return what it prints.

    Raises:
        subprocess.CalledProcessError: The script failed; its message is on standard error.
    """
    environment = {name: value for name, value in os.environ.items() if name[:4] != "ACP_"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py")]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True, timeout=60
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


def draw(lines: list[str]) -> str:
    """Draw a terminal in which the command has printed these lines."""
    shown = [PROMPT + COMMAND, *lines]
    width = round(max(map(len, shown)) * CELL_WIDTH) + 2 * PADDING
    height = TITLE_BAR + len(shown) * LINE_HEIGHT + PADDING
    drawn = "\n".join(_draw_line(line, row) for row, line in enumerate(shown) if line)
    dots = "".join(f'<circle class="bar" cx="{PADDING + 16 * n}" cy="17" r="5"/>' for n in range(3))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title">
  <title id="title">A terminal in which {COMMAND} was run</title>
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
    return f'  <text x="{x:.1f}" y="{y}" xml:space="preserve">{_coloured(line, row)}</text>'


def _coloured(line: str, row: int) -> str:
    """Return a line as XML without its indent, with coloured spans."""
    if row == 0:
        return _span("prompt", PROMPT.rstrip()) + escape(line[len(PROMPT.rstrip()) :])
    label = _LABEL.match(line)
    begin = label[0].lstrip() if label is not None else ""
    rest = line.lstrip()[len(begin) :]
    coloured = _UUID.sub(lambda found: _span("id", found[0]), escape(rest, quote=False))
    return (_span("label", begin) if begin else "") + coloured


def _span(name: str, text: str) -> str:
    return f'<tspan class="{name}">{escape(text, quote=False)}</tspan>'


def record() -> str:
    """Run the quickstart and return the picture of it."""
    return draw(with_fixed_values(quickstart_output()).splitlines())


def main() -> int:
    """Write the picture, or check it; the exit code is 1 if it is out of date."""
    parser = argparse.ArgumentParser(description="Record the quickstart as an SVG.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    picture = record()
    name = PICTURE.relative_to(ROOT)
    if not check:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_bytes(picture.encode("utf-8"))
        print(f"wrote {name}")
    elif not PICTURE.exists() or PICTURE.read_bytes() != picture.encode("utf-8"):
        print(f"{name} is out of date: python tools/record_quickstart.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
