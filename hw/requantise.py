"""The exact requantiser: one multiplication, one rounding, one limit."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa.numerics import SHIFT_MAX, SHIFT_MIN
from .layout import SCALE

__all__ = ["Requantise"]


class Requantise(wiring.Component):
    """One lane: ``value * m / 2^s``, rounded half away from zero, limited to `bits`.

    The limit is symmetric for 8 bits ([-127, 127]) and the full range for 32 bits.

    Parameters
    ----------
    bits : int
        Width of the result: 8 or 32.

    Members
    -------
    value : In(signed(32))
    scale : In(SCALE)
        Shifts outside [-16, 63] act as the nearest of these.
    bypass : In(1)
        Pass the value through unchanged (32 bits only).
    result : Out(signed(bits))
    limited : Out(1)
        The result was limited.

    Timing
    ------
    The result of a cycle's inputs is in `result` three cycles later. There is no stall.
    """

    LATENCY = 3

    def __init__(self, bits: int) -> None:
        self._bits = bits
        super().__init__(
            {
                "value": In(signed(32)),
                "scale": In(SCALE),
                "bypass": In(1),
                "result": Out(signed(bits)),
                "limited": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Rounding half away from zero is symmetric, so everything works on the magnitude.
        negative, magnitude = Signal(), Signal(32)
        m.d.comb += [
            negative.eq(self.value[31]),
            magnitude.eq(Mux(negative, -self.value, self.value)),
        ]
        sign = [Signal(name=f"sign_{stage}", reset_less=True) for stage in range(2)]
        m.d.sync += [sign[0].eq(negative), sign[1].eq(sign[0])]
        # A bypassed value is multiplied by one and shifted by nothing.
        product = Signal(48, reset_less=True)
        m.d.sync += product.eq(magnitude * Mux(self.bypass, 1, self.scale.m))
        shift = self._shift(m)
        quotient, overflow = self._rounded(m, product, shift)
        self._limited(m, quotient, overflow, sign[1])
        return m

    def _shift(self, m: Module) -> Signal:
        """Return the shift of the second stage, limited, counted from SHIFT_MIN, 0 for bypass."""
        raw = self.scale.s.as_signed()
        shift = Signal(range(SHIFT_MAX - SHIFT_MIN + 1), reset_less=True)
        with m.If(self.bypass):
            m.d.sync += shift.eq(-SHIFT_MIN)
        with m.Elif(raw < SHIFT_MIN):
            m.d.sync += shift.eq(0)
        with m.Elif(raw > SHIFT_MAX):
            m.d.sync += shift.eq(SHIFT_MAX - SHIFT_MIN)
        with m.Else():
            m.d.sync += shift.eq(raw - SHIFT_MIN)
        return shift

    def _rounded(self, m: Module, product: Signal, shift: Signal) -> tuple[Signal, Signal]:
        """Return the rounded quotient's low bits, and whether it needs more."""
        width = self._bits if self._bits == 32 else self._bits - 1
        # Left shifts by up to 16 become right shifts of a product with 16 zeros below it.
        half, total = Signal(80), Signal(80)
        for amount in range(1 - SHIFT_MIN, SHIFT_MAX - SHIFT_MIN + 1):
            m.d.comb += half[amount - 1].eq(shift == amount)
        m.d.comb += total.eq(Cat(Const(0, -SHIFT_MIN), product) + half)
        shifted = Signal(80)
        m.d.comb += shifted.eq(total >> shift)
        quotient = Signal(width, reset_less=True)
        overflow = Signal(reset_less=True)
        m.d.sync += [quotient.eq(shifted), overflow.eq(shifted[width:].any())]
        return quotient, overflow

    def _limited(self, m: Module, quotient: Signal, overflow: Signal, sign: Signal) -> None:
        result = Signal(signed(self._bits), reset_less=True)
        beyond = Signal()
        m.d.sync += self.limited.eq(beyond)
        if self._bits == 8:
            limited = Signal(unsigned(7))
            m.d.comb += [limited.eq(Mux(overflow, 127, quotient)), beyond.eq(overflow)]
            m.d.sync += result.eq(Mux(sign, -limited, limited))
        else:
            low, high = -(1 << 31), (1 << 31) - 1
            m.d.comb += beyond.eq(overflow | (quotient > Mux(sign, -low, high)))
            with m.If(sign):
                m.d.sync += result.eq(Mux(beyond, low, -quotient))
            with m.Else():
                m.d.sync += result.eq(Mux(beyond, high, quotient))
        m.d.comb += self.result.eq(result)
