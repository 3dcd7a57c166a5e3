"""Each product of the hybrid step against the bounds of array and DRAM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..cost import ProductCost, StepCost
from ..plotting import figure_style, render
from .step import Comparison
from .text import bandwidth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_roofline", "roofline_rows"]

LIMITS = {
    "compute": ("#2e8b57", "o", "the array's folds"),
    "dram": ("#d1495b", "s", "bytes over bus and DRAM"),
    "fill": ("#4c86c6", "^", "start, latency, fill and drain"),
}
"""Colour, mark and name of what takes most of a product's time."""
NAMED = 7
"""Shapes that are named: those of most cycles."""
PLACES = ((11, 0), (-11, 0), (9, -9), (-9, -9), (9, 9), (-9, 9), (0, 14), (0, -14), (0, 22))
"""Where a name may stand beside its mark, in points, best first."""


def roofline_rows(cost: StepCost) -> list[dict[str, Any]]:
    """Return a row for each distinct product, most cycles first.

    Returns
    -------
    list of dict
        `role`, `shape` ([M, K, N]), `dataflow`, `swapped`, `runs`, `cycles` (of one run),
        `total_cycles`, `intensity` (MACs a byte of DRAM), `macs_per_cycle`, `limit`, and
        `dram_read_bytes`, `dram_write_bytes` of one run.
    """
    rows: dict[tuple, dict[str, Any]] = {}
    for row in cost.rows:
        product = row.product
        key = (str(product.role), product.m, product.k, product.n, row.dataflow)
        if key not in rows:
            rows[key] = _row(row)
        rows[key]["runs"] += product.count
    for row in rows.values():
        row["total_cycles"] = row["cycles"] * row["runs"]
    return sorted(rows.values(), key=lambda row: -row["total_cycles"])


def _row(row: ProductCost) -> dict[str, Any]:
    product = row.product
    macs = product.m * product.k * product.n
    return {
        "role": str(product.role),
        "shape": [product.m, product.k, product.n],
        "dataflow": row.dataflow,
        "swapped": row.swapped,
        "runs": 0,
        "cycles": row.cycles,
        "total_cycles": 0,
        "intensity": macs / row.dram_bytes,
        "macs_per_cycle": macs / row.cycles,
        "limit": row.limit,
        "dram_read_bytes": row.dram_read_bytes,
        "dram_write_bytes": row.dram_write_bytes,
    }


def draw_roofline(comparisons: Sequence[Comparison], title: str, suffix: str) -> bytes:
    """Return the roofline of the LoRA-hybrid step: a panel for each bandwidth.

    Parameters
    ----------
    comparisons : sequence of Comparison
        Those of one model.
    suffix : str
        One of `sw.plotting.FORMATS`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(len(comparisons), 2)
    down = -(-len(comparisons) // across)
    with figure_style():
        figure = Figure(figsize=(6.4 * across, 0.5 + 4.6 * down), layout="constrained")
        canvas = FigureCanvasAgg(figure)  # measures texts
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axis, each in zip(axes.flat, comparisons, strict=False):
            rows = roofline_rows(each.hybrid)
            axis.set_xscale("log", base=2)
            axis.set_yscale("log", base=2)
            _points(axis, rows)
            _roofs(axis, each, rows)
            axis.set_title(f"DRAM {bandwidth(each.dram_gbps)}", fontsize=10)
            axis.legend(loc="lower right", fontsize=7.5, title="most of the time goes to",
                        title_fontsize=7.5)  # fmt: skip
            for one in (axis.xaxis, axis.yaxis):
                one.set_major_formatter("{x:,g}")
        for axis in axes.flat[len(comparisons) :]:
            axis.set_axis_off()
        figure.supxlabel("arithmetic intensity, MACs a byte of DRAM", fontsize=9)
        figure.supylabel("MACs a cycle", fontsize=9)
        figure.suptitle(title, fontsize=11)
        figure.draw_without_rendering()  # names are put where they are free
        for axis, each in zip(axes.flat, comparisons, strict=False):
            _names(axis, roofline_rows(each.hybrid), canvas.get_renderer())
        return render(figure, suffix)


def _points(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw a mark for each product; its area grows with its part of the step."""
    whole = sum(row["total_cycles"] for row in rows)
    for limit, (colour, mark, name) in LIMITS.items():
        some = [row for row in rows if row["limit"] == limit]
        if not some:
            continue
        part = sum(row["total_cycles"] for row in some) / whole
        axis.scatter(
            [row["intensity"] for row in some], [row["macs_per_cycle"] for row in some],
            s=[24 + 1500 * row["total_cycles"] / whole for row in some],
            color=colour, marker=mark, alpha=0.75, linewidths=0.6, edgecolors="white", zorder=3,
            label=f"{name} ({part:.0%} of cycles)",
        )  # fmt: skip


def _roofs(axis: Axes, each: Comparison, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the array's roof and those of bus and DRAM, from before the first point on."""
    config = each.hybrid.config
    peak = config.macs_per_cycle
    low = min(row["intensity"] for row in rows) / 1.5
    high = 2 * max(row["intensity"] for row in rows)
    bottom = min(row["macs_per_cycle"] for row in rows) / 1.5
    axis.plot([low, high], [peak, peak], color="black", linewidth=1.2)
    size = f"{config.rows}x{config.columns}"
    if config.macs_per_element > 1:
        size += f" of {config.macs_per_element}"
    axis.annotate(f"{size} array: {peak:,} MACs a cycle", (low, peak),
                  xytext=(4, 4), textcoords="offset points", fontsize=8)  # fmt: skip
    # Reads and writes have channels of their own, so twice the width may move in a cycle.
    roofs = {f"bus, 2 x {config.bus_bytes} bytes a cycle": 2.0 * config.bus_bytes}
    rate = config.dram_bytes_per_cycle
    if rate is not None and rate != 2 * config.bus_bytes:
        roofs[f"DRAM, {rate:g} bytes a cycle"] = rate
    for name, slope in roofs.items():
        start = max(low, bottom / slope)
        axis.plot([start, peak / slope], [start * slope, peak], color="0.35", lw=0.9, ls="--")
        middle = start * (peak / slope / start) ** 0.3  # where few products are
        axis.text(
            middle, middle * slope, name, fontsize=7.5, color="0.3", ha="center", va="bottom",
            rotation=math.degrees(math.atan(slope)), rotation_mode="anchor",
            transform_rotates_text=True,
        )  # fmt: skip
    axis.set_xlim(low, high)
    axis.set_ylim(bottom, 1.7 * peak)


def _names(axis: Axes, rows: Sequence[dict[str, Any]], renderer: Any) -> None:
    """Name the shapes that take most cycles, each where its name hides nothing, or not at all."""
    shapes: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for row in rows:
        shapes.setdefault(tuple(row["shape"]), []).append(row)
    places = [(row["intensity"], row["macs_per_cycle"]) for row in rows]
    dots = axis.transData.transform(places)
    inside = axis.get_window_extent(renderer)
    taken = [each.get_window_extent(renderer) for each in (*axis.texts, axis.get_legend())]
    for shape, some in list(shapes.items())[:NAMED]:
        name = f"{', '.join(row['role'] for row in some)} {'x'.join(map(str, shape))}"
        for across, up in PLACES:
            text = axis.annotate(
                name, (some[0]["intensity"], some[0]["macs_per_cycle"]), xytext=(across, up),
                textcoords="offset points", fontsize=6.5, color="0.2", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
                ha=("right", "center", "left")[(across > 0) - (across < 0) + 1],
            )  # fmt: skip
            box = text.get_window_extent(renderer)
            fits = inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)
            free = not any(box.overlaps(other) for other in taken)
            if fits and free and not box.padded(4).count_contains(dots):
                taken.append(box)
                break
            text.remove()
