"""One picture: what each contestant takes over what this client takes, as SVG, by matplotlib."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from .measure import OURS, Spread
from .report import Outcome

__all__ = ["draw"]

_COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974")


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw the works that are charted into an SVG file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    matplotlib.rcParams["svg.hashsalt"] = "acp_client_v0_1"
    from matplotlib import pyplot, ticker

    shown = [outcome for outcome in outcomes if outcome.work.charted and OURS in outcome.samples]
    ratios = {outcome.work.title.partition(";")[0]: _ratios(outcome) for outcome in shown}
    families = dict.fromkeys(_family(name) for each in ratios.values() for name in each)
    colours = dict(zip(families, itertools.cycle(_COLOURS), strict=False))
    places = sum(len(each) + 1 for each in ratios.values())
    figure, axes = pyplot.subplots(figsize=(9, 0.2 * places + 1))
    place, ticks, labelled = 0.0, list[float](), set[str]()
    for each in ratios.values():
        ticks.append(place + (len(each) - 1) / 2)
        for name, ratio in each.items():
            family = _family(name)
            label = "" if family in labelled else family
            labelled.add(family)
            # On a logarithmic scale a bar begins where its ratio is 1.
            axes.barh(place, ratio.median - 1, left=1, color=colours[family], label=label)
            axes.annotate(
                f"{ratio.median:.2g}" if ratio.median < 10 else f"{ratio.median:.0f}",
                (max(ratio.median, 1), place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
            place += 1
        place += 1
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(ticks, list(ratios), fontsize=8)
    axes.set_ylim(place - 0.5, -1)
    axes.set_xlabel("CPU time over that of this client (right of 1: slower than this client)")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def _ratios(outcome: Outcome) -> dict[str, Spread]:
    """What the others took over what this client took."""
    names = (name for name in outcome.samples if name not in outcome.work.aside)
    return {name: ratio for name in names if (ratio := outcome.ratio(name)) is not None}


def _family(name: str) -> str:
    """What a contestant is known by: a parser has one colour, whatever reads for it."""
    parser = name.removeprefix("httpx + ").removesuffix("'s decoder")
    return name if parser == "pydantic" else parser
