"""One lane behind the output memory."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .absmax import LaneMaximum
from .isa.config import Config
from .isa.pipeline import RESCALE
from .layout import SCALE
from .multiply import RECODED, place_product, recoded
from .noise import KEY_BITS, Noise, place_layout
from .requantise import Requantise
from .shared import Builder

__all__ = ["PostLane"]


class PostLane(wiring.Component):
    """Rescale a sum by row, then requantise it, or search for its column's maximum.

    There is one multiplier for both, which the later step has: a word to be rescaled must not be
    read three cycles after one that is requantised.

    With c for the cycle in which a word is read from the output memory:

    Members
    -------
    lane : In
        Number of this lane; constant.
    keys : In(KEY_BITS)
    place : In(place_layout)
        In c+2: where noise is wanted.
    valid : In
        Bit n in c+1+n: the word counts. A stage that has no word that needs it keeps still.
    narrow : In
        Bit n in c+4+n: it counts, and is requantised.
    stochastic : In
        Bit n in c+2+n: it counts, and is requantised with noise.
    reduces : In(1)
        In c+5: it counts, and its maximum is looked for.
    value : In(signed(32))
        In c+1: a sum.
    rescaled : In(1); rescale_scale : In(RECODED)
        In c+2: whether it is multiplied, and by what.
    row_scale, column_scale : In(SCALE); by_row : In(1)
        In c+4: what requantises it then.
    sum : Out(signed(32))
        In c+5, rescaled.
    lanes : In
        In c+8: lanes in which an INT8 of the matrix comes out, 0 for none.
    result : Out(signed(8)); saturated : Out(1)
        In c+8: `saturated` if this lane is one of them and was limited.
    magnitude : Out(32); column_valid, column_first : In(1)
        In c+6, see `LaneMaximum`.
    load, shift : In(1); chain_in : In(32); chain_out : Out(32)
        The queue of column maxima; its load in c+7.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config, self._builder = config, builder
        columns = config.columns
        super().__init__(
            {
                "lane": In(range(columns)),
                "keys": In(KEY_BITS),
                "place": In(place_layout(config)),
                "valid": In(1 + RESCALE),
                "narrow": In(1 + RESCALE),
                "stochastic": In(Noise.LATENCY + 1),
                "reduces": In(1),
                "value": In(signed(32)),
                "rescaled": In(1),
                "rescale_scale": In(RECODED),
                "row_scale": In(SCALE),
                "column_scale": In(SCALE),
                "by_row": In(1),
                "sum": Out(signed(32)),
                "lanes": In(range(columns + 1)),
                "result": Out(signed(8)),
                "saturated": Out(1),
                "magnitude": Out(32),
                "column_valid": In(1),
                "column_first": In(1),
                "load": In(1),
                "shift": In(1),
                "chain_in": In(32),
                "chain_out": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        multiply = place_product(m, self._builder)
        m.submodules.rescale = rescale = Requantise(32)
        m.submodules.requantise = requantise = Requantise(8)
        m.submodules.noise = noise = Noise(self._config, self._builder)
        m.submodules.maximum = maximum = LaneMaximum()
        # The output memory takes most of a cycle, and so do digits of a scale.
        value, scale = Signal(signed(32), reset_less=True), Signal(SCALE)
        m.d.comb += scale.eq(Mux(self.by_row, self.row_scale, self.column_scale))
        ready = Signal(RECODED, name="recoded_scale", reset_less=True)
        with m.If(self.valid[0]):
            m.d.sync += value.eq(self.value)
        with m.If(self.narrow[0]):
            m.d.sync += ready.eq(recoded(m, scale, "recoded"))
        again = self.narrow[1]
        m.d.comb += [
            multiply.value.eq(Mux(again, rescale.result, value)),
            multiply.digits.eq(Mux(again, ready.digits, self.rescale_scale.digits)),
            rescale.product.eq(multiply.product),
            rescale.s.eq(self.rescale_scale.s),
            rescale.value.eq(value),
            rescale.plain.eq(~self.rescaled),
            rescale.takes.eq(self.valid[1:]),
            self.sum.eq(rescale.result),
            requantise.product.eq(multiply.product),
            requantise.s.eq(ready.s),
            requantise.takes.eq(self.narrow[1:]),
            requantise.stochastic.eq(self.stochastic[-1]),
            requantise.noise.eq(noise.bits),
            self.result.eq(requantise.result),
            self.saturated.eq(requantise.limited & (self.lane < self.lanes)),
            noise.keys.eq(self.keys),
            noise.place.eq(self.place),
            noise.takes.eq(self.stochastic[:-1]),
            noise.complement.eq(rescale.result[-1]),
            noise.lane.eq(self.lane),
            maximum.value.eq(rescale.result),
            maximum.takes.eq(self.reduces),
            self.magnitude.eq(maximum.magnitude),
            maximum.valid.eq(self.column_valid),
            maximum.first.eq(self.column_first),
            maximum.load.eq(self.load),
            maximum.shift.eq(self.shift),
            maximum.chain_in.eq(self.chain_in),
            self.chain_out.eq(maximum.chain_out),
        ]
        return m
