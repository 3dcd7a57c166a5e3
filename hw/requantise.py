"""The exact requantiser: one multiplication, one rounding, one limit."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa.numerics import SHIFT_MAX, SHIFT_MIN
from .isa.pipeline import RESCALE
from .layout import SCALE

__all__ = ["NOISE_BITS", "Requantise"]

NOISE_BITS = 32
"""Random bits that stochastic rounding takes for a value."""
AMOUNT_BITS = (SHIFT_MAX - SHIFT_MIN).bit_length()


class Requantise(wiring.Component):
    """One lane: ``value * m / 2^s``, rounded once, limited to `bits`.

    The limit is symmetric for 8 bits ([-127, 127]) and the full range for 32 bits. Rounding is to
    nearest, half away from zero; 8 bits may round stochastically instead.

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
    stochastic : In(1); noise : In(32)
        8 bits only, a cycle after `value`: round as `hw.isa.numerics.stochastic8`.
    result : Out(signed(bits))
    limited : Out(1)
        `result` is the limit, since the rounded value lay beyond it.

    Timing
    ------
    The result of a cycle's inputs is in `result` three cycles later. There is no stall.
    """

    LATENCY = RESCALE

    def __init__(self, bits: int) -> None:
        self._bits = bits
        random = {"stochastic": In(1), "noise": In(NOISE_BITS)} if bits == 8 else {}
        super().__init__(
            {
                "value": In(signed(32)),
                "scale": In(SCALE),
                "bypass": In(1),
                **random,
                "result": Out(signed(bits)),
                "limited": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Both roundings are symmetric, so everything works on the magnitude.
        negative, magnitude = Signal(), Signal(32)
        m.d.comb += [
            negative.eq(self.value[31]),
            magnitude.eq(Mux(negative, -self.value, self.value)),
        ]
        sign = [Signal(name=f"sign_{stage}", reset_less=True) for stage in range(2)]
        m.d.sync += [sign[0].eq(negative), sign[1].eq(sign[0])]
        # A bypassed value is multiplied by one and shifted by nothing. A magnitude is at most 2^31,
        # so 47 bits hold every product.
        product = Signal(47, reset_less=True)
        m.d.sync += product.eq(magnitude * Mux(self.bypass, 1, self.scale.m))
        shifted, overflow = self._shifted(m, product, self._amount(m))
        if self._bits == 8:
            self._limited_8(m, shifted, overflow, sign[1])
        else:
            self._limited_32(m, shifted, overflow, sign[1])
        return m

    def _amount(self, m: Module) -> Signal:
        """Return how far the second stage shifts to the left: ``SHIFT_MAX - s``, s limited."""
        raw = self.scale.s.as_signed()
        amount = Signal(AMOUNT_BITS, reset_less=True)
        with m.If(self.bypass):
            m.d.sync += amount.eq(SHIFT_MAX)
        with m.Elif(raw < SHIFT_MIN):
            m.d.sync += amount.eq(SHIFT_MAX - SHIFT_MIN)
        with m.Elif(raw > SHIFT_MAX):
            m.d.sync += amount.eq(0)
        with m.Else():
            m.d.sync += amount.eq(SHIFT_MAX - raw)
        return amount

    def _shifted(self, m: Module, product: Signal, amount: Signal) -> tuple[Signal, Signal]:
        """Return ``product / 2^s`` with SHIFT_MAX fraction bits, and whether it is wider than that.

        Bits past the result's width are only collected, so the shifter is no wider than the rest.
        """
        width = SHIFT_MAX + (7 if self._bits == 8 else 32)
        value, overflow = product, Const(0, 1)
        for stage in reversed(range(AMOUNT_BITS)):
            moved = Cat(Const(0, 1 << stage), value)
            next_value = Signal(min(len(moved), width), name=f"shifted_{stage}")
            next_overflow = Signal(name=f"overflow_{stage}")
            m.d.comb += [
                next_value.eq(Mux(amount[stage], moved, value)),
                next_overflow.eq(overflow | (amount[stage] & moved[width:].any())),
            ]
            value, overflow = next_value, next_overflow
        return value, overflow

    def _limited_8(self, m: Module, shifted: Signal, overflow: Signal, sign: Signal) -> None:
        """Round by the upper 32 fraction bits f, and limit.

        With h random bits, the definition adds ``floor(h * 2^s / 2^32)`` to the product, which
        reaches the next integer exactly if ``rest + h * 2^s / 2^32 >= 2^s``, `rest` being what
        the shift cuts off; that is ``rest * 2^32 / 2^s + h >= 2^32``. Since h is an integer, the
        fraction of the left term cannot matter: f + h must carry. Half away from zero is h = 2^31,
        whose carry is the top bit of f. Where s <= 0, f is zero and nothing carries.
        """
        fraction = Signal(NOISE_BITS)
        carries = Signal(NOISE_BITS + 1)
        quotient, carry = Signal(7, reset_less=True), Signal(reset_less=True)
        beyond = Signal(reset_less=True)
        m.d.comb += [
            fraction.eq(shifted[SHIFT_MAX - NOISE_BITS : SHIFT_MAX]),
            carries.eq(fraction + self.noise),
        ]
        m.d.sync += [
            quotient.eq(shifted[SHIFT_MAX:]),
            carry.eq(Mux(self.stochastic, carries[-1], fraction[-1])),
            beyond.eq(overflow),
        ]
        rounded, limited, magnitude = Signal(8), Signal(), Signal(7)
        m.d.comb += [
            rounded.eq(quotient + carry),
            limited.eq(beyond | rounded[7]),
            magnitude.eq(Mux(limited, 127, rounded)),
        ]
        self._register(m, Mux(sign, -magnitude, magnitude), limited)

    def _limited_32(self, m: Module, shifted: Signal, overflow: Signal, sign: Signal) -> None:
        """Round by the upper fraction bit, give the sign back, and limit."""
        quotient, half = Signal(32, reset_less=True), Signal(reset_less=True)
        beyond = Signal(reset_less=True)
        m.d.sync += [
            quotient.eq(shifted[SHIFT_MAX:]),
            half.eq(shifted[SHIFT_MAX - 1]),
            beyond.eq(overflow),
        ]
        # -(q + h) is ~q + (1 - h): one adder rounds and negates.
        exact = Signal(signed(34))
        limited = Signal()
        m.d.comb += [
            exact.eq(Cat(quotient ^ sign.replicate(32), sign).as_signed() + (half ^ sign)),
            limited.eq(beyond | (exact[31:].any() & ~exact[31:].all())),
        ]
        limit = Mux(sign, -(1 << 31), (1 << 31) - 1)
        self._register(m, Mux(limited, limit, exact[:32].as_signed()), limited)

    def _register(self, m: Module, result: Any, limited: Signal) -> None:
        result_register = Signal(signed(self._bits), name="result_register", reset_less=True)
        limited_register = Signal(reset_less=True)
        m.d.sync += [result_register.eq(result), limited_register.eq(limited)]
        m.d.comb += [self.result.eq(result_register), self.limited.eq(limited_register)]
