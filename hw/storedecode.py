"""What store and absmax instructions ask of each unit of the store engine."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .isa.config import Config
from .isa.instructions import Absmax, Axis, Format, Opcode, Store
from .isa.pipeline import Kind
from .layout import INSTRUCTION_BITS, instruction_layout
from .maxima import use_layout
from .retire import ending_layout, write_region_layout
from .rowwalk import matrix_layout

__all__ = ["StoreDecode"]


class StoreDecode(wiring.Component):
    """Decode an instruction word, without a register.

    Members
    -------
    i : In(INSTRUCTION_BITS)
    reduces, writes : Out(1)
        It is an absmax; it writes to DRAM.
    matrix : Out(matrix_layout)
        Which words are read, and what is done with them.
    use : Out(use_layout); factor : Out
        What an absmax does with its maxima; row-scale entry of its factor.
    ending : Out(ending_layout)
    region : Out(write_region_layout); kind : Out
        Where the result goes, and in what form: rows, or one list of maxima.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(INSTRUCTION_BITS),
                "reduces": Out(1),
                "writes": Out(1),
                "matrix": Out(matrix_layout()),
                "use": Out(use_layout(config)),
                "factor": Out(exact_log2(config.row_scale_depth)),
                "ending": Out(ending_layout()),
                "region": Out(write_region_layout(config)),
                "kind": Out(range(len(Kind))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        store, absmax = instruction_layout(Store)(self.i), instruction_layout(Absmax)(self.i)
        m.d.comb += [
            self.reduces.eq(store.opcode == Opcode.ABSMAX),
            self.writes.eq(~self.reduces | absmax.to_dram),
            self.ending.writes.eq(self.writes),
            self.ending.maxima.eq(self.reduces),
            self.ending.signal_load.eq(store.signal_load),
            self.ending.signal_execute.eq(store.signal_execute),
            self.use.by_column.eq(absmax.axis == Axis.COLUMN),
            self.factor.eq(absmax.factor),
        ]
        for name in ("merge", "to_dram", "to_scales", "scale_base", "update_base"):
            m.d.comb += getattr(self.use, name).eq(getattr(absmax, name))
        m.d.comb += self.use.to_updates.eq(absmax.to_updates & (absmax.axis != Axis.COLUMN))
        for name in ("rows", "columns", "base", "row_stride", "block_stride", "row_scale"):
            m.d.comb += getattr(self.matrix, name).eq(
                Mux(self.reduces, getattr(absmax, name), getattr(store, name))
            )
        self._matrix(m, store, absmax)
        self._region(m, store, absmax)
        return m

    def _matrix(self, m: Module, store: Any, absmax: Any) -> None:
        matrix, control, reduces = self.matrix, self.matrix.control, self.reduces
        updates, stores = Signal(), Signal()
        m.d.comb += [
            updates.eq(reduces & self.use.to_updates),
            stores.eq(~reduces),
            matrix.column_scale.eq(store.column_scale),
            matrix.noise_row.eq(store.origin_row),
            matrix.noise_column.eq(store.origin_column),
            matrix.one_scale.eq(stores & (store.format == Format.INT8_TENSOR)),
            matrix.by_block.eq(control.by_column),
            control.sums.eq(stores & (store.format == Format.INT32)),
            control.narrow.eq(stores & (store.format != Format.INT32)),
            control.reduces.eq(reduces),
            control.by_column.eq(reduces & self.use.by_column),
            control.tensor.eq(absmax.axis == Axis.TENSOR),
            control.rescaled.eq(
                Mux(reduces, absmax.scaled, store.format == Format.INT8_ROW_COLUMN)
            ),
            control.by_row.eq(
                (store.format == Format.INT8_ROW) | (store.format == Format.INT8_TENSOR)
            ),
            control.stochastic.eq(control.narrow & store.stochastic),
            control.to_dram.eq(absmax.to_dram),
            control.to_scales.eq(absmax.to_scales),
            control.needs_factor.eq(updates),
            control.needs_scales.eq(control.narrow | (reduces & absmax.scaled) | updates),
            # The factor is kept in one register: until its user is through, no other may come.
            control.needs_maxima.eq((reduces & absmax.merge) | updates),
        ]

    def _region(self, m: Module, store: Any, absmax: Any) -> None:
        bus, reduces, region = self._config.bus_bytes, self.reduces, self.region
        row_bytes, narrow = Signal(19), Signal()
        m.d.comb += narrow.eq(store.format != Format.INT32)
        with m.If(~reduces):
            m.d.comb += row_bytes.eq(Mux(narrow, store.columns, 4 * store.columns))
        with m.Else():
            with m.Switch(absmax.axis):
                with m.Case(Axis.ROW):
                    m.d.comb += row_bytes.eq(4 * absmax.rows)
                with m.Case(Axis.COLUMN):
                    m.d.comb += row_bytes.eq(4 * absmax.columns)
                with m.Default():
                    m.d.comb += row_bytes.eq(4)
        m.d.comb += [
            region.beat.eq(Mux(reduces, absmax.dram, store.dram) >> exact_log2(bus)),
            region.pitch.eq(store.pitch >> exact_log2(bus)),
            region.rows.eq(Mux(reduces, 1, store.rows)),
            region.row_beats.eq((row_bytes + (bus - 1)) >> exact_log2(bus)),
            self.kind.eq(Mux(reduces, Kind.MAXIMA, Mux(narrow, Kind.NARROW, Kind.WIDE))),
        ]
