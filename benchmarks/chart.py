"""One picture: what each contestant takes over what this client takes, as SVG.

Each bar has its name beside it, so that no colour has to be looked up: a colour says only whether a
contestant takes more or less than this client. It is narrow, so that its text can be read on a
phone, and has its own background, light or dark as the reader prefers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from .measure import OURS
from .report import Outcome

__all__ = ["draw", "svg"]

_Scale = Callable[[float], float]  # a ratio -> where it lies

# Pixels of the view box, which a phone shows nearly as they are.
_WIDTH, _LINE, _TOP = 400, 17, 46
_LEFT, _RIGHT = 196, 362  # of the bars

_STYLE = """
    .back { fill: #ffffff } text { fill: #1f2328; font: 11px sans-serif }
    .work { font-weight: bold } .tick { fill: #59636e } line { stroke: #d1d9e0 }
    .one { stroke: #1f2328 } .more { fill: #bc4c00 } .less { fill: #0969da }
    @media (prefers-color-scheme: dark) {
      .back { fill: #161b22 } text { fill: #e6edf3 } .tick { fill: #9198a1 }
      line { stroke: #3d444d } .one { stroke: #e6edf3 }
      .more { fill: #f0883e } .less { fill: #58a6ff }
    }
"""


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw the works that are charted into an SVG file."""
    shown = [outcome for outcome in outcomes if outcome.work.charted and OURS in outcome.samples]
    ratios = {outcome.work.title.partition(";")[0]: _ratios(outcome) for outcome in shown}
    path.write_text(svg(ratios), "utf-8")


def svg(works: Mapping[str, Mapping[str, float]]) -> str:
    """Give the picture of some works: for each, what the others took over this client."""
    ratios = [ratio for work in works.values() for ratio in work.values()]
    low, high = math.log(min([0.5, *ratios])), math.log(max([2, *ratios]))

    def across(ratio: float) -> float:
        return round(_LEFT + (math.log(ratio) - low) / (high - low) * (_RIGHT - _LEFT), 1)

    lines = sum(len(work) + 1.5 for work in works.values())
    height = round(_TOP + _LINE * lines + 6)
    drawn = "\n".join([*_axis(across, math.exp(high), height), *_bars(works, across)])
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH * 1.2:g}" \
role="img" aria-labelledby="title">
  <title id="title">CPU time of the others over that of this client, for each work</title>
  <style>{_STYLE}  </style>
  <rect class="back" width="100%" height="100%"/>
  <text x="8" y="16">CPU time, as a multiple of this client's</text>
{drawn}
</svg>
"""


def _axis(across: _Scale, high: float, height: int) -> Iterator[str]:
    for tick in (0.5, 1, 2, 5, 10, 20, 50, 100):
        if tick <= high:
            x, of_ours = across(tick), ' class="one"' if tick == 1 else ""
            yield f'  <line{of_ours} x1="{x}" x2="{x}" y1="{_TOP - 10}" y2="{height - 6}"/>'
            place = f'x="{x}" y="{_TOP - 14}" text-anchor="middle"'
            yield f'  <text class="tick" {place}>{tick:g}</text>'


def _bars(works: Mapping[str, Mapping[str, float]], across: _Scale) -> Iterator[str]:
    y: float = _TOP
    for title, work in works.items():
        y += _LINE
        yield f'  <text class="work" x="8" y="{y:g}">{escape(title)}</text>'
        for name, ratio in work.items():
            y += _LINE
            begin, end = sorted((across(1), across(ratio)))
            kind = "more" if ratio > 1 else "less"
            told = f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"
            yield f'  <text x="16" y="{y:g}">{escape(name)}</text>'
            yield (
                f'  <rect class="{kind}" x="{begin}" y="{y - 9:g}" width="{end - begin:.1f}" '
                'height="10"/>'
            )
            yield f'  <text x="{end + 4:.1f}" y="{y:g}">{told}</text>'
        y += _LINE / 2


def _ratios(outcome: Outcome) -> dict[str, float]:
    """What the others took over what this client took."""
    names = (name for name in outcome.samples if name not in outcome.work.aside)
    spreads = {name: outcome.ratio(name) for name in names}
    return {name: ratio.median for name, ratio in spreads.items() if ratio is not None}
