"""The picture of a sweep: latency against energy, area as colour and size, the front drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting import figure_style, render
from .rows import label, scale, title
from .run import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

__all__ = ["draw"]

LOGARITHMIC = 6
"""Ratio of largest to smallest value beyond which an axis is logarithmic."""
SIZES = 30, 190
"""Areas of the marks of the smallest and the largest chip, in square points."""
OFFSETS = ((7, 5), (7, -12), (-7, 5), (-7, -12), (7, 18), (-7, 18), (7, -25), (-7, -25))
"""Where a label may stand beside its mark, in points, best first."""


def draw(results: Sequence[Result], keys: Sequence[str], suffix: str) -> bytes:
    """Return the picture: a panel for each workload.

    Parameters
    ----------
    results : sequence of Result
        At least one of them done.
    keys : sequence of str
        Swept keys that tell points of a panel apart: their values label the Pareto points.
    suffix : str
        One of `sw.plotting.FORMATS`.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    panels: dict[Any, list[Result]] = {}
    for result in results:
        if result.done:
            panels.setdefault(result.candidate.point.step, []).append(result)
    across = min(len(panels), 2)
    down = math.ceil(len(panels) / across)
    with figure_style():
        figure = Figure(figsize=(6.4 * across + 1, 4.8 * down), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False).flat
        areas = [result.outcome.area_um2 / 1e6 for each in panels.values() for result in each]
        norm = Normalize(min(areas), max(areas))
        for axis, (step, found) in zip(axes, panels.items(), strict=False):
            _panel(axis, found, norm)
            axis.set_title(title(step), fontsize=10)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        figure.colorbar(ScalarMappable(norm, "viridis_r"), ax=list(axes), label="area (mm²)")
        figure.draw_without_rendering()  # labels are put where they are free
        for axis, found in zip(axes, panels.values(), strict=False):
            _labels(axis, [each for each in found if each.pareto], keys)
        return render(figure, suffix)


def _panel(axis: Axes, results: Sequence[Result], norm: Normalize) -> None:
    """Draw the marks of one workload, those off the front faint, and the staircase."""
    places, units = _places(results)
    areas = np.array([result.outcome.area_um2 / 1e6 for result in results])
    spread = norm.vmax - norm.vmin
    part = (areas - norm.vmin) / spread if spread else np.full(len(areas), 0.5)
    sizes = SIZES[0] + (SIZES[1] - SIZES[0]) * part
    kept = np.array([result.pareto for result in results])
    for chosen, name, style in (
        (~kept, "dominated", {"alpha": 0.45, "linewidths": 0}),
        (kept, "on the front of latency, energy, area", {"edgecolors": "black", "linewidths": 1.1}),
    ):
        if chosen.any():
            axis.scatter(
                *places[chosen].T, s=sizes[chosen], c=areas[chosen], cmap="viridis_r", norm=norm,
                label=name, zorder=3, **style,
            )  # fmt: skip
    stairs = _stairs(places)
    axis.plot(
        *stairs.T, drawstyle="steps-post", color="0.35", linewidth=1, zorder=2,
        label="front of latency and energy",
    )  # fmt: skip
    for which, values in (("x", places[:, 0]), ("y", places[:, 1])):
        if values.min() > 0 and values.max() / values.min() > LOGARITHMIC:
            getattr(axis, f"set_{which}scale")("log")
    axis.margins(0.14)
    axis.set_xlabel(f"latency ({units[0]})")
    axis.set_ylabel(f"energy, chip and DRAM ({units[1]})")
    legend = axis.legend(loc="best", fontsize=7.5, framealpha=0.9)
    for handle in legend.legend_handles[: len(set(kept))]:
        handle.set_sizes([60])


def _places(results: Sequence[Result]) -> tuple[np.ndarray, tuple[str, str]]:
    """Return latency and energy of each result, float (n, 2), and their units."""
    values = np.array([result.outcome.costs[:2] for result in results])
    seconds, joules = scale(values[:, 0], "s"), scale(values[:, 1], "J")
    units = tuple(unit.replace("u", "µ", 1) for unit, _ in (seconds, joules))
    return values / (seconds[1], joules[1]), units


def _stairs(places: np.ndarray) -> np.ndarray:
    """Return the places (n, 2) that no other beats in both, by rising latency."""
    ordered = places[np.lexsort((places[:, 1], places[:, 0]))]
    lowest = np.minimum.accumulate(ordered[:, 1])
    keep = np.r_[True, ordered[1:, 1] < lowest[:-1]]
    return ordered[keep]


def _labels(axis: Axes, results: Sequence[Result], keys: Sequence[str]) -> None:
    """Write the swept values beside the marks, leaving out labels that find no free place."""
    if not results or not keys:
        return
    figure = axis.figure
    renderer = figure.canvas.get_renderer()
    legend = axis.get_legend().get_window_extent(renderer)
    marks = np.concatenate([each.get_offsets() for each in axis.collections])
    dots = axis.transData.transform(marks)
    taken, inside = [legend], axis.get_window_extent(renderer)
    for result, place in zip(results, _own(axis, results), strict=True):
        for across, up in OFFSETS:
            text = axis.annotate(
                label(result, keys), place, xytext=(across, up), textcoords="offset points",
                fontsize=7, ha="left" if across > 0 else "right", zorder=4,
            )  # fmt: skip
            box = text.get_window_extent(renderer)
            free = inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)
            free = free and not any(box.overlaps(other) for other in taken)
            if free and not box.count_contains(dots):
                taken.append(box)
                break
            text.remove()


def _own(axis: Axes, results: Sequence[Result]) -> np.ndarray:
    """Return the places of the marks of the front, in the order of the results."""
    return np.asarray(axis.collections[-1].get_offsets())[: len(results)]
