"""Sums of many bits, from the full adders that a cell library has as cells.

Synthesis does not find a library's full adder by itself. So where it is worth it, a sum is a tree
of modules ``FULLADD``, which a technology map turns into cells, and which hold plain logic for
everybody else. Half adders stay logic: as such they are no larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth import Const, Instance, Module, Signal

__all__ = ["FULL_ADDER", "FULL_ADDER_VERILOG", "Bit", "Heap"]

FULL_ADDER = "FULLADD"
FULL_ADDER_VERILOG = f"""`ifndef CDMQTA_{FULL_ADDER}
`define CDMQTA_{FULL_ADDER}
module {FULL_ADDER}(input A, input B, input CI, output CO, output S);
  assign CO = A & B | CI & (A | B);
  assign S = A ^ B ^ CI;
endmodule
`endif
"""
"""Defined once, however many units bring it along."""

_FULL, _HALF = 2, 1
"""Time of an adder, in gates: what trees are balanced by."""


@dataclass(frozen=True)
class Bit:
    """A bit: `value` is its complement if `inverted`, and settles after `time` gates."""

    value: Any
    inverted: bool = False
    time: int = 0


class Heap:
    """Bits by weight, to be added up.

    A full adder of three complements gives the complements of sum and carry, so a heap can be
    summed in either polarity at the same cost.

    Parameters
    ----------
    width : int
        Bits of the sum; carries beyond it are left in `carries`.
    inverted : bool
        Whether the bits of the heap are complements. Those handed in must be, too.
    """

    def __init__(self, width: int, *, inverted: bool = False) -> None:
        self._width, self._inverted = width, inverted
        self._bits: list[list[Bit]] = [[] for _ in range(width)]
        self.carries: list[Bit] = []
        self._constant = 0
        self._full: list[tuple[int, dict[str, Any]]] = []
        self._logic: list[Any] = []
        self._signals = 0

    def add(self, weight: int, value: Any, time: int = 0) -> None:
        """Add ``2**weight`` if the bit is 1."""
        bit = Bit(value, self._inverted, time)
        (self._bits[weight] if weight < self._width else self.carries).append(bit)

    def add_constant(self, value: int) -> None:
        """Add a number of either sign, modulo ``2**width``; numbers that are added add up."""
        self._constant = (self._constant + value) % (1 << self._width)

    def total(self) -> list[Bit]:
        """Return the sum, a bit for each weight, each of the polarity that comes for nothing.

        Weight after weight, three bits at a time, those that settle first. Carries go to the next
        weight, so the last adders of all weights are a ripple-carry adder.
        """
        return [self._sum(weight) for weight in range(self._width)]

    def rows(self) -> tuple[list[Bit], list[Bit]]:
        """Return two numbers of the same sum, a bit for each weight: for a faster adder behind.

        Stage after stage, as Dadda does: no weight keeps more bits than the stages to come can
        take, and carries wait for the next stage, so none ripples. All are of the heap's polarity.
        """
        ones = [self._constant >> weight & 1 for weight in range(self._width)]
        heights = [2]
        while heights[-1] < max(map(len, self._bits)) + 1:
            heights.append(heights[-1] * 3 // 2)
        for height in reversed(heights[:-1]):
            self._reduce(height, ones)
        nothing = Bit(Const(self._inverted), self._inverted)
        something = Bit(Const(1 - self._inverted), self._inverted)
        first, second = [], []
        for bits, one in zip(self._bits, ones, strict=True):
            kept = [*bits, *([something] * one), nothing, nothing]
            first.append(kept[0])
            second.append(kept[1])
        return first, second

    def _reduce(self, height: int, ones: list[int]) -> None:
        """Leave `height` bits in each weight, the one of the constant among them."""
        before = [len(bits) for bits in self._bits]
        for weight, count in enumerate(before):
            bits = self._bits[weight]
            # Carries of this stage are taken last, where nothing else is left.
            waiting = sorted(bits[:count], key=lambda bit: bit.time) + bits[count:]
            made: list[Bit] = []
            while (over := len(waiting) + len(made) + ones[weight] - height) > 0:
                one = ones[weight] if over > 1 else 0
                taken = 2 if over == 1 or one else 3
                some, waiting = waiting[:taken], waiting[taken:]
                if taken == 3:
                    made.append(self._add_three(weight, *some))
                else:
                    made.append(self._own(self._add_two(weight, *some, one)))
                    ones[weight] -= one
            self._bits[weight] = waiting + made

    def _own(self, bit: Bit) -> Bit:
        """Return a bit in the heap's polarity."""
        if bit.inverted == self._inverted:
            return bit
        return Bit(~bit.value, self._inverted, bit.time)

    def place(self, m: Module) -> None:
        """Add the adders of `total` to a module."""
        m.d.comb += self._logic
        for index, (weight, ports) in enumerate(self._full):
            m.submodules[f"full_{weight}_{index}"] = Instance(FULL_ADDER, **ports)

    def _sum(self, weight: int) -> Bit:
        """Add up the bits of a weight."""
        bits, one = self._bits[weight], self._constant >> weight & 1
        while len(bits) > 2:
            bits.sort(key=lambda bit: bit.time)
            bits.append(self._add_three(weight, *bits[:3]))
            del bits[:3]
        if len(bits) == 2:
            return self._add_two(weight, *bits, one)
        if not bits:
            return Bit(Const(one))
        (last,) = bits
        if one:  # 1 + x is the complement of x, and x is carried
            self.add(weight + 1, last.value, last.time)
            return Bit(last.value, not last.inverted, last.time)
        return last

    def _add_three(self, weight: int, early: Bit, middle: Bit, late: Bit) -> Bit:
        """Add three bits: return their sum, and put the carry into the next weight."""
        time = late.time + _FULL
        sum_, carry = self._signal("sum", weight), self._signal("carry", weight)
        inputs = {"i_A": early.value, "i_B": middle.value, "i_CI": late.value}
        self._full.append((weight, inputs | {"o_S": sum_, "o_CO": carry}))
        self.add(weight + 1, carry, time)
        return Bit(sum_, self._inverted, time)

    def _add_two(self, weight: int, a: Bit, b: Bit, one: int) -> Bit:
        """Add two bits and perhaps a one. In complements, AND and OR change places."""
        time = max(a.time, b.time) + _HALF
        both = a.value | b.value if one != self._inverted else a.value & b.value
        sum_, carry = self._signal("sum", weight), self._signal("carry", weight)
        self._logic += [sum_.eq(a.value ^ b.value), carry.eq(both)]
        self.add(weight + 1, carry, time)
        # x ^ y is the same of complements: the sum itself, or with a one, its complement.
        return Bit(sum_, bool(one), time)

    def _signal(self, what: str, weight: int) -> Signal:
        self._signals += 1
        return Signal(name=f"{what}_{weight}_{self._signals}")
