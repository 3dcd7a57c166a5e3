"""Operand memories: two single-port banks, so that one is written while the other is read.

A bank is as many macros as the array reads words in a cycle: words that follow one another lie side
by side.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .shared import Builder
from .sram import SinglePortSram

__all__ = ["Buffer", "write_layout"]


def write_layout(depth: int, width: int, together: int = 1) -> data.StructLayout:
    """Return the payload of a write to a memory of two banks of `depth` words.

    Where several words may be written `together`, `places` are those that are, of as many as are
    read at once.
    """
    places = {"places": together} if together > 1 else {}
    return data.StructLayout({"address": exact_log2(depth) + 1, **places, "data": width * together})


class Buffer(wiring.Component):
    """A memory of two banks, which reads several words at once and writes one, or several.

    The lowest address bits choose the word of those that are read together; the next bit, the
    lowest of all if they are one word, chooses the bank.

    A matrix that is read row after row, at consecutive addresses, leaves every other cycle of each
    bank to what is written, wherever that lies: loads keep a word a cycle under the array's reads.

    Parameters
    ----------
    depth, width : int
        Words in each bank, and bits a word.
    together : int
        Words that are read in a cycle.
    wide : bool
        Whether as many may be written.

    Members
    -------
    read_enable : In, a bit for each of the words; the first is read if any is
    read_address : In
        Of the first word, a multiple of `together`.
    read_data : Out, `width` bits for each of the words
        Valid in the cycle after `read_enable`, and held.
    write : In(stream of write_layout)
        Waits while its bank is being read: the array never waits for a load.
    reads, writes : Out(2)
        Banks that are read and written in this cycle.
    """

    def __init__(
        self, depth: int, width: int, builder: Builder, together: int = 1, *, wide: bool = False
    ) -> None:
        self._depth, self._width, self._builder = depth, width, builder
        self._together, self._wide = together, wide and together > 1
        written = write_layout(depth, width, together if wide else 1)
        super().__init__(
            {
                "read_enable": In(together),
                "read_address": In(unsigned(exact_log2(depth) + 1)),
                "read_data": Out(width * together),
                "write": In(stream.Signature(written)),
                "reads": Out(2),
                "writes": Out(2),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bit = exact_log2(self._together)
        write_bank, read_bank = self.write.p.address[bit], self.read_address[bit]
        last_bank, read = Signal(), self.read_enable[0]
        m.d.comb += self.write.ready.eq(~(read & (read_bank == write_bank)))
        with m.If(read):
            m.d.sync += last_bank.eq(read_bank)

        banks = []
        for index in range(2):
            reads, writes = self.reads[index], self.writes[index]
            m.d.comb += [
                reads.eq(read & (read_bank == index)),
                writes.eq(self.write.valid & (write_bank == index) & ~reads),
            ]
            banks.append(self._bank(m, index, reads, writes))
        m.d.comb += self.read_data.eq(Mux(last_bank, banks[1], banks[0]))
        return m

    def _bank(self, m: Module, index: int, reads: Any, writes: Any) -> Any:
        """Make the macros of a bank; return what was read last."""
        bit, words = exact_log2(self._together), []
        for place in range(self._together):
            macro = SinglePortSram(self._depth // self._together, self._width, self._builder)
            several = self._together > 1
            m.submodules[f"bank_{index}_{place}" if several else f"bank_{index}"] = macro
            mine, what = writes, self.write.p.data
            if self._wide:
                mine = writes & self.write.p.places[place]
                what = what.word_select(place, self._width)
            elif several:
                mine = writes & (self.write.p.address[:bit] == place)
            theirs = reads & self.read_enable[place] if several else reads
            m.d.comb += [
                macro.enable.eq(theirs | mine),
                macro.write.eq(mine),
                macro.address.eq(
                    Mux(reads, self.read_address[bit + 1 :], self.write.p.address[bit + 1 :])
                ),
                macro.write_data.eq(what),
            ]
            words.append(macro.read_data)
        return Cat(words) if len(words) > 1 else words[0]
