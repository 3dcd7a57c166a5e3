"""Energy of a mapped design, as rows: measured on its netlist, or as recorded for its variant."""

from __future__ import annotations

from typing import Any

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sim.costs import CostTable, costs_from, costs_of
from sim.energy import full_use
from sim.silicon import silicon
from sim.synth.record import element_of, lane_of, units_of
from sim.synth.suffices import require_power
from sim.synth.synthesis import Synthesis

__all__ = ["energy_parts", "measured_costs", "power_rows", "recorded_line"]


def measured_costs(result: Synthesis) -> CostTable:
    """Return costs measured on a netlist; of what it does not have, such as lanes, as recorded.

    Raises
    ------
    RuntimeError
        The netlist does not do what the RTL did.
    LibertyError
        The library tells no energy.
    """
    require_power(result.library)
    config = result.config
    whole = result.design.unit == "top"
    lane = lane_of(result) if whole else silicon().chips["paper"].lane
    return costs_from(config, element_of(result), lane, units_of(result) if whole else {})


def recorded_line() -> str:
    """Return where recorded figures are from."""
    found = silicon()
    return (
        f"energy as recorded in {found.library} at {found.clock_mhz:g} MHz; --power measures this "
        "netlist"
    )


def power_rows(config: Config, unit: str, costs: CostTable | None = None) -> list[dict[str, Any]]:
    """Return for each dataflow what a MAC takes; of an accelerator, what all takes at full use.

    Parameters
    ----------
    unit : str
        ``pe``, ``array`` or ``top``.
    costs : CostTable, optional
        By default those that are recorded.
    """
    costs = costs or costs_of(config)
    rows = []
    for dataflow in config.dataflows:
        mac = costs.mac_ws if dataflow is Dataflow.WS else costs.mac_os
        row = {
            "dataflow": dataflow.name,
            "pj_a_mac": mac.value,
            "pj_a_mac_zero_delay": mac.at(timed=False),
        }
        if unit == "top":
            found = full_use(config, dataflow, costs)
            row |= {
                "watts": found.power(),
                "tops_per_watt": found.tops_per_watt,
                "tops_per_watt_zero_delay": found.tops_per_watt_zero_delay,
            }
        rows.append(row)
    return rows


def energy_parts(
    config: Config, unit: str, costs: CostTable | None = None
) -> dict[str, dict[str, float]]:
    """Return pJ a MAC by component and dataflow, with glitches, of an array at full use.

    Parameters are those of `power_rows`. Of an element or an array, one component.
    """
    costs = costs or costs_of(config)
    found: dict[str, dict[str, float]] = {}
    for dataflow in config.dataflows:
        if unit == "top":
            spent = full_use(config, dataflow, costs)
            parts = {name: 1e12 * joules / spent.macs for name, joules in spent.components.items()}
        else:
            mac = costs.mac_ws if dataflow is Dataflow.WS else costs.mac_os
            parts = {"elements": mac.value}
        found[dataflow.name] = parts
    return found
