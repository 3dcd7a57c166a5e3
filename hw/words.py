"""Words in registers: a memory too small for a macro."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .shared import Builder

__all__ = ["Words", "place_words"]


class Words(wiring.Component):
    """A few words that are read and written in one cycle, as registers.

    A macro of so little is mostly decoders: in 45 nm, 64 words of 8 bits take half of the least
    memory that can be bought.

    Parameters
    ----------
    depth, width : int
        Words, and bits a word.

    Members
    -------
    read_enable, read_address : In
    read_data : Out
        Valid in the cycle after `read_enable`, and held. A read of the word that is being
        written returns the old word.
    write_enable, write_address, write_data : In
    """

    def __init__(self, depth: int, width: int) -> None:
        self.depth, self.width = depth, width
        super().__init__(
            {
                "read_enable": In(1),
                "read_address": In(range(depth)),
                "read_data": Out(width),
                "write_enable": In(1),
                "write_address": In(range(depth)),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words = [
            Signal(self.width, name=f"word_{index}", reset_less=True) for index in range(self.depth)
        ]
        read = Signal(self.width, name="read_register", reset_less=True)
        with m.Switch(self.write_address):
            for index, word in enumerate(words):
                with m.Case(index), m.If(self.write_enable):
                    m.d.sync += word.eq(self.write_data)
        with m.If(self.read_enable):
            m.d.sync += read.eq(Array(words)[self.read_address])
        m.d.comb += self.read_data.eq(read)
        return m


def place_words(m: Module, name: str, depth: int, width: int, builder: Builder) -> Any:
    """Add `Words` to `m` as submodule `name`, and return its interface."""
    return builder.place(m, name, f"cdmqta_words_{depth}x{width}", lambda: Words(depth, width))
