"""Area as a picture: one bar, cut into units of cells and memories."""

from __future__ import annotations

from typing import Any

from ..plotting import figure_style, render

__all__ = ["draw", "parts"]

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


def draw(figures: dict[str, Any], suffix: str) -> bytes:
    """Return the figure of what `sw.synth.rows.figures` returns, as a file of that suffix."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    found = parts(figures)
    colours = colormaps["tab20"]
    with figure_style():
        figure = Figure(figsize=(8, 2.6), layout="constrained")
        axes = figure.subplots()
        left = 0.0
        for index, (name, mm2) in enumerate(found):
            label = f"{name}, {mm2:.3g} mm$^2$"
            axes.barh(0, mm2, left=left, color=colours(index % 20), edgecolor="white", label=label)
            left += mm2
        axes.set_yticks([])
        axes.set_xlabel("mm$^2$ of cells and memories, without place and route")
        axes.set_title(
            f"{figures['unit']}, {figures['library']}: {figures['total_mm2']:.2f} mm$^2$"
        )
        figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
        return render(figure, suffix)
