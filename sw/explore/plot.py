"""The picture of a sweep: latency against energy, area as colour and size, the front drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..plotting import figure_style, render
from .rows import front_numbers, label, scale, title
from .run import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

__all__ = ["draw"]

LOGARITHMIC = 6
"""Ratio of largest to smallest value beyond which an axis is logarithmic."""
SIZES = 30, 190
"""Areas of the marks of the smallest and the largest chip, in square points."""
OFFSETS = tuple(
    (far * across, far * up)
    for far in (9, 15)
    for across, up in ((1, 1), (-1, -1), (-1.2, 0), (0, -1.3), (1.2, 0), (0, 1.3), (-1, 1), (1, -1))
)
"""Where a number may stand beside its mark, in points, best first: off the staircase."""
TEXT = 0.06, 0.17
"""Width of a letter, and height of a line, of the list below the panels, in inches."""
MARGIN = 10
"""Pixels between a number and the middle of another mark, at least."""
LISTED = 40
"""Points of the front that are listed below the panels, at most."""


class Marked(NamedTuple):
    """A result with its number on the front, if it is there."""

    result: Result
    number: int | None


def draw(results: Sequence[Result], keys: Sequence[str], suffix: str) -> bytes:
    """Return the picture: a panel for each workload, the points of its front numbered and listed.

    Parameters
    ----------
    results : sequence of Result
        At least one of them done.
    keys : sequence of str
        The swept keys.
    suffix : str
        One of `sw.plotting.FORMATS`.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    panels: dict[Any, list[Marked]] = {}
    done = [result for result in results if result.done]
    for result, number in zip(done, front_numbers(done), strict=True):
        panels.setdefault(result.candidate.point.step, []).append(Marked(result, number))
    across = min(len(panels), 2)
    down = math.ceil(len(panels) / across)
    areas = [result.outcome.area_um2 / 1e6 for result in done]
    norm = Normalize(min(areas), max(areas))
    with figure_style():
        figure = Figure(figsize=(6.4 * across + 1, 4.8 * down), layout="constrained")
        axes = list(figure.subplots(down, across, squeeze=False).flat)
        for axis, (step, found) in zip(axes, panels.items(), strict=False):
            _panel(axis, found, norm)
            axis.set_title(title(step), fontsize=10)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        figure.colorbar(ScalarMappable(norm, "viridis_r"), ax=axes, label="area (mm²)")
        marked = [each for found in panels.values() for each in found if each.number]
        front = sorted(marked, key=attrgetter("number"))
        _list(figure, front, keys)
        figure.draw_without_rendering()  # labels are put where they are free
        for axis, found in zip(axes, panels.values(), strict=False):
            _number(axis, found)
        return render(figure, suffix)


def _panel(axis: Axes, found: Sequence[Marked], norm: Normalize) -> None:
    """Draw the marks of one workload, those off the front faint, and the staircase."""
    from matplotlib.ticker import LogLocator

    places, units = _places(found)
    areas = np.array([each.result.outcome.area_um2 / 1e6 for each in found])
    spread = norm.vmax - norm.vmin
    part = (areas - norm.vmin) / spread if spread else np.full(len(areas), 0.5)
    sizes = SIZES[0] + (SIZES[1] - SIZES[0]) * part
    kept = np.array([each.number is not None for each in found])
    for chosen, name, style in (
        (~kept, "dominated", {"alpha": 0.45, "linewidths": 0}),
        (kept, "on the front of latency, energy, area", {"edgecolors": "black", "linewidths": 1.1}),
    ):
        if chosen.any():
            axis.scatter(
                *places[chosen].T, s=sizes[chosen], c=areas[chosen], cmap="viridis_r", norm=norm,
                label=name, zorder=3, **style,
            )  # fmt: skip
    axis.plot(
        *_stairs(places).T, drawstyle="steps-post", color="0.35", linewidth=1, zorder=2,
        label="front of latency and energy",
    )  # fmt: skip
    for ticks, values in ((axis.xaxis, places[:, 0]), (axis.yaxis, places[:, 1])):
        if values.min() > 0 and values.max() / values.min() > LOGARITHMIC:
            getattr(axis, f"set_{ticks.axis_name}scale")("log")
            ticks.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ticks.set_major_formatter("{x:g}")
            ticks.set_minor_formatter("")
    axis.margins(0.14)
    axis.set_xlabel(f"latency ({units[0]})")
    axis.set_ylabel(f"energy, chip and DRAM ({units[1]})")
    for handle in axis.legend(loc="best", fontsize=7.5, framealpha=0.9).legend_handles[:-1]:
        handle.set_sizes([60])  # whatever the size of the first mark


def _places(found: Sequence[Marked]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return latency and energy of each result, float (n, 2), and their units."""
    values = np.array([each.result.outcome.costs[:2] for each in found])
    seconds, joules = scale(values[:, 0], "s"), scale(values[:, 1], "J")
    units = tuple(unit.replace("u", "µ", 1) for unit, _ in (seconds, joules))
    return values / (seconds[1], joules[1]), units


def _stairs(places: np.ndarray) -> np.ndarray:
    """Return the places (n, 2) that no other beats in both, by rising latency."""
    ordered = places[np.lexsort((places[:, 1], places[:, 0]))]
    lowest = np.minimum.accumulate(ordered[:, 1])
    return ordered[np.r_[True, ordered[1:, 1] < lowest[:-1]]]


def _list(figure: Figure, front: Sequence[Marked], keys: Sequence[str]) -> None:
    """Say below the panels which values have the numbers, as far as they tell points apart."""
    from matplotlib.lines import Line2D

    values: dict[tuple[Any, str], set] = {}
    for each in front:
        for key in keys:
            place = each.result.candidate.point.step, key
            values.setdefault(place, set()).add(each.result.candidate.values[key])
    varied = {key for (_, key), found in values.items() if len(found) > 1}
    told = [key for key in keys if key in varied]
    if not told or len(front) > LISTED:
        return
    texts = [f"{each.number}:  {label(each.result, told)}" for each in front]
    width, height = figure.get_size_inches()
    columns = max(1, int(width / (TEXT[0] * max(map(len, texts)) + 0.3)))
    figure.set_size_inches(width, height + TEXT[1] * math.ceil(len(texts) / columns))
    figure.legend(
        [Line2D([], [], linestyle="")] * len(texts), texts, loc="outside lower center",
        ncols=columns, fontsize=7.5, frameon=False, handlelength=0, handletextpad=0,
    )  # fmt: skip


def _number(axis: Axes, found: Sequence[Marked]) -> None:
    """Write the numbers of the front beside their marks, where nothing else is."""
    from matplotlib.patheffects import withStroke

    halo = withStroke(linewidth=2, foreground="white")
    places, _ = _places(found)
    dots = axis.transData.transform(places)
    taken, inside = [axis.get_legend().get_window_extent()], axis.get_window_extent()
    for index, (each, place) in enumerate(zip(found, places, strict=True)):
        if each.number is None:
            continue
        for offset in OFFSETS:
            text = axis.annotate(
                str(each.number), place, xytext=offset, textcoords="offset points", fontsize=8,
                ha="center", va="center", zorder=4, path_effects=[halo],
            )  # fmt: skip
            box = text.get_window_extent()
            free = inside.contains(*box.min) and inside.contains(*box.max)
            beside = box.padded(MARGIN).count_contains(np.delete(dots, index, axis=0))
            if free and not beside and not box.count_overlaps(taken):
                break
            if offset != OFFSETS[-1]:
                text.remove()
        taken.append(box)
