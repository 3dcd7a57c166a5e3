"""Scale entries made on the chip: from absolute maxima, one entry a cycle."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .edge import delayed_where, valid_line
from .isa.numerics import INT8_MAX, SHIFT_MAX, SHIFT_MIN
from .isa.pipeline import DIVISION, FRESH_ENTRY, UPDATE_ENTRY
from .layout import SCALE

__all__ = ["FreshEntry", "UpdateEntry"]

MAXIMUM_BITS = 32
NUMERATOR = INT8_MAX << MAXIMUM_BITS - INT8_MAX.bit_length()
"""127, normalised as the divisor is."""
QUOTIENT_BITS = 18
"""One before the point and 17 after it: see `_entry`."""
BITS_A_STAGE = 2
assert DIVISION == QUOTIENT_BITS // BITS_A_STAGE


def _normalised(m: Module, value: Signal, name: str) -> tuple[Signal, Signal]:
    """Return a value moved up until its top bit is set, and by how much; 0 stays 0."""
    stages = (len(value) - 1).bit_length()
    zeros = Signal(stages, name=f"{name}_zeros")
    for stage in reversed(range(stages)):
        step = 1 << stage
        moved = Signal(len(value), name=f"{name}_moved_{stage}")
        # The largest step may be wider than half the value: then it looks at what is left of it.
        m.d.comb += [
            zeros[stage].eq(~value[-step:].any()),
            moved.eq(Mux(zeros[stage], value << step, value)),
        ]
        value = moved
    return value, zeros


def _entry(m: Module, takes: Any, ratio: Signal, shift: Signal, zero: Signal) -> Signal:
    """Return the entry of a ratio x from one half to two, given as ``floor(x * 2^17)``.

    The definition takes the larger shift, m = x * 2^16 rounded half up, if that is below 2^16:
    if x * 2^17 < 2^17 - 1, which is as true of its floor X. Then m is floor((X + 1) / 2), since
    what lies below X cannot carry; otherwise it is floor((X + 2) / 4), and the shift is one less.

    Parameters
    ----------
    takes : Value
        It is made; otherwise the one before is held.
    shift : Signal
        Signed, the larger of the two; limited here.
    zero : Signal
        The entry is 0.
    """
    small = Signal()
    exact = Signal(signed(len(shift) + 1))
    m.d.comb += [
        small.eq(ratio < (1 << QUOTIENT_BITS - 1) - 1),
        exact.eq(shift - ~small),
    ]
    entry = Signal(SCALE, reset_less=True)
    made = Signal(SCALE)
    with m.If(~zero):
        m.d.comb += [
            made.m.eq(Mux(small, (ratio + 1) >> 1, (ratio + 2) >> 2)),
            made.s.eq(Mux(exact < SHIFT_MIN, SHIFT_MIN, Mux(exact > SHIFT_MAX, SHIFT_MAX, exact))),
        ]
    with m.If(takes):
        m.d.sync += entry.eq(made)
    return entry


class FreshEntry(wiring.Component):
    """The entry of 127 / maximum, as `hw.isa.numerics.fresh_entry`, by long division.

    With a = A / 2^z, A from 2^31 to 2^32, and N = 127 * 2^25: 127 / a = N / A * 2^(z - 25), where
    N / A lies between 0.99 and 1.99.

    Members
    -------
    maximum : In(32); valid : In(1)
    entry : Out(SCALE)
        LATENCY cycles after a valid maximum. There is no stall.
    """

    LATENCY = FRESH_ENTRY

    def __init__(self) -> None:
        super().__init__({"maximum": In(MAXIMUM_BITS), "valid": In(1), "entry": Out(SCALE)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        aligned, zeros = _normalised(m, self.maximum, "maximum")
        divisor = Signal(MAXIMUM_BITS, reset_less=True)
        zeros_first = Signal.like(zeros, name="zeros_first", reset_less=True)
        taken = valid_line(m, self.valid, self.LATENCY, "taken")
        with m.If(taken[0]):
            m.d.sync += [divisor.eq(aligned), zeros_first.eq(zeros)]
        remainder: Any = Const(NUMERATOR, MAXIMUM_BITS + 1)
        quotient: Any = Const(0, 0)
        for stage in range(DIVISION):
            for step in range(BITS_A_STAGE):
                remainder, bit = self._step(m, remainder, divisor, f"{stage}_{step}")
                quotient = Cat(bit, quotient)
            remainder_before, quotient_before, divisor_before = remainder, quotient, divisor
            remainder = Signal(MAXIMUM_BITS + 1, name=f"remainder_{stage}", reset_less=True)
            quotient = Signal(len(quotient_before), name=f"quotient_{stage}", reset_less=True)
            divisor = Signal(MAXIMUM_BITS, name=f"divisor_{stage}", reset_less=True)
            with m.If(taken[1 + stage]):
                m.d.sync += [
                    remainder.eq(remainder_before),
                    quotient.eq(quotient_before),
                    divisor.eq(divisor_before),
                ]
        zeros_later = delayed_where(m, zeros_first, taken[1 : 1 + DIVISION], "zeros_later")
        shift, zero = Signal(signed(8)), Signal()
        m.d.comb += [
            # x * 2^16 = m and 127 / a = x * 2^(z - 25) make s = 16 + 25 - z.
            shift.eq(16 + 25 - zeros_later),
            # Only the divisor 0 has no top bit.
            zero.eq(~divisor[-1]),
            self.entry.eq(_entry(m, taken[-1], quotient, shift, zero)),
        ]
        return m

    @staticmethod
    def _step(m: Module, remainder: Any, divisor: Signal, name: str) -> tuple[Signal, Signal]:
        """Return the remainder after one bit of the quotient, moved up, and that bit."""
        difference = Signal(MAXIMUM_BITS + 2, name=f"difference_{name}")
        bit = Signal(name=f"bit_{name}")
        left = Signal(MAXIMUM_BITS + 1, name=f"left_{name}")
        m.d.comb += [
            difference.eq(remainder - divisor),
            bit.eq(~difference[-1]),
            left.eq(Mux(bit, difference, remainder) << 1),
        ]
        return left, bit


class UpdateEntry(wiring.Component):
    """The entry of maximum times factor, as `hw.isa.numerics.update_entry`.

    Members
    -------
    maximum : In(32); valid : In(1)
    factor : In(SCALE)
        Its shift is not limited.
    entry : Out(SCALE)
        LATENCY cycles after a valid maximum. There is no stall.
    """

    LATENCY = UPDATE_ENTRY

    def __init__(self) -> None:
        super().__init__(
            {
                "maximum": In(MAXIMUM_BITS),
                "valid": In(1),
                "factor": In(SCALE),
                "entry": Out(SCALE),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        product = Signal(MAXIMUM_BITS + 16, reset_less=True)
        shift_first = Signal(signed(8), reset_less=True)
        taken = valid_line(m, self.valid, self.LATENCY, "taken")
        with m.If(taken[0]):
            m.d.sync += [
                product.eq(self.maximum * self.factor.m),
                shift_first.eq(self.factor.s.as_signed()),
            ]
        aligned, zeros = _normalised(m, product, "product")
        # The top 17 bits are x * 2^17 for a ratio x from one half to one.
        ratio = Signal(QUOTIENT_BITS - 1, reset_less=True)
        shift = Signal(signed(10), reset_less=True)
        with m.If(taken[1]):
            m.d.sync += [
                ratio.eq(aligned[-len(ratio) :]),
                # A product of b = 48 - z bits is x * 2^b, and x * 2^16 = m: s = factor's + 16 - b.
                shift.eq(shift_first + 16 - len(product) + zeros),
            ]
        zero = Signal()
        m.d.comb += [
            zero.eq(~ratio[-1]),
            self.entry.eq(_entry(m, taken[2], ratio, shift, zero)),
        ]
        return m
