"""Area and energy as a picture: bars, cut into units of cells and memories, and components."""

from __future__ import annotations

from typing import Any

from ..plotting import figure_style, render

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
        axes = _bars(panels[0], {"": parts(figures)}, "mm$^2$")
        axes.set_xlabel("mm$^2$ of cells and memories, without place and route")
        axes.set_title(
            f"{figures['unit']}, {figures['library']}: {figures['total_mm2']:.2f} mm$^2$"
        )
        if energy:
            axes = _bars(panels[1], {name: energy_parts(e) for name, e in energy.items()}, "pJ")
            origin = "as recorded" if figures["energy_recorded"] else "of this netlist"
            axes.set_xlabel("pJ a MAC at full use, with glitches and leakage")
            axes.set_title(f"energy, {origin}")
        return render(figure, suffix)


def _bars(panel: Any, found: dict[str, list[tuple[str, float]]], unit: str) -> Any:
    """Draw a bar for each entry, equal names in equal colours; return the axes."""
    from matplotlib import colormaps

    colours, axes = colormaps["tab20"], panel.subplots()
    names = list(dict.fromkeys(name for each in found.values() for name, _ in each))
    values = {name: [dict(each).get(name, 0.0) for each in found.values()] for name in names}
    left = [0.0] * len(found)
    for index, name in enumerate(names):
        sizes = ", ".join(f"{value:.3g}" for value in values[name])
        axes.barh(list(found), values[name], left=left, color=colours(index % 20),
                  edgecolor="white", label=f"{name}, {sizes} {unit}")  # fmt: skip
        left = [start + value for start, value in zip(left, values[name], strict=True)]
    axes.invert_yaxis()
    if list(found) == [""]:
        axes.set_yticks([])
    panel.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return axes
