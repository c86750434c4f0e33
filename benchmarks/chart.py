"""One picture: what each contestant takes over what this client takes, as SVG, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .measure import OURS
from .report import Outcome

__all__ = ["draw"]

_COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw the works that are charted into an SVG file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    matplotlib.rcParams["svg.hashsalt"] = "acp_client_v0_1"
    from matplotlib import pyplot

    shown = [outcome for outcome in outcomes if outcome.work.charted and OURS in outcome.samples]
    names = list(dict.fromkeys(name for one in shown for name in one.samples if name != OURS))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    heights = [max(1, len(outcome.samples) - 1) + 1 for outcome in shown]
    figure, axes = pyplot.subplots(figsize=(9, 0.21 * sum(heights) + 1.2))
    place, ticks, labelled = 0.0, [], set[str]()
    for outcome, height in zip(shown, heights, strict=True):
        ticks.append(place + (height - 2) / 2)
        for name in outcome.samples:
            if (ratio := outcome.ratio(name)) is None:
                continue
            label = "" if name in labelled else name
            labelled.add(name)
            # On a logarithmic scale a bar begins where its ratio is 1.
            axes.barh(place, ratio.median - 1, left=1, color=colours[name], label=label)
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
    axes.set_yticks(ticks, [outcome.work.title.partition(";")[0] for outcome in shown])
    axes.invert_yaxis()
    axes.set_xlabel("CPU time over that of this client (right of 1: slower than this client)")
    axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
