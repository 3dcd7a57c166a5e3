"""Energy of a mapped design, as rows: measured on its netlist, or as recorded for its variant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sim.costs import ELEMENTS, FOOT, CostTable, costs_from, costs_of
from sim.energy import full_use
from sim.silicon import Unit, silicon
from sim.synth.element import Element
from sim.synth.record import conditions_of, element_at_work, element_of, lane_of, units_of
from sim.synth.standby import standby
from sim.synth.suffices import require_power
from sim.synth.synthesis import Synthesis
from sim.synth.units import unit_of

__all__ = [
    "Measured", "energy_parts", "measured", "power_rows", "recorded_line", "swallowed",
    "swallowed_line",
]  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What was measured on a netlist.

    Members
    -------
    costs : CostTable
    element : Element
        What an element takes by what it does, and of that its parts.
    """

    costs: CostTable
    element: Element


def measured(result: Synthesis) -> Measured:
    """Measure a netlist; of what it does not have, such as lanes, costs are as recorded.

    Raises
    ------
    RuntimeError
        The netlist does not do what the RTL did.
    LibertyError
        The library tells no energy.
    """
    require_power(result.library)
    config, unit = result.config, result.design.unit
    lane = lane_of(result) if unit == "top" else silicon().chips["paper"].lane
    units = units_of(result) if unit == "top" else _foot(result) if unit == "array" else {}
    found = element_at_work(result)
    return Measured(costs_from(config, element_of(result, found), lane, units), found)


def _foot(result: Synthesis) -> dict[str, Unit]:
    """Return what an array has beside its elements, at rest."""
    rest = {each.name: each for each in standby(result.netlist, conditions_of(result))}
    own = [share for share in result.units if unit_of(share.name) != ELEMENTS]
    clock_fj = sum(share.instances * rest[share.name].clock_fj for share in own)
    leakage_nw = sum(share.instances * rest[share.name].leakage_nw for share in own)
    return {
        FOOT: Unit(
            cells=sum(share.cells for share in own),
            flip_flops=sum(share.registers for share in own),
            area_um2=sum(share.area_um2 for share in own),
            period_ns=0.0,  # of the array's own paths, nothing here asks for it
            clock_pj=clock_fj * 1e-3,
            leakage_mw=leakage_nw * 1e-6,
        )
    }


def recorded_line() -> str:
    """Return where recorded figures are from."""
    found = silicon()
    return (
        f"energy as recorded in {found.library} at {found.clock_mhz:g} MHz; --power measures this "
        "netlist"
    )


def swallowed(config: Config, found: Measured) -> dict[str, float]:
    """Return by dataflow the pJ a MAC that pulses inside its element's gates take at most.

    They do not pass their gate, and are not in what a MAC takes; see `sim.synth.power.Breakdown`.
    """
    return {
        flow.name: found.element.timed[flow.name].swallowed * 1e-3 / config.macs_per_element
        for flow in config.dataflows
    }


def swallowed_line(found: dict[str, float]) -> str:
    """Return what `swallowed` gives as a line, behind where the other figures are from."""
    each = ", ".join(f"{pj:.3f} in {name}" for name, pj in found.items())
    return (
        f"energy measured on this netlist; pulses that gates swallow would add, at most, pJ a MAC: "
        f"{each}"
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
    config: Config, unit: str, found: Measured | None = None
) -> dict[str, dict[str, float]]:
    """Return pJ a MAC by part and dataflow, with glitches, where every element multiplies.

    Of an accelerator, its components. Of an element, what of its netlist takes it, and what
    glitches and wires add to all that; as recorded, only clocks at rest and leakage are told
    from the rest. Of an array, the same, and what tiles and sums take on their way.

    Parameters
    ----------
    unit : str
        ``pe``, ``array`` or ``top``.
    found : Measured, optional
        By default what is recorded.
    """
    costs = found.costs if found else costs_of(config)
    parts: dict[str, dict[str, float]] = {}
    for dataflow in config.dataflows:
        if unit == "top":
            spent = full_use(config, dataflow, costs)
            each = {name: 1e12 * joules / spent.macs for name, joules in spent.components.items()}
        else:
            each = _element_parts(config, dataflow, costs, found.element if found else None)
        if unit == "array":
            each |= _array_parts(config, dataflow, costs)
        parts[dataflow.name] = each
    return parts


_CALLED = {
    "inputs": "nets of inputs", "logic": "logic", "adders": "full adders",
    "registers": "registers", "clock": "clock", "leakage": "leakage",
}  # fmt: skip
"""Parts of `sim.synth.power.Part`, and what they are called here."""


def _element_parts(
    config: Config, dataflow: Dataflow, costs: CostTable, element: Element | None
) -> dict[str, float]:
    """Return pJ of a MAC in an element, by part."""
    mac = costs.mac_ws if dataflow is Dataflow.WS else costs.mac_os
    settled, products = mac.at(timed=False), config.macs_per_element
    if element is None:
        clock = costs.pe_clock.at(timed=False) / products
        leakage = costs.pe_leakage.value * 1e3 / silicon().clock_mhz / products  # mW / MHz = nJ
        parts = {
            "switching and gated clocks": settled - clock - leakage,
            "clock at rest": clock,
            "leakage": leakage,
        }
    else:
        figures = element.zero_delay[dataflow.name].parts
        parts = {_CALLED[name]: fj * 1e-3 / products for name, fj in figures.items()}
    return parts | {"glitches and wires": mac.value - settled}


def _array_parts(config: Config, dataflow: Dataflow, costs: CostTable) -> dict[str, float]:
    """Return pJ a MAC of what an array at full use does beside its MACs."""
    spent = full_use(config, dataflow, costs)
    moved = {
        "tiles and sums on their way": spent.dynamic["loads and drains"],
        "sums at the foot": spent.dynamic["foot"],
    }
    if (foot := costs.units.get(FOOT)) is not None:
        rest = spent.cycles * foot.clock_pj * 1e-12 + spent.seconds * foot.leakage_mw * 1e-3
        moved["sums at the foot"] += rest
    return {name: 1e12 * joules / spent.macs for name, joules in moved.items()}
