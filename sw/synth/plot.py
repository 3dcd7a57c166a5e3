"""Area and energy as a picture: bars, cut into units of cells and memories, and components."""

from __future__ import annotations

from typing import Any

from ..plotting import figure_style, render
from .rows import LEAST_MM2

__all__ = ["draw", "energy_parts", "parts"]

_LEAST = 0.004
"""Share of the whole below which a part is not shown by itself."""


def parts(figures: dict[str, Any]) -> list[tuple[str, float]]:
    """Return names and mm2 of cells, the largest first, then of memories; small ones as one."""
    groups = []
    for rows, key in ((figures["units"], "unit"), (figures["memories"], "memory")):
        shown, rest = [], 0.0
        for row in rows:
            if row["mm2"] >= _LEAST * figures["total_mm2"]:
                shown.append((row[key].removeprefix("cdmqta_sram_"), row["mm2"]))
            else:
                rest += row["mm2"]
        shown.sort(key=lambda part: -part[1])
        groups += shown + (
            [("other " + ("cells" if key == "unit" else "memories"), rest)] * (rest > 0)
        )
    return groups


def energy_parts(found: dict[str, float]) -> list[tuple[str, float]]:
    """Return names and pJ a MAC of components, the largest first; small ones as one."""
    least = _LEAST * sum(found.values())
    shown = sorted((part for part in found.items() if part[1] >= least), key=lambda part: -part[1])
    rest = sum(pj for pj in found.values() if pj < least)
    return shown + [("other", rest)] * (rest > 0)


def draw(figures: dict[str, Any], suffix: str) -> bytes:
    """Return the figure of what `sw.synth.rows.figures` returns, as a file of that suffix.

    Energy is drawn below area if there is ``pj_a_mac_by_component``, a bar a dataflow.
    """
    from matplotlib.figure import Figure

    energy = figures.get("pj_a_mac_by_component", {})
    with figure_style():
        heights = [2.6, *([1.9 + 0.5 * len(energy)] if energy else [])]
        figure = Figure(figsize=(8, sum(heights)), layout="constrained")
        panels = figure.subfigures(len(heights), height_ratios=heights, squeeze=False)[:, 0]
        small = figures["total_mm2"] < LEAST_MM2
        scale, unit = (1e6, "um$^2$") if small else (1.0, "mm$^2$")
        shown = [(name, scale * mm2) for name, mm2 in parts(figures)]
        axes = _bars(panels[0], {"": shown}, unit)
        kinds = "cells and memories" if figures["memories"] else "cells"
        axes.set_xlabel(f"{unit} of {kinds}, without place and route")
        total = f"{scale * figures['total_mm2']:,.{0 if small else 2}f} {unit}"
        axes.set_title(f"{figures['unit']}, {figures['library']}: {total}")
        if energy:
            axes = _bars(panels[1], {name: energy_parts(e) for name, e in energy.items()}, "pJ")
            origin = "as recorded" if figures["energy_recorded"] else "of this netlist"
            where = "in an element" if figures["unit"] == "pe" else "at full use"
            axes.set_xlabel(f"pJ a MAC {where}, with glitches and leakage")
            axes.set_title(f"energy, {origin}")
        return render(figure, suffix)


def _size(value: float) -> str:
    """Return three digits of a number, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bars(panel: Any, found: dict[str, list[tuple[str, float]]], unit: str) -> Any:
    """Draw a bar for each entry, equal names in equal colours; return the axes."""
    from matplotlib import colormaps

    colours, axes = colormaps["tab20"], panel.subplots()
    names = list(dict.fromkeys(name for each in found.values() for name, _ in each))
    values = {name: [dict(each).get(name, 0.0) for each in found.values()] for name in names}
    left = [0.0] * len(found)
    for index, name in enumerate(names):
        sizes = ", ".join(_size(value) for value in values[name])
        axes.barh(list(found), values[name], left=left, color=colours(index % 20),
                  edgecolor="white", label=f"{name}, {sizes} {unit}")  # fmt: skip
        left = [start + value for start, value in zip(left, values[name], strict=True)]
    axes.invert_yaxis()
    if list(found) == [""]:
        axes.set_yticks([])
    panel.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return axes
