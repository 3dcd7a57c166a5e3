"""The load engine: rows of DRAM into words of the on-chip memories."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from .buffer import write_layout
from .bursts import Bursts, burst_layout
from .gearbox import Gearbox
from .isa.config import Config
from .isa.instructions import Load, Memory
from .layout import SCALE, instruction_layout

__all__ = ["LoadEngine", "entry_layout", "lane_entry_layout"]

ENTRY_BYTES = 4
"""Bytes of a scale entry in DRAM."""


def entry_layout(depth: int) -> data.StructLayout:
    """Return a write to a scale memory of single entries."""
    return data.StructLayout({"address": exact_log2(depth), "data": SCALE.size})


def lane_entry_layout(config: Config) -> data.StructLayout:
    """Return a write of one entry of a word of column scales."""
    return data.StructLayout(
        {
            "address": exact_log2(config.column_scale_depth),
            "lane": range(config.columns),
            "data": SCALE.size,
        }
    )


_JOB = ("memory", "rows", "columns", "base", "row_stride", "block_stride")
_SIGNALS = ("signal_execute", "signal_store")


class LoadEngine(wiring.Component):
    """Request rows as soon as an instruction's tokens are taken; write words as the data comes.

    Requests run ahead of data by up to `AHEAD` instructions.

    Members
    -------
    i : In(stream of the Load layout)
    bursts : Out(stream of burst_layout); beats : In(stream of one beat)
        To and from the read master.
    left, right, accumulate_scale, row_scale, column_scale : Out(streams)
        Writes into the memories.
    end, signal_execute, signal_store : Out(1)
        The last word of an instruction is written; its tokens.
    busy : Out(1)
    """

    AHEAD = 4

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Load))),
                "bursts": Out(stream.Signature(burst_layout(config))),
                "beats": In(stream.Signature(8 * config.bus_bytes)),
                "left": Out(stream.Signature(write_layout(config.input_depth, 8 * config.rows))),
                "right": Out(
                    stream.Signature(write_layout(config.weight_depth, 8 * config.columns))
                ),
                "accumulate_scale": Out(
                    stream.Signature(entry_layout(config.accumulate_scale_depth))
                ),
                "row_scale": Out(stream.Signature(entry_layout(config.row_scale_depth))),
                "column_scale": Out(stream.Signature(lane_entry_layout(config))),
                "end": Out(1),
                "signal_execute": Out(1),
                "signal_store": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layout = data.StructLayout(
            {name: instruction_layout(Load)[name].shape for name in _JOB + _SIGNALS}
        )
        m.submodules.jobs = jobs = SyncFIFOBuffered(width=layout.size, depth=self.AHEAD)
        self._request(m, layout, jobs)

        job = Signal(layout, name="job", reset_less=True)
        active, end = Signal(), Signal()
        fresh = Signal()
        m.d.comb += [
            fresh.eq(jobs.r_rdy & (~active | end)),
            jobs.r_en.eq(fresh),
            self.end.eq(end),
            self.signal_execute.eq(end & job.signal_execute),
            self.signal_store.eq(end & job.signal_store),
            self.busy.eq(active | (jobs.level != 0) | ~m.submodules.cutter.i.ready),
        ]
        with m.If(fresh):
            m.d.sync += [job.eq(layout(jobs.r_data)), active.eq(1)]
        with m.Elif(end):
            m.d.sync += active.eq(0)

        boxes = self._regroup(m, job, active, fresh, layout(jobs.r_data))
        self._write(m, job, active, fresh, layout(jobs.r_data), boxes, end)
        return m

    def _request(self, m: Module, layout: data.StructLayout, jobs: SyncFIFOBuffered) -> None:
        """Hand an instruction's rows to the burst cutter, and what to do with them to the queue."""
        bus = self._config.bus_bytes
        m.submodules.cutter = cutter = Bursts(self._config)
        connect(m, cutter.o, wiring.flipped(self.bursts))
        entry = Signal(layout)
        word = self.i.p
        m.d.comb += [getattr(entry, name).eq(getattr(word, name)) for name in _JOB + _SIGNALS]
        m.d.comb += [
            cutter.i.p.beat.eq(word.dram >> exact_log2(bus)),
            cutter.i.p.pitch.eq(word.pitch >> exact_log2(bus)),
            cutter.i.p.rows.eq(word.rows),
            cutter.i.p.row_beats.eq((word.columns + (bus - 1)) >> exact_log2(bus)),
            cutter.i.valid.eq(self.i.valid & jobs.w_rdy),
            self.i.ready.eq(cutter.i.ready & jobs.w_rdy),
            jobs.w_en.eq(self.i.valid & self.i.ready),
            jobs.w_data.eq(entry),
        ]

    def _regroup(
        self, m: Module, job: Any, active: Signal, fresh: Signal, next_job: Any
    ) -> dict[Memory, Gearbox]:
        """Count a row's bytes as its beats come, and send them through its memory's gearbox."""
        config = self._config
        sizes = {
            Memory.INPUT: config.rows,
            Memory.WEIGHT: config.columns,
            Memory.ACCUMULATE_SCALE: ENTRY_BYTES,
            Memory.ROW_SCALE: ENTRY_BYTES,
            Memory.COLUMN_SCALE: ENTRY_BYTES,
        }
        made: dict[int, Gearbox] = {}
        for size in sizes.values():
            if size not in made:
                made[size] = Gearbox(config.bus_bytes, size)
                m.submodules[f"gearbox_{size}"] = made[size]
        boxes = {memory: made[size] for memory, size in sizes.items()}

        bytes_left, rows_left = Signal(16), Signal(16)
        takes, row_ends, ready = Signal(), Signal(), Signal()
        m.d.comb += [
            row_ends.eq(bytes_left <= config.bus_bytes),
            self.beats.ready.eq(active & (rows_left != 0) & ready),
            takes.eq(self.beats.valid & self.beats.ready),
        ]
        with m.If(fresh):
            m.d.sync += [bytes_left.eq(next_job.columns), rows_left.eq(next_job.rows)]
        with m.Elif(takes):
            m.d.sync += bytes_left.eq(Mux(row_ends, job.columns, bytes_left - config.bus_bytes))
            with m.If(row_ends):
                m.d.sync += rows_left.eq(rows_left - 1)
        for size, box in made.items():
            chosen = Signal(name=f"chosen_{size}")
            m.d.comb += [
                chosen.eq(
                    sum(job.memory == memory for memory in sizes if sizes[memory] == size) != 0
                ),
                box.i.p.data.eq(self.beats.p),
                box.i.p.count.eq(Mux(row_ends, bytes_left, config.bus_bytes)),
                box.i.p.last.eq(row_ends),
                box.i.valid.eq(self.beats.valid & active & (rows_left != 0) & chosen),
            ]
            with m.If(chosen):
                m.d.comb += ready.eq(box.i.ready)
        return boxes

    def _write(
        self,
        m: Module,
        job: Any,
        active: Signal,
        fresh: Signal,
        next_job: Any,
        boxes: dict[Memory, Gearbox],
        end: Signal,
    ) -> None:
        """Write each word at its row and block."""
        row_base, address = Signal(16), Signal(16)
        lane = Signal(range(self._config.columns))
        rows_left = Signal(16)
        written, row_ends, wraps = Signal(), Signal(), Signal()
        ports = {
            Memory.INPUT: self.left,
            Memory.WEIGHT: self.right,
            Memory.ACCUMULATE_SCALE: self.accumulate_scale,
            Memory.ROW_SCALE: self.row_scale,
            Memory.COLUMN_SCALE: self.column_scale,
        }
        for memory, port in ports.items():
            box = boxes[memory]
            m.d.comb += [port.p.address.eq(address), port.p.data.eq(box.o.p.data)]
            with m.If(active & (job.memory == memory)):
                m.d.comb += [
                    port.valid.eq(box.o.valid),
                    box.o.ready.eq(port.ready),
                    written.eq(box.o.valid & port.ready),
                    row_ends.eq(box.o.p.last),
                ]
        m.d.comb += [
            self.column_scale.p.lane.eq(lane),
            wraps.eq((job.memory != Memory.COLUMN_SCALE) | (lane == self._config.columns - 1)),
            end.eq(written & row_ends & (rows_left == 1)),
        ]
        with m.If(fresh):
            m.d.sync += [
                row_base.eq(next_job.base),
                address.eq(next_job.base),
                rows_left.eq(next_job.rows),
                lane.eq(0),
            ]
        with m.Elif(written & row_ends):
            m.d.sync += [
                row_base.eq(row_base + job.row_stride),
                address.eq(row_base + job.row_stride),
                rows_left.eq(rows_left - 1),
                lane.eq(0),
            ]
        with m.Elif(written):
            m.d.sync += lane.eq(Mux(wraps, 0, lane + 1))
            with m.If(wraps):
                m.d.sync += address.eq(address + job.block_stride)
