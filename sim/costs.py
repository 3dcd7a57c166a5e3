"""The one table of what events and units cost in energy and area, each with its source.

A `CostTable` is a value: `costs_of` gives that of the hardware as it is built, and whoever has
better figures passes a copy with those replaced. `docs/energy.md` is written from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from hw.isa.config import Config
from hw.isa.pipeline import TURNS

from .macros import SRAM
from .silicon import Element, Lane, Price, Unit, silicon
from .sram_table import Organisation

__all__ = [
    "DRIVERS", "ELEMENTS", "FOOT", "ORIGINS", "Cost", "CostTable", "costs_from", "costs_of", "skew",
]  # fmt: skip

ELEMENTS = "elements"
"""The unit that has a price for each of its elements."""

FOOT = "array foot"
"""The unit that an array has beside its elements."""

ORIGINS = {
    "netlist": "measured on this hardware's own netlist, with what it sees in real products "
    "([power](power.md)), and recorded by `python -m sim.synth.record`",
    "library": "the Liberty file of Nangate45 typical (1.1 V, 25 C), internal power and pins",
    "literature": "published figures, named with the entry",
}
"""What the first word of a source stands for."""


@dataclass(frozen=True)
class Cost:
    """A number, its unit, and where it is from: a word of `ORIGINS`, a colon, and the details.

    `zero_delay` is what stands for `value` without delays and wires, if it differs.
    """

    value: float
    unit: str
    source: str
    zero_delay: float | None = None

    def at(self, *, timed: bool) -> float:
        """Return the value with delays and wires, or without."""
        return self.value if timed or self.zero_delay is None else self.zero_delay


def _entry(doc: str) -> Any:
    """Return a field of the table that says what it is."""
    return dataclasses.field(metadata={"doc": doc})


@dataclass(frozen=True)
class CostTable:
    """Costs by name; see the text of each field."""

    mac_ws: Cost = _entry("a MAC in WS, with clock and leakage of its element in that cycle")
    mac_os: Cost = _entry("the same in OS")
    padding_ws: Cost = _entry("what a wave adds to an element that has nothing to multiply, in WS")
    padding_os: Cost = _entry("the same in OS")
    load_shift: Cost = _entry("what an element adds to pass a row of a stationary tile")
    drain_shift: Cost = _entry("what an element adds to pass a finished sum")
    pe_clock: Cost = _entry("clock of an element in which nothing moves")
    pe_leakage: Cost = _entry("leakage of an element")
    accumulate_sum: Cost = _entry("what a lane of the accumulator adds for a sum")
    store_sum: Cost = _entry("what a lane of the store engine adds for a sum made INT8")
    rescale_sum: Cost = _entry("what it adds beyond that if the sum is rescaled before")
    reduce_sum: Cost = _entry("what it adds for a sum whose maximum is looked for")
    flop_clock: Cost = _entry("clock of a flip-flop that keeps its value")
    flop_move: Cost = _entry("clock and switching of a flip-flop that takes random data")
    wire: Cost = _entry("a bit of random data over a wire between memory and array")
    dram_ddr3: Cost = _entry("a byte from or to DRAM of the DDR3 class")
    dram_lpddr4_low: Cost = _entry("a byte from or to DRAM of the LPDDR4 class, the least")
    dram_lpddr4_high: Cost = _entry("a byte from or to DRAM of the LPDDR4 class, the most")
    pe_area: Cost = _entry("an element")
    units: Mapping[str, Unit] = dataclasses.field(default_factory=dict)
    """All units but the elements: area, clock at rest, leakage."""
    sram: Organisation = SRAM
    """Banks of the memories; their figures are points of `sim.sram_table`."""

    def replace(self, **changes: Any) -> CostTable:
        """Return a copy with some entries changed."""
        return dataclasses.replace(self, **changes)

    def entries(self) -> tuple[tuple[str, str, Cost], ...]:
        """Return name, meaning and cost of every entry, in order."""
        return tuple(
            (item.name, item.metadata["doc"], getattr(self, item.name))
            for item in dataclasses.fields(self)
            if item.metadata
        )


@cache
def costs_of(config: Config) -> CostTable:
    """Return the costs of an accelerator as it is built.

    The element is the one recorded for this variant, whatever the size of the array. Units are
    those recorded where this very design was, and otherwise grow from one recorded size to the
    other, each with what drives it (`DRIVERS`).
    """
    found = silicon()
    return costs_from(config, found.element(config), found.chips["paper"].lane, _units(config))


def costs_from(config: Config, each: Element, lane: Lane, units: Mapping[str, Unit]) -> CostTable:
    """Return the costs of an accelerator from what was measured of it.

    Elements may be among the units; they have prices of their own.
    """
    macs = config.macs_per_element

    def price(of: Price, source: str, unit: str = "pJ", share: int = 1) -> Cost:
        return Cost(of.timed / share, unit, f"netlist: {source}", of.zero_delay / share)

    element, accumulate, store = "hw/pe.py", "hw/accumulate.py, a lane", "hw/postlane.py"
    return CostTable(
        mac_ws=price(each.mac_ws, element, share=macs),
        mac_os=price(each.mac_os, element, share=macs),
        padding_ws=price(each.padding_ws, element),
        padding_os=price(each.padding_os, element),
        load_shift=price(each.load_shift, element),
        drain_shift=price(each.drain_shift, element),
        pe_clock=price(each.clock, element, "pJ a cycle"),
        pe_leakage=Cost(each.leakage_mw, "mW", f"netlist: {element}"),
        accumulate_sum=price(lane.accumulate, accumulate),
        store_sum=price(lane.requantise, store),
        rescale_sum=price(lane.rescale, store),
        reduce_sum=price(lane.reduce, store),
        pe_area=Cost(each.area_um2, "um2", f"netlist: {element}"),
        units={name: unit for name, unit in units.items() if name != ELEMENTS},
        **_PUBLISHED,
    )


_PUBLISHED = {
    "flop_clock": Cost(0.0080, "pJ", "library: DFF_X1, both edges at a slope of 17 ps, clock pin"),
    "flop_move": Cost(
        0.0113, "pJ", "library: DFF_X1, half of the cycles with a new value, 3 fF at the output"
    ),
    "wire": Cost(
        0.032,
        "pJ a bit and mm",
        "literature: C V^2 / 4 (a rise every fourth cycle) at 1.1 V with 105 fF/mm, metal3 in "
        "OpenROAD-flow-scripts, platforms/nangate45/setRC.tcl; without repeaters",
    ),
    "dram_ddr3": Cost(
        160, "pJ a byte", "literature: Horowitz, ISSCC 2014, 1.3 nJ for 64 bits at least"
    ),
    "dram_lpddr4_low": Cost(32, "pJ a byte", "literature: 4 pJ a bit, usual for the class"),
    "dram_lpddr4_high": Cost(48, "pJ a byte", "literature: 6 pJ a bit, usual for the class"),
}


def skew(config: Config) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the flip-flops that skew the left and the right operand, see `hw.edge`.

    Returns
    -------
    plain, in_turns : pair of int each
        Left and right: those that are clocked in every cycle, and those clocked in turn.
    """
    late = 0 if config.weight_stationary else 1
    bits = 8 * config.macs_per_element
    lines = [2 + row for row in range(config.rows)], [1 + late + c for c in range(config.columns)]
    plain = tuple(bits * sum(length % TURNS for length in side) for side in lines)
    turned = tuple(bits * sum(length - length % TURNS for length in side) for side in lines)
    return plain, turned  # type: ignore[return-value]


DRIVERS = {
    FOOT: ("columns", lambda config: config.columns),
    "array edges": ("bits of skew", lambda config: sum(map(sum, skew(config)))),
    "accumulate": ("columns", lambda config: config.columns),
    "requantise and store": ("columns", lambda config: config.columns),
    "load": ("bits of the transposer", lambda config: 8 * config.transpose_columns**2),
    "controller": ("bytes of the bus", lambda config: config.bus_bytes),
    "AXI": ("bytes of the bus", lambda config: config.bus_bytes),
    "feed": ("rows", lambda config: config.rows),
    "operand buffers": ("rows", lambda config: config.rows),
}
"""What each unit grows with, and how much of it a configuration has."""


def _units(config: Config) -> Mapping[str, Unit]:
    """Return every unit, the elements only where this very design was recorded."""
    recorded = silicon()
    if (chip := recorded.chip(config)) is not None:
        return chip.units
    small, large = recorded.chips["quarter"], recorded.chips["paper"]
    found = {}
    for name, (_, driver) in DRIVERS.items():
        at, low, high = (driver(each) for each in (config, small.config, large.config))
        part = (at - low) / (high - low)
        found[name] = _between(small.units[name], large.units[name], part, at / low)
    return found


def _between(small: Unit, large: Unit, part: float, share: float) -> Unit:
    """Return a unit on the line through two; below the smaller, no less than its share of it."""

    def value(field: str) -> float:
        low, high = getattr(small, field), getattr(large, field)
        return max(low + part * (high - low), min(share, 1.0) * low)

    return Unit(
        cells=round(value("cells")),
        flip_flops=round(value("flip_flops")),
        area_um2=value("area_um2"),
        period_ns=max(small.period_ns, large.period_ns),
        clock_pj=value("clock_pj"),
        leakage_mw=value("leakage_mw"),
    )
