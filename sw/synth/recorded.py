"""What stands in for a synthesis where no cell library can be had: recorded figures, marked so."""

from __future__ import annotations

from typing import Any

from hw.isa.config import Config
from sim.area import area
from sim.silicon import silicon

from ..console import Report
from .power import power_rows

__all__ = ["recorded_figures", "report_recorded"]


def recorded_figures(config: Config, unit: str) -> dict[str, Any]:
    """Return areas and energies that are recorded for a configuration.

    The element is that of its variant; units other than it are those of this very design if it is
    one of the recorded ones, else they lie between two that are (`sim.costs`).
    """
    found, element = silicon(), silicon().element(config)
    elements = config.rows * config.columns if unit != "pe" else 1
    units = [{"unit": "elements", "mm2": elements * element.area_um2 * 1e-6}]
    if unit == "top":
        units = [{"unit": name, "mm2": mm2} for name, mm2 in area(config).components.items()]
    # A chip has a period where this very design was recorded.
    chip = next((each for each in found.chips.values() if each.config == config), None)
    period = element.period_ns if unit != "top" else chip.period_ns if chip else None
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
    report.table(figures["units"])
    report.line(
        f"in all {figures['total_mm2']:.3f} mm2; an element {figures['element_um2']:.0f} um2, "
        f"{figures['element_period_ns']:.3f} ns"
    )
    if unit == "top":
        period = figures["period_ns"]
        known = f"{period:.3f} ns, {figures['fmax_mhz']:.0f} MHz" if period else "not recorded"
        report.line(f"period {known}")
    report.table(figures["energy"])
    report.json(figures)
