"""What a mapped accelerator takes: elements and lanes by what they do, all units at rest.

The figures of a configuration, in a form that can be kept as JSON and from which prices are made.
Timed figures have wires, zero-delay figures have none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hw.isa.config import Config

from .circuit import Circuit
from .element import Element, measure, record_products
from .flat import flatten
from .lanes import accumulate_lane, store_lane
from .loads import Conditions
from .netlist import Netlist
from .standby import standby
from .units import owned
from .work import Rest, Work

__all__ = ["Consumption", "Prices", "consumption", "rest_by_unit"]

_ELEMENT, _ACCUMULATE, _STORE = "cdmqta_pe", "cdmqta_lane", "cdmqta_post_lane"


@dataclass(frozen=True)
class Prices:
    """Prices of events, in pJ, as `sim.costs.CostTable` has them.

    Members
    -------
    mac_zero_delay, mac_zero_delay_os, mac_ws, mac_os : float
        A MAC, with the clock and the leakage of its element in that cycle.
    padding_ws, padding_os : float
        What a wave adds to an element that does not multiply in it.
    load_shift, drain_shift : float
        What an element adds to pass a row of a stationary tile, or a finished sum.
    pe_clock : float
        Clock of an element, a cycle.
    accumulate_sum, store_sum, rescale_sum, reduce_sum : float
        What a lane adds for a sum: added to or written, made INT8, rescaled before, or reduced.
    clocks : float
        All units but the elements at rest, a cycle.
    pe_leakage_mw, leakage_mw : float
        Of an element, and of all other units.
    """

    mac_zero_delay: float
    mac_zero_delay_os: float
    mac_ws: float
    mac_os: float
    padding_ws: float
    padding_os: float
    load_shift: float
    drain_shift: float
    pe_clock: float
    accumulate_sum: float
    store_sum: float
    rescale_sum: float
    reduce_sum: float
    clocks: float
    pe_leakage_mw: float
    leakage_mw: float


@dataclass(frozen=True)
class Consumption:
    """What an accelerator takes.

    Members
    -------
    configuration, library : str
        Digest of the configuration, name of the library.
    element : Element
    lanes : mapping of str to Work
        ``accumulate`` and ``store``, one lane each.
    rest : mapping of str to Rest
        Every unit of `sim.synth.units.UNITS` with all its instances.
    """

    configuration: str
    library: str
    element: Element
    lanes: Mapping[str, Work]
    rest: Mapping[str, Rest]

    def as_json(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Consumption:
        """Return what `as_json` gave."""
        return cls(
            held["configuration"],
            held["library"],
            Element.from_json(held["element"]),
            {name: Work(**each) for name, each in held["lanes"].items()},
            {name: Rest(**each) for name, each in held["rest"].items()},
        )

    def prices(self) -> Prices:
        """Return prices of events; of a dataflow that the array does not have, 0."""
        element, store = self.element, self.lanes["store"].timed
        others = [rest for unit, rest in self.rest.items() if unit != "elements"]
        accumulate = self.lanes["accumulate"].timed
        sums = (accumulate["accumulate"] + accumulate["overwrite"]) / 2 - accumulate["rest"]
        drain = element.added("OS_DRAINING", "OS") or element.added("DRAIN", "IDLE")
        return Prices(
            mac_zero_delay=element.total("WS", timed=False),
            mac_zero_delay_os=element.total("OS", timed=False),
            mac_ws=element.total("WS"),
            mac_os=element.total("OS"),
            padding_ws=element.added("WS_PADDING", "IDLE"),
            padding_os=element.added("OS_PADDING", "IDLE"),
            load_shift=element.added("WS_LOADING", "WS"),
            drain_shift=drain,
            pe_clock=element.clock(),
            accumulate_sum=sums * 1e-3,
            store_sum=(store["requantise"] - store["rest"]) * 1e-3,
            rescale_sum=(store["rescale"] - store["requantise"]) * 1e-3,
            reduce_sum=(store["reduce"] - store["rest"]) * 1e-3,
            clocks=sum(rest.clock_fj for rest in others) * 1e-3,
            pe_leakage_mw=element.leakage_mw(),
            leakage_mw=sum(rest.leakage_nw for rest in others) * 1e-6,
        )


def consumption(netlist: Netlist, config: Config, conditions: Conditions) -> Consumption:
    """Measure an accelerator that is mapped module by module.

    Raises
    ------
    NetlistError
        It has no module of an element or a lane.
    RuntimeError
        A netlist does not do what the RTL did.
    """
    library = netlist.library

    def opened(module: str) -> Circuit:
        return Circuit(flatten(netlist, module), library)

    lanes = {
        "accumulate": accumulate_lane(opened(_ACCUMULATE), config, conditions),
        "store": store_lane(opened(_STORE), config, conditions),
    }
    element = measure(opened(_ELEMENT), record_products(config), conditions)
    rest = rest_by_unit(netlist, conditions)
    return Consumption(config.digest(), library.name, element, lanes, rest)


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
