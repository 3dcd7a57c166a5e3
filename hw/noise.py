"""Random bits of stochastic rounding: a function of an element's place and a seed."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .isa.config import Config
from .ripple import place_sum
from .shared import Builder

__all__ = ["KEY_BITS", "Keys", "Noise", "place_layout"]

ROUNDS = 8
ROUNDS_A_STAGE = 2
HALF = 16
KEY_BITS = HALF * ROUNDS
STEP = 0x9E37
"""Growth of the key from round to round."""


def place_layout(config: Config) -> data.StructLayout:
    """Return where the elements of a word lie: their row, and the column of lane 0.

    `above` is that column's part above the bits of a lane's number, plus one: what it becomes where
    the lane's number carries into it, made once for all lanes.
    """
    lane_bits = bits_for(config.columns - 1)
    return data.StructLayout({"row": HALF, "column": HALF, "above": HALF - lane_bits})


class Keys(wiring.Component):
    """The keys of all rounds, made once for all lanes.

    Members
    -------
    seed : In(32); takes : In(1)
        They are made of it, or keep.
    keys : Out(KEY_BITS)
        A cycle later, the first round's in the lowest bits.
    """

    def __init__(self) -> None:
        super().__init__({"seed": In(2 * HALF), "takes": In(1), "keys": Out(KEY_BITS)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for turn in range(ROUNDS):
            key = Signal(HALF, name=f"key_{turn}", reset_less=True)
            half = self.seed.word_select(turn & 1, HALF)
            with m.If(self.takes):
                m.d.sync += key.eq(half + (STEP * turn & 0xFFFF))
            m.d.comb += self.keys.word_select(turn, HALF).eq(key)
        return m


class Noise(wiring.Component):
    """One lane of `hw.isa.numerics.noise`: eight rounds of Speck32's add-rotate-xor step.

    Members
    -------
    keys : In(KEY_BITS)
        See `Keys`; they hold still.
    place : In(place_layout); lane : In
        The element's row, and its column less `lane`.
    takes : In(LATENCY)
        Bit n, n cycles after `place`: stage n takes it over; it holds what it has otherwise.
    complement : In(1)
        The cycle before `bits`: their complement is wanted.
    bits : Out(32)
        LATENCY cycles after `place`.

    Source: Beaulieu et al., "The SIMON and SPECK families of lightweight block ciphers", 2013.
    """

    LATENCY = ROUNDS // ROUNDS_A_STAGE

    def __init__(self, config: Config, builder: Builder | None = None) -> None:
        self._builder = builder or Builder()
        lane_bits = bits_for(config.columns - 1)
        super().__init__(
            {
                "keys": In(KEY_BITS),
                "place": In(place_layout(config)),
                "lane": In(lane_bits),
                "takes": In(self.LATENCY),
                "complement": In(1),
                "bits": Out(2 * HALF),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        place, split = self.place, len(self.lane)
        low, column = Signal(split + 1), Signal(HALF)
        m.d.comb += [
            low.eq(place.column[:split] + self.lane),
            column.eq(Cat(low[:split], Mux(low[split], place.above, place.column[split:]))),
        ]
        x, y = place.row, column
        for turn in range(ROUNDS):
            key = Signal(HALF, name=f"key_{turn}")
            m.d.comb += key.eq(self.keys.word_select(turn, HALF))
            if turn == ROUNDS - 1:  # the second half takes the first's complement over
                m.d.comb += key.eq(
                    self.keys.word_select(turn, HALF) ^ self.complement.replicate(HALF)
                )
            mixed_x = Signal(HALF, name=f"mixed_x_{turn}")
            mixed_y = Signal(HALF, name=f"mixed_y_{turn}")
            m.d.comb += [
                mixed_x.eq(self._sum(m, turn, x.rotate_right(7), y) ^ key),
                mixed_y.eq(y.rotate_left(2) ^ mixed_x),
            ]
            x, y = mixed_x, mixed_y
            stage, last = divmod(turn, ROUNDS_A_STAGE)
            if last == ROUNDS_A_STAGE - 1:
                x = Signal(HALF, name=f"x_{turn}", reset_less=True)
                y = Signal(HALF, name=f"y_{turn}", reset_less=True)
                with m.If(self.takes[stage]):
                    m.d.sync += [x.eq(mixed_x), y.eq(mixed_y)]
        m.d.comb += self.bits.eq(Cat(y, x))
        return m

    def _sum(self, m: Module, turn: int, a: Value, b: Value) -> Value:
        """Return ``a + b``; in all stages but the first there is time for one sum that is slow."""
        if turn < ROUNDS_A_STAGE or turn % ROUNDS_A_STAGE:
            return (a + b)[:HALF]
        sum_ = place_sum(m, f"sum_{turn}", HALF, self._builder)
        m.d.comb += [sum_.a.eq(a), sum_.b.eq(b)]
        return sum_.total
