"""The exact requantiser behind a multiplication by a scale: one rounding, one limit."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa.numerics import SHIFT_MAX, SHIFT_MIN
from .isa.pipeline import RESCALE
from .layout import SCALE
from .multiply import PRODUCT_BITS

__all__ = ["NOISE_BITS", "Requantise"]

NOISE_BITS = 32
"""Random bits that stochastic rounding takes for a value."""
COARSE = 16
"""Steps of the first shifter; s has as many values below zero."""
FINE_BITS = 4


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
    product : In(signed(PRODUCT_BITS)); s : In(8)
        The value times m, see `hw.multiply.ScaleProduct`, and the shift. Shifts outside [-16, 63]
        act as the nearest of these.
    value : In(signed(32)); plain : In(1)
        32 bits only: with `plain` the result is `value` itself.
    takes : In(LATENCY)
        Bit n, n cycles after `product`: stage n takes that product over; it holds what it has
        otherwise.
    stochastic : In(1); noise : In(32)
        8 bits only, a cycle after `product`: round as `hw.isa.numerics.stochastic8`, with the
        complement of these bits if `value` is negative.
    result : Out(signed(bits))
    limited : Out(1)
        `result` is the limit, since the rounded value lay beyond it.

    Timing
    ------
    The result of a cycle's inputs is in `result` three cycles later, until the next is taken.
    There is no stall.

    Rounding
    --------
    With p for the exact product less one if it is negative (`hw.multiply`), ``p >> s`` and the
    highest bit that is shifted out add up to the rounded value: for negative products p is the
    complement of the magnitude, whose quotient q and half bit h make ``-(q + h) = ~q + (1 - h)``.
    A shift to the left fills with the sign, which stands for the one that was taken away.
    """

    LATENCY = RESCALE

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._fraction = NOISE_BITS if bits == 8 else 1
        # One more than a negative quotient is what has to fit: -2^31, but for 8 bits -127.
        self._quotient = bits if bits == 8 else bits + 1
        more = {"value": In(signed(32)), "plain": In(1)}
        if bits == 8:
            more = {"stochastic": In(1), "noise": In(NOISE_BITS)}
        super().__init__(
            {
                "product": In(signed(PRODUCT_BITS)),
                "s": In(SCALE["s"].width),
                "takes": In(self.LATENCY),
                **more,
                "result": Out(signed(bits)),
                "limited": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        product = Signal(signed(PRODUCT_BITS), name="product_register", reset_less=True)
        made, s = self.product, self.s
        if self._bits == 32:
            # Doubled and halved again: what is shifted out rounds nothing.
            made, s = Mux(self.plain, self.value << 1, made), Mux(self.plain, 1, s)
        with m.If(self.takes[0]):
            m.d.sync += product.eq(made)
        coarse, fine = self._amount(m, s)
        shifted, beyond = self._shifted(m, product, coarse, fine)
        fraction, bits = shifted[: self._fraction], self._bits
        carry = fraction[-1]
        if bits == 8:
            carry = Mux(self.stochastic, self._carry(m, fraction, product[-1]), carry)
        quotient, half = Signal(self._quotient, reset_less=True), Signal(reset_less=True)
        overflow, sign = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(self.takes[1]):
            m.d.sync += [
                quotient.eq(shifted[self._fraction :]),
                half.eq(carry),
                overflow.eq(beyond),
                sign.eq(product[-1]),
            ]
        self._limit(m, quotient, half, overflow, sign)
        return m

    def _amount(self, m: Module, s: Value) -> tuple[list[Signal], Signal]:
        """Return how far the second stage shifts to the right, which is ``s - SHIFT_MIN``.

        The first are the multiples of COARSE, of which one is set; beyond the last that leaves
        anything of a product none is. The second is the rest.
        """
        raw, low = Signal(len(self.s), name="shift"), Signal(FINE_BITS)
        below, above = Signal(), Signal()
        steps = (SHIFT_MAX - SHIFT_MIN) // COARSE + 1
        m.d.comb += [
            raw.eq(s),
            below.eq(raw[7] & ~raw[4:7].all()),
            above.eq(~raw[7] & raw[6]),
            low.eq((raw[:FINE_BITS] & ~below.replicate(FINE_BITS)) | above.replicate(FINE_BITS)),
        ]
        chosen = [raw[7], *(~raw[7] & (raw[4:7] == step) for step in range(steps - 2))]
        chosen.append(~raw[7] & (raw[6] | (raw[4:6] == steps - 2)))
        kept = self._steps()
        coarse = [Signal(name=f"coarse_{step}", reset_less=True) for step in range(kept)]
        fine = Signal(FINE_BITS, reset_less=True)
        with m.If(self.takes[0]):
            m.d.sync += [Cat(coarse).eq(Cat(chosen[:kept])), fine.eq(low)]
        return coarse, fine

    def _steps(self) -> int:
        """Return the coarse steps that leave more than signs in the window."""
        below = COARSE + self._fraction  # places of the window below the product's lowest bit
        most = (SHIFT_MAX - SHIFT_MIN) // COARSE
        return min(most, (below + PRODUCT_BITS - 2) // COARSE) + 1

    def _shifted(
        self, m: Module, product: Signal, coarse: list[Signal], fine: Signal
    ) -> tuple[Value, Signal]:
        """Return ``product >> s`` with some fraction bits, and whether it is wider than that."""
        width = self._fraction + self._quotient
        value, beyond = self._coarse(m, product, coarse, width + COARSE - 1)
        for bit in reversed(range(FINE_BITS)):
            step = 1 << bit
            width = len(value) - step
            moved = Signal(width, name=f"shifted_{bit}")
            later = Signal(name=f"beyond_{bit}")
            # What is above the window must all be signs, as its top bit is then.
            top = value[width - 1 :]
            m.d.comb += [
                moved.eq(Mux(fine[bit], value[step:], value[:width])),
                later.eq(beyond | (~fine[bit] & top.any() & ~top.all())),
            ]
            value, beyond = moved, later
        return value, beyond

    def _coarse(
        self, m: Module, product: Signal, coarse: list[Signal], width: int
    ) -> tuple[Signal, Signal]:
        """Shift by multiples of COARSE; return the window, and whether it is too narrow."""
        below, last = COARSE + self._fraction, PRODUCT_BITS - 1
        value, beyond = Signal(width, name="coarsely_shifted"), Signal(name="beyond_coarse")
        bits = []
        for place in range(width):
            signs, chosen = Const(0), Const(0)
            for step, flag in enumerate(coarse):
                source = place + COARSE * step - below
                if 0 <= source < last:
                    chosen |= flag & product[source]
                else:
                    signs |= flag
            bits.append(chosen | (signs & product[last]))
        # Only signs may lie above the window, and its top bit be one of them.
        tops = [width - 1 + COARSE * step - below for step in range(len(coarse))]
        above, wide, parts = last, Const(0), []
        for step in reversed(range(len(coarse))):
            if tops[step] < last:
                part = product[tops[step] : above + 1]
                wide |= part.any() & ~part.all()
                above = tops[step]
                parts.append(coarse[step] & wide)
        m.d.comb += [value.eq(Cat(bits)), beyond.eq(Cat(parts).any())]
        return value, beyond

    def _carry(self, m: Module, fraction: Value, sign: Value) -> Signal:
        """Return whether noise makes the upper 32 fraction bits f carry into the quotient.

        With h random bits, the definition adds ``floor(h * 2^s / 2^32)`` to the magnitude, which
        reaches the next integer exactly if ``rest + h * 2^s / 2^32 >= 2^s``, `rest` being what
        the shift cuts off; that is ``rest * 2^32 / 2^s + h >= 2^32``. Since h is an integer, the
        fraction of the left term cannot matter: f + h must carry. For a negative product, whose
        fraction here is ~f, one is to be added if f + h does not: ``~f + ~h + 1`` carries then.
        """
        carries = Signal(NOISE_BITS + 1, name="carries")
        m.d.comb += carries.eq(fraction + self.noise + sign)
        return carries[-1]

    def _limit(
        self, m: Module, quotient: Signal, half: Signal, overflow: Signal, sign: Signal
    ) -> None:
        """Round, and limit what does not fit: by its sign, which `quotient` may have lost."""
        bits = self._bits
        result = Signal(signed(bits), name="result_register", reset_less=True)
        limited = Signal(name="limited_register", reset_less=True)
        rounded, over = Signal(self._quotient), Signal()
        high, low = (1 << bits - 1) - 1, 1 << bits - 1
        m.d.comb += rounded.eq(quotient + half)
        if bits == 8:
            low += 1
            m.d.comb += over.eq(overflow | (rounded == 0x80))  # 128 or -128
        else:
            m.d.comb += over.eq(overflow | (rounded[-1] ^ rounded[-2]))
        with m.If(self.takes[2]):
            m.d.sync += [
                result.eq(
                    (rounded[:bits] & ~over.replicate(bits)) | Mux(over, Mux(sign, low, high), 0)
                ),
                limited.eq(over),
            ]
        m.d.comb += [self.result.eq(result), self.limited.eq(limited)]
