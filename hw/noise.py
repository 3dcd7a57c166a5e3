"""Random bits of stochastic rounding: a function of an element's place and a seed."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["KEY_BITS", "Keys", "Noise"]

ROUNDS = 8
ROUNDS_A_STAGE = 2
HALF = 16
KEY_BITS = HALF * ROUNDS
STEP = 0x9E37
"""Growth of the key from round to round."""


class Keys(wiring.Component):
    """The keys of all rounds, made once for all lanes.

    Members
    -------
    seed : In(32)
    keys : Out(KEY_BITS)
        A cycle later, the first round's in the lowest bits.
    """

    def __init__(self) -> None:
        super().__init__({"seed": In(2 * HALF), "keys": Out(KEY_BITS)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for turn in range(ROUNDS):
            key = Signal(HALF, name=f"key_{turn}", reset_less=True)
            half = self.seed.word_select(turn & 1, HALF)
            m.d.sync += key.eq(half + (STEP * turn & 0xFFFF))
            m.d.comb += self.keys.word_select(turn, HALF).eq(key)
        return m


class Noise(wiring.Component):
    """One lane of `hw.isa.numerics.noise`: eight rounds of Speck32's add-rotate-xor step.

    Members
    -------
    keys : In(KEY_BITS)
        See `Keys`; they hold still.
    start : In(1); column, lane : In(16)
        Take the element in column ``column + lane``; nothing moves behind what is not taken.
    row : In(16)
        Its row, a cycle after `column`, held until the next is taken.
    bits : Out(32)
        LATENCY cycles after `column`.

    Source: Beaulieu et al., "The SIMON and SPECK families of lightweight block ciphers", 2013.
    """

    LATENCY = 1 + ROUNDS // ROUNDS_A_STAGE

    def __init__(self) -> None:
        super().__init__(
            {
                "keys": In(KEY_BITS),
                "start": In(1),
                "column": In(HALF),
                "lane": In(HALF),
                "row": In(HALF),
                "bits": Out(2 * HALF),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first = Signal(HALF, reset_less=True)
        with m.If(self.start):
            m.d.sync += first.eq(self.column + self.lane)
        x, y = self.row, first
        for turn in range(ROUNDS):
            mixed_x = Signal(HALF, name=f"mixed_x_{turn}")
            mixed_y = Signal(HALF, name=f"mixed_y_{turn}")
            m.d.comb += [
                mixed_x.eq((x.rotate_right(7) + y)[:HALF] ^ self.keys.word_select(turn, HALF)),
                mixed_y.eq(y.rotate_left(2) ^ mixed_x),
            ]
            x, y = mixed_x, mixed_y
            if turn % ROUNDS_A_STAGE == ROUNDS_A_STAGE - 1:
                x = Signal(HALF, name=f"x_{turn}", reset_less=True)
                y = Signal(HALF, name=f"y_{turn}", reset_less=True)
                m.d.sync += [x.eq(mixed_x), y.eq(mixed_y)]
        m.d.comb += self.bits.eq(Cat(y, x))
        return m
