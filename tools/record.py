"""Records a terminal: commands that were run in it, and what they printed, colours included.

``make pictures`` makes ``docs/images/command-line.svg`` by it. The ids of runs are new each time,
so no test compares the file.
"""

from __future__ import annotations

import os
import pty
import re
import sys
import tempfile
from contextlib import suppress
from html import escape
from pathlib import Path

from acp_client_v0_1.testing import LocalServer

FILE = Path(__file__).resolve().parent.parent / "docs" / "images" / "command-line.svg"
COLUMNS, LINE, SIZE = 110, 20, 8.43  # pixels of a line, and of a character
COMMANDS = """
acp-client run echo '{"message": "Hello"}' --format text
acp-client run counter '{"count": 2}' --stream custom --format jsonl
acp-client start slow '{"seconds": 1}' > run.token
acp-client wait @run.token --timeout 60 --format text
acp-client run ecko '{}'
acp-client run failing '{}' --format text
printf '{"count": %d}\\n' 1 2 > inputs.jsonl
acp-client batch counter inputs.jsonl --journal c.journal --ordered --format text
""".strip().splitlines()
STYLES = {"31": "bad", "32": "good", "33": "wait", "36": "note", "1;31": "bad", "35": "note"}
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title">
  <title id="title">A terminal in which {title} was run</title>
  <style>
    .window {{ fill: #161b22; stroke: #30363d }}
    .bar {{ fill: #30363d }}
    text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
            "Liberation Mono", monospace; fill: #e6edf3; white-space: pre }}
    .prompt, .good {{ fill: #7ee787 }}
    .bad {{ fill: #ff7b72 }}
    .wait {{ fill: #e3b341 }}
    .note {{ fill: #79c0ff }}
  </style>
  <rect class="window" x="0.5" y="0.5" width="{inner}" height="{lower}" rx="8"/>
  <circle class="bar" cx="20" cy="17" r="5"/><circle class="bar" cx="36" cy="17" r="5"/>\
<circle class="bar" cx="52" cy="17" r="5"/>
"""


def marked(line: str) -> str:
    """Return a line with its colours as elements of SVG."""
    made, style = "", ""
    for text, code in re.findall(r"([^\x1b]*)(?:\x1b\[([\d;]*)m|\x1b\[[^m]|$)", line):
        shown = escape(text)
        made += f'<tspan class="{style}">{shown}</tspan>' if style and text else shown
        style = STYLES.get(code, "")
    return made


def picture(lines: list[str]) -> str:
    """Draw the lines of a terminal. One that begins with ``$`` is a command."""
    longest = max(len(re.sub(r"\x1b\[[^m]*m", "", line)) for line in lines)
    width, height = round(longest * SIZE) + 40, 54 + LINE * len(lines)
    sizes = {"inner": width - 1, "lower": height - 1, "width": width, "height": height}
    drawn = HEAD.format(title=escape(lines[0].removeprefix("$ ")), **sizes)
    for number, line in enumerate(lines):
        text = marked(line)
        if line.startswith("$ "):
            text = '<tspan class="prompt">$</tspan>' + text[1:]
        drawn += f'  <text x="20.0" y="{48 + LINE * number}" xml:space="preserve">{text}</text>\n'
    return drawn + "</svg>\n"


def printed(command: str) -> list[str]:
    """Run a command in a terminal, and return the lines that it has printed."""
    pid, file = pty.fork()
    if not pid:
        os.execvp("bash", ["bash", "-c", f"stty cols {COLUMNS}; {command}"])
    received = b""
    # Linux ends the reading with an error once the command has ended.
    with suppress(OSError):
        while part := os.read(file, 4096):
            received += part
    os.waitpid(pid, 0)
    # A line that is drawn again begins with a CR, and what it replaces is not shown.
    text = re.sub(r"[^\n]*\r(?!\n)|\x1b\[[^m\d;]*[A-LN-Za-ln-z]", "", received.decode())
    return [line for line in text.replace("\r", "").split("\n") if line]


def main() -> None:
    """Record the commands against a local server."""
    with LocalServer() as server, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        os.environ.update(ACP_HOST=server.url, PATH=path, TERM="xterm")
        lines = [line for command in COMMANDS for line in (f"$ {command}", *printed(command))]
    FILE.write_text(picture(lines), "utf-8")


if __name__ == "__main__":
    main()
