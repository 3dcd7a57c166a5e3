"""The paper's Figure 6, drawn for every cycle model and bandwidth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..plotting import figure_style, render
from .step import PAPER, SCHEMES, Comparison
from .text import bandwidth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_bars"]

SHOWN = ("full", "lora_os", "lora_ws", "lora_hybrid")
COLOURS = {
    "full": "#7d7d7d",
    "lora_os": "#4c86c6",
    "lora_ws": "#cc7722",
    "lora_hybrid": "#2e8b57",
}  # told apart in print and by colour-blind readers, too
FIGURES = {"seconds": ("latency", "latency"), "edp": ("edp", "energy-delay product")}
"""For each row of panels: its key in `PAPER`, and its name."""
BAR = 0.2


def draw_bars(comparisons: Sequence[Comparison], title: str, suffix: str) -> bytes:
    """Return grouped bars: a group for each cycle model, a panel for each bandwidth.

    Bars are multiples of LoRA-hybrid's in their own group; black lines are the paper's figures.

    Parameters
    ----------
    comparisons : sequence of Comparison
        At least one.
    suffix : str
        One of `sw.plotting.FORMATS`.
    """
    from matplotlib.figure import Figure

    panels: dict[float | None, list[Comparison]] = {}
    for each in comparisons:
        panels.setdefault(each.dram_gbps, []).append(each)
    with figure_style():
        size = 1.2 + 3.7 * len(panels), 6.6
        figure = Figure(figsize=(max(size[0], 6.4), size[1]), layout="constrained")
        axes = figure.subplots(2, len(panels), squeeze=False, sharey="row")
        for row, figure_name in zip(axes, FIGURES, strict=True):
            for axis, (gbps, found) in zip(row, panels.items(), strict=True):
                _panel(axis, found, figure_name)
                if figure_name == "seconds":
                    axis.set_title(f"DRAM {bandwidth(gbps)}", fontsize=10)
            row[0].set_ylabel(f"{FIGURES[figure_name][1]}, × LoRA-hybrid")
        lines, *bars = zip(*axes[0][0].get_legend_handles_labels(), strict=True)
        figure.legend(
            *zip(*bars, lines, strict=True), loc="outside lower center", ncols=5, frameon=False
        )
        figure.suptitle(title, fontsize=11)
        return render(figure, suffix)


def _panel(axis: Axes, found: Sequence[Comparison], figure_name: str) -> None:
    """Draw the groups of one bandwidth."""
    paper = PAPER[FIGURES[figure_name][0]] | {"lora_hybrid": 1.0}
    for index, scheme in enumerate(SHOWN):
        places = [group + (index - 1.5) * BAR for group in range(len(found))]
        heights = [each.ratio(figure_name, scheme) for each in found]
        label = SCHEMES[scheme].label
        axis.bar(places, heights, 0.92 * BAR, color=COLOURS[scheme], label=label)
        for place, height in zip(places, heights, strict=True):
            # Inside the bar, at its foot, where no line of the paper's comes.
            axis.annotate(
                f"{height:.2f}", (place, 0), xytext=(0, 4), textcoords="offset points",
                ha="center", va="bottom", rotation=90, fontsize=7.5, color="white", weight="bold",
            )  # fmt: skip
        axis.hlines(
            [paper[scheme]] * len(found),
            [place - BAR / 2 for place in places],
            [place + BAR / 2 for place in places],
            color="black", linewidth=1.4, label="the paper's Figure 6" if index == 3 else None,
        )  # fmt: skip
    axis.grid(axis="x", visible=False)
    axis.margins(y=0.08)
    axis.set_xticks(
        range(len(found)), [_group_name(each, figure_name) for each in found], fontsize=8
    )
    axis.tick_params(axis="x", length=0)


def _group_name(each: Comparison, figure_name: str) -> str:
    """Return the name of a cycle model, and what 1 is worth in its group."""
    hybrid = each.entries["lora_hybrid"]
    if figure_name == "seconds":
        return f"{each.model}\n{hybrid.seconds * 1e3:.1f} ms"
    return f"{each.model}\n{hybrid.edp * 1e3:.2f} mJ·s"
