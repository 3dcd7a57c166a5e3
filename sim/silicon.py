"""What was measured on mapped netlists, and kept: elements, units and designs at 45 nm.

`sim.synth.record` writes the file, from nothing but this project's own hardware; everything that
prices events or adds up areas reads it here. So it is the one copy of these figures.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from hw.isa.config import Config

__all__ = ["VARIANT", "Chip", "Element", "Lane", "Price", "Silicon", "Unit", "silicon", "variant"]

_FILE = "data/silicon.json"

VARIANT = (
    "weight_stationary", "output_stationary", "drain_overlap", "product_register",
    "macs_per_element",
)  # fmt: skip
"""Fields of a configuration that decide what an element is made of."""


@dataclass(frozen=True)
class Price:
    """Energy of an event, in pJ: with delays and wires, and without."""

    timed: float
    zero_delay: float


@dataclass(frozen=True)
class Element:
    """An element.

    Members
    -------
    area_um2, period_ns : float
    mac_ws, mac_os : Price
        A cycle in which all its products are multiplied, clock and leakage included; 0 in a
        dataflow that it does not have.
    padding_ws, padding_os : Price
        What a wave adds to a cycle in which nothing is multiplied.
    load_shift, drain_shift : Price
        What it adds to pass a row of a stationary tile, or a finished sum.
    clock : Price
        Of the clock, in a cycle in which nothing happens.
    leakage_mw : float
    """

    area_um2: float
    period_ns: float
    mac_ws: Price
    mac_os: Price
    padding_ws: Price
    padding_os: Price
    load_shift: Price
    drain_shift: Price
    clock: Price
    leakage_mw: float


@dataclass(frozen=True)
class Narrow:
    """A MAC of operands of fewer bits, in the element of the preset ``paper``.

    Members
    -------
    left_bits, right_bits : int
    mac_ws, mac_os : Price
    """

    left_bits: int
    right_bits: int
    mac_ws: Price
    mac_os: Price


@dataclass(frozen=True)
class Unit:
    """All of a unit of a design.

    Members
    -------
    cells, flip_flops : int
    area_um2 : float
    period_ns : float
        Of the longest path that ends in it.
    clock_pj : float
        A cycle at rest.
    leakage_mw : float
    """

    cells: int
    flip_flops: int
    area_um2: float
    period_ns: float
    clock_pj: float
    leakage_mw: float


@dataclass(frozen=True)
class Lane:
    """What a lane adds to its rest for a sum: written or added to, made INT8, rescaled, reduced."""

    accumulate: Price
    requantise: Price
    rescale: Price
    reduce: Price


@dataclass(frozen=True)
class Chip:
    """A whole design.

    Members
    -------
    changes : mapping of str to int
        From the preset ``paper``.
    units : mapping of str to Unit
    lane : Lane
    period_ns : float
        Of the longest path of all, or of a memory.
    start, end : str
        Of that path.
    """

    changes: Mapping[str, int]
    units: Mapping[str, Unit]
    lane: Lane
    period_ns: float
    start: str
    end: str

    @property
    def config(self) -> Config:
        """The configuration."""
        return Config.preset("paper").replace(**self.changes)


@dataclass(frozen=True)
class Silicon:
    """Everything that is recorded.

    Members
    -------
    library : str
        And its conditions.
    tool : str
        The version of yosys.
    clock_mhz : float
        At which energies were measured.
    elements : dict of tuple of int to Element
        By the values of `VARIANT`.
    chips : dict of str to Chip
    narrow : dict of (int, int) to Narrow
        By the bits of the left and of the right operand.
    """

    library: str
    tool: str
    clock_mhz: float
    elements: dict[tuple[int, ...], Element]
    chips: dict[str, Chip]
    narrow: dict[tuple[int, int], Narrow] = field(default_factory=dict)

    def element(self, config: Config) -> Element:
        """Return the element of a configuration."""
        return self.elements[variant(config)]

    def chip(self, config: Config) -> Chip | None:
        """Return the design of a configuration, if recorded; its clock and DRAM do not matter."""
        built = config.digest()
        return next((each for each in self.chips.values() if each.config.digest() == built), None)

    def as_json(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        held = dataclasses.asdict(dataclasses.replace(self, elements={}, narrow={}))
        held["elements"] = [
            dict(zip(VARIANT, key, strict=True)) | dataclasses.asdict(element)
            for key, element in sorted(self.elements.items())
        ]
        held["narrow"] = [dataclasses.asdict(each) for _, each in sorted(self.narrow.items())]
        return held

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Silicon:
        """Return what `as_json` gave."""
        elements = {
            tuple(each[name] for name in VARIANT): _made(Element, each) for each in held["elements"]
        }
        chips = {
            name: _made(Chip, each | {
                "units": {unit: Unit(**of) for unit, of in each["units"].items()},
                "lane": _made(Lane, each["lane"]),
            })
            for name, each in held["chips"].items()
        }  # fmt: skip
        listed = [_made(Narrow, each) for each in held["narrow"]]
        narrow = {(each.left_bits, each.right_bits): each for each in listed}
        return cls(held["library"], held["tool"], held["clock_mhz"], elements, chips, narrow)


def _made(kind: type, held: Mapping[str, Any]) -> Any:
    """Return a dataclass of the members that it has, prices among them."""
    names = [item.name for item in dataclasses.fields(kind)]
    prices = {"timed", "zero_delay"}
    return kind(
        **{
            name: Price(**held[name])
            if isinstance(held[name], Mapping) and held[name].keys() == prices
            else held[name]
            for name in names
        }
    )


def variant(config: Config) -> tuple[int, ...]:
    """Return what decides over an element; drains overlap only where there are any."""
    found = {name: int(getattr(config, name)) for name in VARIANT}
    found["drain_overlap"] &= found["output_stationary"]
    return tuple(found.values())


@cache
def silicon() -> Silicon:
    """Return what is recorded."""
    text = resources.files(__package__).joinpath(_FILE).read_text(encoding="ascii")
    return Silicon.from_json(json.loads(text))
