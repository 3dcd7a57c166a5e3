"""Operand memories: two single-port banks, so that one is written while the other is read."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .shared import Builder
from .sram import SinglePortSram

__all__ = ["Buffer", "write_layout"]


def write_layout(depth: int, width: int) -> data.StructLayout:
    """Return the payload of a write to a memory of two banks of `depth` words."""
    return data.StructLayout({"address": exact_log2(depth) + 1, "data": width})


class Buffer(wiring.Component):
    """A memory of two banks; the lowest address bit chooses the bank.

    A matrix that is read row after row, at consecutive addresses, leaves every other cycle of each
    bank to what is written, wherever that lies: loads keep a word a cycle under the array's reads.

    Parameters
    ----------
    depth, width : int
        Words in each bank, and bits a word.

    Members
    -------
    read_enable, read_address : In
    read_data : Out
        Valid in the cycle after `read_enable`, and held.
    write : In(stream of write_layout)
        Waits while its bank is being read: the array never waits for a load.
    reads, writes : Out(2)
        Banks that are read and written in this cycle.
    """

    def __init__(self, depth: int, width: int, builder: Builder) -> None:
        self._depth, self._width, self._builder = depth, width, builder
        super().__init__(
            {
                "read_enable": In(1),
                "read_address": In(unsigned(exact_log2(depth) + 1)),
                "read_data": Out(width),
                "write": In(stream.Signature(write_layout(depth, width))),
                "reads": Out(2),
                "writes": Out(2),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        write_bank, read_bank = self.write.p.address[0], self.read_address[0]
        last_bank = Signal()
        m.d.comb += self.write.ready.eq(~(self.read_enable & (read_bank == write_bank)))
        with m.If(self.read_enable):
            m.d.sync += last_bank.eq(read_bank)

        banks = []
        for index in range(2):
            bank = SinglePortSram(self._depth, self._width, self._builder)
            m.submodules[f"bank_{index}"] = bank
            reads, writes = self.reads[index], self.writes[index]
            m.d.comb += [
                reads.eq(self.read_enable & (read_bank == index)),
                writes.eq(self.write.valid & (write_bank == index) & ~reads),
                bank.enable.eq(reads | writes),
                bank.write.eq(writes),
                bank.address.eq(Mux(reads, self.read_address[1:], self.write.p.address[1:])),
                bank.write_data.eq(self.write.p.data),
            ]
            banks.append(bank)
        m.d.comb += self.read_data.eq(Mux(last_bank, banks[1].read_data, banks[0].read_data))
        return m
