"""Measure elements and whole designs, and write what `sim.silicon` reads.

``python -m sim.synth.record`` maps every variant of the element and the designs of `CHIPS`,
simulates their netlists on real products, and replaces the file. Names after it choose some.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np

from hw.isa.config import Config

from .. import silicon
from ..cache import lock
from ..silicon import VARIANT, Chip, Lane, Narrow, Price, Silicon, Unit, variant
from ..toolchain import yosys_version
from .circuit import Circuit
from .element import Element, measure, record_products
from .flat import Flat, flatten
from .lanes import accumulate_lane, store_lane
from .library import find_library
from .loads import Conditions
from .netlist import Netlist
from .sta import DEFAULT, Timing, analyse, chosen_wire_load
from .standby import standby
from .synthesis import Synthesis, synthesise
from .units import owned, unit_of
from .work import Rest, Work

__all__ = [
    "BITS", "CHIPS", "CLOCK_MHZ", "chip", "conditions_of", "element_at_work", "element_of",
    "element_prices", "lane_of", "lane_prices", "narrow_of", "rest_by_unit", "unit_periods",
    "units_of", "variants",
]  # fmt: skip

CLOCK_MHZ = 400
"""The paper's clock, at which energies are measured."""

FILE = Path(silicon.__file__).parent / "data" / "silicon.json"

CHIPS: Mapping[str, Mapping[str, int]] = {
    "paper": {},
    "overlap": {"drain_overlap": 1},
    "ws_only": {"output_stationary": 0},
    "os_only": {"weight_stationary": 0},
    "os_only_overlap": {"weight_stationary": 0, "drain_overlap": 1},
    "fast": {"product_register": 1},
    # As many products in a quarter of the rows; as much input memory in words a quarter as wide.
    "four": {"rows": 16, "macs_per_element": 4, "input_depth": 16384},
    "quarter": {"rows": 16, "columns": 16, "bus_bytes": 16},
}
"""Designs, as changes of the preset ``paper``. The last tells how units grow with the array."""

BITS = tuple(itertools.product((8, 6, 4), repeat=2))
"""Of left and right operands, of which MACs are recorded."""

_ELEMENT, _ACCUMULATE, _STORE = "cdmqta_pe", "cdmqta_lane", "cdmqta_post_lane"


def variants() -> Iterator[dict[str, int]]:
    """Return the fields of every variant of the element; drains overlap only where some are."""
    dataflows = [(1, 1, 1), (1, 1, 0), (1, 0, 0), (0, 1, 1), (0, 1, 0)]
    for macs, register, flows in itertools.product((1, 2, 4), (0, 1), dataflows):
        yield dict(zip(VARIANT, (*flows, register, macs), strict=True))


def conditions_of(result: Synthesis) -> Conditions:
    """Return the conditions of all recorded energies: the library's wires, the paper's clock."""
    wires = chosen_wire_load(result.library, DEFAULT)
    return Conditions(wire_load=wires, period_ns=1e3 / CLOCK_MHZ)


def element_at_work(result: Synthesis) -> Element:
    """Measure the element of a design, or one that was mapped by itself, by what it does.

    Raises
    ------
    RuntimeError
        A netlist does not do what the RTL did.
    """
    circuit = Circuit(flatten(result.netlist, _ELEMENT), result.library)
    return measure(circuit, record_products(result.config), conditions_of(result))


def element_of(result: Synthesis, found: Element | None = None) -> silicon.Element:
    """Return prices of the element of a design: `found`, or what `element_at_work` finds."""
    found = found or element_at_work(result)
    flat = flatten(result.netlist, _ELEMENT)
    return element_prices(found, analyse(flat, result.wire_load).period_ns)


def narrow_of(bits: tuple[int, int]) -> Narrow:
    """Measure MACs of operands of so many bits in the element of the preset ``paper``.

    Raises
    ------
    RuntimeError
        The netlist does not do what the RTL did.
    """
    result = synthesise(Config.preset("paper"), "pe")
    circuit = Circuit(flatten(result.netlist, _ELEMENT), result.library)
    found = measure(circuit, record_products(result.config, bits=bits), conditions_of(result))
    prices = element_prices(found, result.period_ns)
    return Narrow(*bits, prices.mac_ws, prices.mac_os)


def element_prices(found: Element, period_ns: float) -> silicon.Element:
    """Return prices from what was measured; of a dataflow that it does not have, 0."""

    def price(load: str, base: str | None = None) -> Price:
        if load not in found.timed:
            return Price(0.0, 0.0)
        timed, settled = (
            found.total(load, timed=mode) - (found.total(base, timed=mode) if base else 0.0)
            for mode in (True, False)
        )
        return Price(timed, settled)

    alone = "OS_DRAINING" not in found.timed
    return silicon.Element(
        area_um2=found.area_um2,
        period_ns=period_ns,
        mac_ws=price("WS"),
        mac_os=price("OS"),
        padding_ws=price("WS_PADDING", "IDLE"),
        padding_os=price("OS_PADDING", "IDLE"),
        load_shift=price("WS_LOADING", "WS"),
        drain_shift=price("DRAIN", "IDLE") if alone else price("OS_DRAINING", "OS"),
        clock=Price(found.clock(), found.clock(timed=False)),
        leakage_mw=found.leakage_mw(),
    )


def lane_of(result: Synthesis) -> Lane:
    """Measure the lanes of a whole design.

    Raises
    ------
    RuntimeError
        A netlist does not do what the RTL did.
    """
    conditions, config = conditions_of(result), result.config
    accumulate, store = (
        Circuit(flatten(result.netlist, name), result.library) for name in (_ACCUMULATE, _STORE)
    )
    return lane_prices(
        accumulate_lane(accumulate, config, conditions), store_lane(store, config, conditions)
    )


def units_of(result: Synthesis) -> dict[str, Unit]:
    """Return all units of a whole design."""
    rest = rest_by_unit(result.netlist, conditions_of(result))
    periods = unit_periods(result.timing)
    return {
        share.name: Unit(
            cells=share.cells,
            flip_flops=share.registers,
            area_um2=share.area_um2,
            period_ns=periods.get(share.name, 0.0),
            clock_pj=rest[share.name].clock_fj * 1e-3,
            leakage_mw=rest[share.name].leakage_nw * 1e-6,
        )
        for share in result.units
    }


def chip(changes: Mapping[str, int]) -> Chip:
    """Map and measure a whole design."""
    result = synthesise(Config.preset("paper").replace(**changes))
    path = result.path
    assert path is not None
    return Chip(
        dict(changes), units_of(result), lane_of(result), result.period_ns, path.start, path.end
    )


def lane_prices(accumulate: Work, store: Work) -> Lane:
    """Return what lanes add for a sum."""

    def price(make: Work, of: str, base: str) -> Price:
        timed, settled = (1e-3 * (mode[of] - mode[base]) for mode in (make.timed, make.zero_delay))
        return Price(timed, settled)

    both = [price(accumulate, each, "rest") for each in ("accumulate", "overwrite")]
    timed = float(np.mean([each.timed for each in both]))
    mean = Price(timed, float(np.mean([each.zero_delay for each in both])))
    return Lane(
        accumulate=mean,
        requantise=price(store, "requantise", "rest"),
        rescale=price(store, "rescale", "reduce"),
        reduce=price(store, "reduce", "rest"),
    )


def rest_by_unit(netlist: Netlist, conditions: Conditions) -> dict[str, Rest]:
    """Return what the units of an accelerator take at rest, with all their instances."""
    own = {each.name: each for each in standby(netlist, conditions)}
    found: dict[str, Rest] = {}
    for (unit, module), instances in owned(netlist).items():
        before, each = found.get(unit, Rest(0.0, 0.0)), own[module]
        found[unit] = Rest(
            before.clock_fj + instances * each.clock_fj,
            before.leakage_nw + instances * each.leakage_nw,
        )
    return found


def unit_periods(timing: Timing) -> dict[str, float]:
    """Return the period that the longest path into each unit of an accelerator needs, in ns."""
    flat: Flat = timing.graph.flat
    names, marks = flat.marked(lambda module, above: unit_of(module) or above or module)
    ends = timing.ends[: len(timing.graph.checked)]
    of = marks[timing.graph.checked]
    return {
        name: float(ends[of == number].max())
        for number, name in enumerate(names)
        if (of == number).any()
    }


def _recorded() -> Silicon:
    """Return what there is; nothing, if there is none yet."""
    try:
        return silicon.silicon()
    except FileNotFoundError:
        return Silicon("", "", CLOCK_MHZ, {}, {})


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(["elements", "bits", *CHIPS]))
@click.option("--missing", is_flag=True, help="Only what is not there yet.")
def main(names: tuple[str, ...], missing: bool) -> None:
    """Measure NAMES, or everything, and write the file."""
    there = _recorded() if missing else None
    chosen = names or ("elements", "bits", *CHIPS)
    paper = Config.preset("paper")
    if "elements" in chosen:
        for fields in variants():
            config = paper.replace(**fields)
            if there is not None and variant(config) in there.elements:
                continue
            click.echo(f"element {fields}")
            _keep(elements={variant(config): element_of(synthesise(config, "pe"))})
    for bits in BITS if "bits" in chosen else ():
        if there is None or bits not in there.narrow:
            click.echo(f"operands of {bits[0]} and {bits[1]} bits")
            _keep(narrow={bits: narrow_of(bits)})
    for name, changes in CHIPS.items():
        if name in chosen and (there is None or name not in there.chips):
            click.echo(f"design {name}")
            _keep(chips={name: chip(changes)})


def _keep(
    elements: Mapping[tuple[int, ...], silicon.Element] | None = None,
    chips: Mapping[str, Chip] | None = None,
    narrow: Mapping[tuple[int, int], Narrow] | None = None,
) -> None:
    """Replace some of the file: what takes long is kept as soon as it is there."""
    library = find_library()
    corner = f"{library.name}, {library.voltage_v:g} V, {library.temperature_c:g} C"
    with lock(FILE):
        silicon.silicon.cache_clear()
        before = _recorded()
        found = Silicon(
            corner,
            yosys_version(),
            CLOCK_MHZ,
            before.elements | dict(elements or {}),
            before.chips | dict(chips or {}),
            before.narrow | dict(narrow or {}),
        )
        text = json.dumps(_rounded(found.as_json()), indent=1) + "\n"
        part = FILE.with_suffix(".part")
        part.write_text(text, encoding="ascii")
        part.replace(FILE)


def _rounded(held: object) -> object:
    """Return the same with six digits of each number, for a file that is easy to compare."""
    if isinstance(held, dict):
        return {name: _rounded(each) for name, each in held.items()}
    if isinstance(held, list):
        return [_rounded(each) for each in held]
    return float(f"{held:.6g}") if isinstance(held, float) else held


if __name__ == "__main__":
    main()
