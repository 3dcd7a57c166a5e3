"""What the store engine produces, regrouped into beats of the bus."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi import beat_layout
from .gearbox import Gearbox, chunk
from .isa.config import Config
from .isa.pipeline import MAXIMUM_BYTES, Kind

__all__ = ["Pack", "item_layout"]


def item_layout(size: int) -> data.StructLayout:
    """Return an entry of a queue: a chunk, and whether its instruction ends with it."""
    return data.StructLayout({"chunk": chunk(size), "end": 1})


class Pack(wiring.Component):
    """Queue words and turn them into beats, instruction by instruction.

    A queue takes a word in any cycle: its user keeps count of the room, with the `taken` pulses.

    Parameters
    ----------
    depths : dict of Kind to int
        Words each queue holds.
    instructions : int
        Instructions inside at most.

    Members
    -------
    order : In(stream of the kind of an instruction)
        In program order, before its first word.
    wide, narrow, maxima : In
        Items of `columns` sums, of `columns` INT8 lanes, and of one maximum.
    wide_valid, narrow_valid, maxima_valid : In(1)
    wide_taken, narrow_taken, maxima_taken : Out(1)
        A word has left its queue.
    o : Out(stream of beat_layout)

    Timing
    ------
    Beats of one instruction follow those of the one before without a gap.
    """

    def __init__(self, config: Config, depths: dict[Kind, int], instructions: int) -> None:
        self._config, self._depths, self._instructions = config, depths, instructions
        self._sizes = {
            Kind.WIDE: 4 * config.columns,
            Kind.NARROW: config.columns,
            Kind.MAXIMA: MAXIMUM_BYTES,
        }
        members: dict[str, wiring.Member] = {"order": In(stream.Signature(len(Kind).bit_length()))}
        for kind, size in self._sizes.items():
            name = kind.name.lower()
            members[name] = In(item_layout(size))
            members[f"{name}_valid"] = In(1)
            members[f"{name}_taken"] = Out(1)
        members["o"] = Out(stream.Signature(beat_layout(config)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.orders = orders = SyncFIFOBuffered(
            width=len(self.order.p), depth=self._instructions
        )
        m.d.comb += [
            orders.w_data.eq(self.order.p),
            orders.w_en.eq(self.order.valid),
            self.order.ready.eq(orders.w_rdy),
        ]
        ended = Signal()
        m.d.comb += orders.r_en.eq(ended)
        for kind in self._sizes:
            box, end = self._queue(m, kind)
            with m.If(orders.r_rdy & (orders.r_data == kind)):
                m.d.comb += [
                    self.o.valid.eq(box.o.valid),
                    self.o.p.data.eq(box.o.p.data),
                    self.o.p.count.eq(box.o.p.count),
                    box.o.ready.eq(self.o.ready),
                    ended.eq(box.o.valid & self.o.ready & box.o.p.last & end),
                ]
        return m

    def _queue(self, m: Module, kind: Kind) -> tuple[Gearbox, Signal]:
        """Add the queue of a kind; return its gearbox, and whether its row ends the instruction."""
        name, size = kind.name.lower(), self._sizes[kind]
        layout = item_layout(size)
        queue = SyncFIFOBuffered(width=layout.size, depth=self._depths[kind])
        box = Gearbox(size, self._config.bus_bytes)
        m.submodules[f"{name}_queue"] = queue
        m.submodules[f"{name}_gearbox"] = box
        head, taken = layout(queue.r_data), Signal(name=f"{name}_moves")
        end = Signal(name=f"{name}_end")
        m.d.comb += [
            queue.w_data.eq(getattr(self, name)),
            queue.w_en.eq(getattr(self, f"{name}_valid")),
            box.i.p.eq(head.chunk),
            box.i.valid.eq(queue.r_rdy),
            queue.r_en.eq(box.i.ready),
            taken.eq(queue.r_rdy & box.i.ready),
            getattr(self, f"{name}_taken").eq(taken),
        ]
        # The gearbox takes nothing behind the last word of a row until that row's last beat leaves.
        with m.If(taken):
            m.d.sync += end.eq(head.end)
        return box, end
