"""What stands in for a synthesis where no cell library can be had: recorded figures, marked so."""

from __future__ import annotations

from typing import Any

from hw.isa.config import Config
from sim.area import area
from sim.costs import ELEMENTS, FOOT, costs_of
from sim.silicon import silicon

from ..console import Report
from .power import power_rows
from .rows import area_rows, area_text

__all__ = ["recorded_figures", "report_recorded"]


def recorded_figures(config: Config, unit: str) -> dict[str, Any]:
    """Return areas and energies that are recorded for a configuration.

    The element is that of its variant; units other than it are those of this very design if it is
    one of the recorded ones, else they lie between two that are (`sim.costs`).
    """
    found, element = silicon(), silicon().element(config)
    whole = area(config).components
    if unit == "pe":
        parts, period = {ELEMENTS: element.area_um2 * 1e-6}, element.period_ns
    elif unit == "array":
        parts = {name: whole[name] for name in (ELEMENTS, FOOT)}
        period = max(element.period_ns, costs_of(config).units[FOOT].period_ns)
    else:
        # Only of this very design: no other tells how long its paths are.
        chip = found.chip(config)
        parts, period = whole, chip.period_ns if chip else None
    units = [{"unit": name, "mm2": mm2} for name, mm2 in parts.items()]
    return {
        "recorded": True,
        "unit": unit,
        "library": found.library,
        "tool": found.tool,
        "units": units,
        "total_mm2": sum(row["mm2"] for row in units),
        "element_um2": element.area_um2,
        "element_period_ns": element.period_ns,
        "period_ns": period,
        "fmax_mhz": 1e3 / period if period else None,
        "energy": power_rows(config, unit),
    }


def report_recorded(config: Config, report: Report, unit: str, line: str) -> None:
    """Print recorded figures, and say that they are; nothing is made of options about netlists."""
    figures = recorded_figures(config, unit)
    report.line(
        f"recorded, not made now: {unit}, {line}, in {figures['library']}, yosys {figures['tool']}"
    )
    total = figures["total_mm2"]
    report.table(area_rows(figures["units"], total))
    report.line(
        f"in all {area_text(total)}; an element {figures['element_um2']:.1f} um2, "
        f"{figures['element_period_ns']:.3f} ns"
    )
    if unit == "top":
        period = figures["period_ns"]
        known = f"{period:.3f} ns, {figures['fmax_mhz']:.0f} MHz" if period else "not recorded"
        report.line(f"period {known}")
    report.table(figures["energy"])
    report.json(figures)
