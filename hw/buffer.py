"""Operand memories: two single-port halves, so that one fills while the other is read."""

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
    """Return the payload of a write to a memory of two halves of `depth` words."""
    return data.StructLayout({"address": exact_log2(depth) + 1, "data": width})


class Buffer(wiring.Component):
    """A memory of two halves; the top address bit chooses the half.

    Parameters
    ----------
    depth, width : int
        Words in each half, and bits a word.

    Members
    -------
    read_enable, read_address : In
    read_data : Out
        Valid in the cycle after `read_enable`, and held.
    write : In(stream of write_layout)
        Waits while its half is being read: the array never waits for a load.
    reads, writes : Out(2)
        Halves that are read and written in this cycle.
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
        write_half = self.write.p.address[-1]
        read_half = self.read_address[-1]
        last_half = Signal()
        m.d.comb += self.write.ready.eq(~(self.read_enable & (read_half == write_half)))
        with m.If(self.read_enable):
            m.d.sync += last_half.eq(read_half)

        halves = []
        for index in range(2):
            half = SinglePortSram(self._depth, self._width, self._builder)
            m.submodules[f"half_{index}"] = half
            reads, writes = self.reads[index], self.writes[index]
            m.d.comb += [
                reads.eq(self.read_enable & (read_half == index)),
                writes.eq(self.write.valid & (write_half == index) & ~reads),
                half.enable.eq(reads | writes),
                half.write.eq(writes),
                half.address.eq(Mux(reads, self.read_address[:-1], self.write.p.address[:-1])),
                half.write_data.eq(self.write.p.data),
            ]
            halves.append(half)
        m.d.comb += self.read_data.eq(Mux(last_half, halves[1].read_data, halves[0].read_data))
        return m
