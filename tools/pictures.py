"""Draws the pictures of the guides, docs/images/*.svg: `make pictures`.

Each function below is the source of one picture, in the words of schemdraw. A picture is 360 pixels
wide, so that it can be read on a phone, and its colours follow the reader's colour scheme. A test
compares the files with what is drawn here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import schemdraw
from schemdraw import elements, flow

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTH = 360  # pixels, which are 10 units
Place = tuple[float, float]
Align = Literal["left", "center", "right"]

# The colours of the drawing stand for variables of the style sheet.
INK, SOFT, ACCENT, PAPER = "#010101", "#020202", "#030303", "#040404"
STYLE = """<style>
  svg { --ink: #24292f; --soft: #57606a; --accent: #3949ab; --paper: #eef0fb }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e6edf3; --soft: #9aa4b2; --accent: #9fa8ff; --paper: #232742 }
  }
  text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
</style>"""
VARIABLES = {INK: "--ink", SOFT: "--soft", ACCENT: "--accent", PAPER: "--paper"}


class Picture:
    """What the sources below draw with. A place is in units from the left and from the top."""

    def __init__(self) -> None:
        schemdraw.use("svg")
        schemdraw.svgconfig.text = "text"
        self.drawing = schemdraw.Drawing(show=False, canvas="svg")
        self.drawing.config(fontsize=13, color=INK, lw=1.3, margin=0.05)

    def box(self, x: float, y: float, text: str, width: float = 2.6, height: float = 0.95) -> None:
        """A box around its middle."""
        shape = flow.Box(w=width, h=height).anchor("center").at((x, -y)).theta(0)
        self.drawing.add(shape.fill(PAPER).color(ACCENT).label(text, color=INK))

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A dashed frame around its middle."""
        shape = flow.Box(w=width, h=height).anchor("center").at((x, -y)).theta(0)
        self.drawing.add(shape.color(SOFT).linestyle("--"))

    def text(
        self, x: float, y: float, text: str, align: Align = "center", soft: bool = True
    ) -> None:
        """Words that stand alone."""
        label = elements.Label().at((x, -y - 0.1)).theta(0)
        colour = SOFT if soft else INK
        self.drawing.add(
            label.label(text, halign=align, valign="center", color=colour, fontsize=12)
        )

    def arrow(self, start: Place, end: Place, text: str = "", dashed: bool = False) -> None:
        """An arrow, and the words above it if it is level."""
        (x, y), (to_x, to_y) = start, end
        line = elements.Arrow(headwidth=0.22, headlength=0.28).at((x, -y)).to((to_x, -to_y))
        self.drawing.add(line.color(SOFT).linestyle("--" if dashed else "-"))
        self.text((x + to_x) / 2, y - 0.4, text)

    def svg(self, title: str) -> str:
        """The picture as it is written to its file."""
        drawn = self.drawing.get_imagedata("svg").decode()
        ((top, height),) = re.findall(r'viewBox="\S+ (\S+) \S+ (\S+)"', drawn)
        body = drawn[drawn.index(">") + 1 :]
        body = re.sub(r'fill="(#0\d0\d0\d)"', r'style="fill:\1"', body)
        for colour, variable in VARIABLES.items():
            body = body.replace(colour, f"var({variable})")
        body = body.replace(' font-family="sans"', "").replace("stroke-dasharray:-;", "")
        body = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", body)
        body = body.replace("><", ">\n<")
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{float(height):.0f}"'
            f' viewBox="0 {float(top):.1f} {WIDTH} {float(height):.1f}" role="img">\n'
            f"<title>{title}</title>\n{STYLE}\n{body}\n"
        )


def life_of_a_run(picture: Picture) -> None:
    """The life of a run, with the call that moves it."""
    picture.text(1.9, 0.3, "start(), run(), map()", soft=False)
    picture.arrow((1.9, 0.6), (1.9, 1.6))
    picture.frame(5, 4.1, 9.8, 6)
    picture.box(1.9, 2.1, "pending")
    picture.box(8.1, 2.1, "interrupted")
    picture.arrow((3.3, 1.9), (6.7, 1.9), "the agent asks")
    picture.arrow((6.7, 2.35), (3.3, 2.35))
    picture.text(5, 2.7, "answer(), resume()")
    for x, status, *words in (
        (1.7, "success", "result()", "returns it"),
        (5.0, "error", "result() raises", "RunFailed"),
        (8.3, "timeout", "result() raises", "RunTimedOut"),
    ):
        picture.arrow((1.4 + x / 5, 2.7), (x, 4.7))
        picture.box(x, 5.2, status)
        picture.text(x, 6, words[0])
        picture.text(x, 6.5, words[1])
    picture.arrow((3, 7.2), (3, 8.9))
    picture.text(3.3, 7.75, "cancel() while it is pending,", "left")
    picture.text(3.3, 8.25, "delete() in any status", "left")
    picture.box(3, 9.4, "deleted", 3)
    picture.text(4.8, 9.4, "result() raises RunGone", "left")


def layers(picture: Picture) -> None:
    """Handles stand on operations, and operations on the client."""
    rows = (
        (
            "AgentHandle, RunHandle, Batch",
            "a whole job: start once, follow, answer,",
            "wait; survives broken connections",
        ),
        (
            "RunsApi, AgentsApi, ThreadsApi",
            "one request each; those that change",
            "nothing are retried",
        ),
        (
            "ApiClient, Configuration",
            "connections, credentials, deadlines;",
            "shared by all threads",
        ),
    )
    for row, (names, *words) in enumerate(rows):
        top = 2.7 * row
        picture.box(5, top + 0.5, names, 9.4)
        for line, text in enumerate(words):
            picture.text(0.8, top + 1.4 + 0.5 * line, text, "left")
        picture.arrow((9, top + 1.05), (9, top + 2.6))
    picture.box(5, 8.6, "a server of ACP 0.1", 9.4)


def lost_create(picture: Picture) -> None:
    """What happens to a create whose response is lost."""
    lifelines(picture, 7.4)
    picture.arrow((1.7, 1.7), (8.3, 1.7), "create, with a client token")
    picture.text(8, 2.3, "the run is made", "right", soft=False)
    picture.arrow((8.3, 2.9), (4.4, 2.9), dashed=True)
    picture.text(4.1, 2.9, "✗", soft=False)
    picture.text(6.4, 3.3, "the response is lost")
    picture.arrow((1.7, 4.3), (8.3, 4.3), "search for the client token")
    picture.arrow((8.3, 5.3), (1.7, 5.3), "the run")
    picture.text(5, 6.1, "found: start() returns it, and made one run", soft=False)
    picture.text(5, 6.7, "not found in 10 s: RunStartAmbiguous", soft=False)


def stream_over_a_restart(picture: Picture) -> None:
    """A stream of events over a restart of the server."""
    lifelines(picture, 8.4)
    picture.arrow((1.7, 1.7), (8.3, 1.7), "stream")
    picture.arrow((8.3, 2.5), (1.7, 2.5), "event 1")
    picture.arrow((8.3, 3.3), (1.7, 3.3), "event 2")
    picture.box(8.3, 4.2, "restarts", 2.4)
    picture.arrow((1.7, 5.3), (8.3, 5.3), "stream, Last-Event-ID: 2")
    picture.arrow((8.3, 6.1), (1.7, 6.1), "event 3, or 1 to 3 again")
    picture.text(5, 7, "your loop gets 1, 2, 3: each once", soft=False)
    picture.text(5, 7.6, "if 3 is lost, next() raises StreamGap", soft=False)


def lifelines(picture: Picture, length: float) -> None:
    """The two sides of a conversation."""
    for x, name in ((1.7, "client"), (8.3, "server")):
        line = elements.Line().at((x, -0.9)).to((x, -length + 1.7))
        picture.drawing.add(line.color(SOFT).linestyle(":"))
        picture.box(x, 0.5, name, 2.4)


def batch_with_a_journal(picture: Picture) -> None:
    """A batch with its journal: what a crash at each point costs."""
    picture.text(1.9, 0.3, "one input", soft=False)
    picture.text(5.4, 0.3, "after a crash, the next call", "left", soft=False)
    steps = ("token to the journal", "create the run", "result to the journal", "the item is yours")
    costs = (
        "starts the run",
        "looks for it by its token",
        "attaches to it",
        "takes it from the journal",
    )
    for row, (step, cost) in enumerate(zip(steps, costs, strict=True)):
        top = 0.6 + 1.9 * row
        picture.arrow((1.9, top), (1.9, top + 0.9))
        picture.text(5.4, top + 0.45, cost, "left")
        picture.text(4.9, top + 0.45, "→", "right")
        picture.box(2.4, top + 1.4, step, 4.6)


def which_call(picture: Picture) -> None:
    """Which call do I need?"""
    rows = (
        ("many inputs?", "agent.map()"),
        ("wait in another", "agent.start(), token()"),
        ("watch it work?", "start(), run.events()"),
        ("does it ask?", "run(on_interrupt=…)"),
        ("else", "agent.run()"),
    )
    for row, (question, call) in enumerate(rows):
        y = 0.5 + 1.7 * row
        picture.text(2, y, question, soft=False)
        picture.arrow((4, y), (5, y))
        picture.box(7.5, y, call, 4.8)
        if row < len(rows) - 1:
            picture.arrow((2, y + (0.95 if row == 1 else 0.4)), (2, y + 1.3))
    picture.text(2, 2.7, "process, or tomorrow?", soft=False)


PICTURES: dict[str, Callable[[Picture], None]] = {
    "life-of-a-run.svg": life_of_a_run,
    "layers.svg": layers,
    "lost-create.svg": lost_create,
    "batch-with-a-journal.svg": batch_with_a_journal,
    "stream-over-a-restart.svg": stream_over_a_restart,
    "which-call.svg": which_call,
}


def drawn(name: str) -> str:
    """The text of the file of a picture."""
    picture = Picture()
    source = PICTURES[name]
    source(picture)
    return picture.svg(str(source.__doc__).rstrip("."))


if __name__ == "__main__":
    for name in PICTURES:
        (IMAGES / name).write_text(drawn(name), "utf-8")
