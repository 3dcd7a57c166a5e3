"""The registers of an element and of an array, and what holds a unit to them in any simulator."""

from __future__ import annotations

import random
from typing import Protocol

from hw.isa.config import Config
from hw.isa.numerics import wrap32
from hw.pe import BIAS, control_layout

__all__ = ["Element", "Grid", "Unit", "follow_array", "follow_element"]

EDGES = (-128, -127, -1, 0, 1, 127)
_MASK = (1 << 32) - 1


class Unit(Protocol):
    """A unit in a simulator; its ports are vectors, so what they hold is never negative."""

    def set(self, port: str, value: int) -> None:
        """Drive a port from now on."""

    def get(self, port: str) -> int:
        """Return what a port, which a register drives, holds in this cycle."""

    async def tick(self) -> None:
        """Go to the next cycle."""


class Element:
    """The registers of a processing element, as the protocol page describes them.

    Operands are vectors of 8 bits a product, sums are signed.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.a = self.b = self.w = self.acc = self.p = self.product = 0
        names = ("valid", "os", "first", "last", "shift_b", "shift_p")
        self.control = dict.fromkeys(names, 0)
        self.late = dict(self.control)
        self.fields = tuple(control_layout(config).members)

    def step(self, a_in: int, b_in: int, p_in: int, given: dict[str, int]) -> None:
        """Go to the next cycle with these inputs."""
        config = self.config
        arriving = dict.fromkeys(self.control, 0)
        # An array of one dataflow needs no bit for it, unless sums leave as waves of the other.
        arriving["os"] = int(not config.weight_stationary)
        arriving |= given
        product = _dot(self.a, self.w if config.weight_stationary else self.b, config)
        now, added = self.control, product
        if config.product_register:
            now, added = self.late, self.product
            if self.control["valid"]:
                self.product = product
        self._sums(now, added, p_in)
        self._operands(arriving, a_in, b_in)
        self.late, self.control = self.control, arriving

    @property
    def control_out(self) -> dict[str, int]:
        """Control that there is a register for."""
        return {name: self.control[name] for name in self.fields}

    def _sums(self, now: dict[str, int], product: int, p_in: int) -> None:
        overlap = self.config.drain_overlap and self.config.output_stationary
        held = self.acc if overlap else self.p
        total = wrap32((BIAS if now["first"] else held) + product if now["os"] else p_in + product)
        if not now["valid"]:
            if now["shift_p"]:
                self.p = p_in
        elif not overlap:
            self.p = total
        else:
            if now["os"]:
                self.acc = total
            if not now["os"] or now["last"]:
                self.p = total
            elif now["shift_p"]:
                self.p = p_in

    def _operands(self, arriving: dict[str, int], a_in: int, b_in: int) -> None:
        if arriving["valid"]:
            self.a = a_in
            if arriving["os"] or arriving["first"]:
                self.w = self.b
        if self.config.weight_stationary:
            shifts = arriving["shift_b"]
        else:
            shifts = arriving["valid"] and arriving["os"]
        if shifts:
            self.b = b_in


class Grid:
    """The elements of an array."""

    def __init__(self, config: Config) -> None:
        self.rows = [[Element(config) for _ in range(config.columns)] for _ in range(config.rows)]

    def step(self, a: list[int], b: list[int], control: list[dict[str, int]]) -> None:
        """Go to the next cycle: a value of `a` and `control` a row, of `b` a column."""
        # From the last element on, so that neighbours still hold what they held.
        for r in reversed(range(len(self.rows))):
            row, above = self.rows[r], self.rows[r - 1] if r else None
            for c in reversed(range(len(row))):
                left = row[c - 1] if c else None
                row[c].step(
                    left.a if left else a[r],
                    above[c].b if above else b[c],
                    above[c].p if above else BIAS,
                    left.control_out if left else control[r],
                )


async def follow_element(unit: Unit, config: Config, seed: int, cycles: int) -> None:
    """Compare all registers that leave an element with the specification, on random inputs."""
    rng, model = random.Random(seed), Element(config)
    for cycle in range(-_settling(config, 1), cycles):
        a, b = _operand(rng, config, seed), _operand(rng, config, seed)
        p = rng.choice((-(1 << 31), (1 << 31) - 1, 0, rng.randrange(-(1 << 20), 1 << 20)))
        control = _control(rng, model.fields, cycle)
        for port, value in zip(("a_in", "b_in", "p_in"), (a, b, p & _MASK), strict=True):
            unit.set(port, value)
        unit.set("control_in", _packed(control, model.fields))
        model.step(a, b, p, control)
        await unit.tick()
        if cycle >= 0:
            seen = [unit.get(port) for port in ("a_out", "b_out", "p_out", "control_out")]
            leaves = _packed(model.control_out, model.fields)
            assert seen == [model.a, model.b, model.p & _MASK, leaves], f"{seed=}, {cycle=}"


async def follow_array(unit: Unit, config: Config, seed: int, cycles: int) -> None:
    """Compare all sums that leave an array with the specification, on random inputs."""
    rng, grid = random.Random(seed), Grid(config)
    fields, bits = grid.rows[0][0].fields, 8 * config.macs_per_element
    for cycle in range(-_settling(config, config.rows + config.columns), cycles):
        a = [_operand(rng, config, seed) for _ in range(config.rows)]
        b = [_operand(rng, config, seed) for _ in range(config.columns)]
        control = [_control(rng, fields, cycle) for _ in range(config.rows)]
        unit.set("a_in", _joined(a, bits))
        unit.set("b_in", _joined(b, bits))
        unit.set("control_in", _joined([_packed(c, fields) for c in control], len(fields)))
        # The register at the foot takes what the last row held.
        expected = _joined([element.p - BIAS & _MASK for element in grid.rows[-1]], 32)
        grid.step(a, b, control)
        await unit.tick()
        if cycle > 0:
            assert unit.get("p_out") == expected, f"{seed=}, {cycle=}"


def _settling(config: Config, elements: int) -> int:
    """Return the cycles in which every register in a path of elements is written once.

    What they hold before is not specified, and a netlist has other values than the RTL.
    """
    return elements * (3 + config.product_register)


def _control(rng: random.Random, fields: tuple[str, ...], cycle: int) -> dict[str, int]:
    """Return random control; before cycle 0, such as writes all registers."""
    return {name: 1 if cycle < 0 else rng.randrange(2) for name in fields}


def _operand(rng: random.Random, config: Config, seed: int) -> int:
    """Return random operands, as one vector; of odd seeds, those where arithmetic may overflow."""
    values = (
        rng.choice(EDGES) if seed % 2 else rng.randrange(-128, 128)
        for _ in range(config.macs_per_element)
    )
    return _joined([value & 0xFF for value in values], 8)


def _dot(a: int, b: int, config: Config) -> int:
    pairs = ((a >> 8 * place, b >> 8 * place) for place in range(config.macs_per_element))
    return sum(_signed(x) * _signed(y) for x, y in pairs)


def _signed(value: int) -> int:
    return (value & 0xFF ^ 0x80) - 0x80


def _packed(control: dict[str, int], fields: tuple[str, ...]) -> int:
    return _joined([control[name] for name in fields], 1)


def _joined(values: list[int], bits: int) -> int:
    """Return values as one vector, the first lowest."""
    return sum(value << bits * place for place, value in enumerate(values))
