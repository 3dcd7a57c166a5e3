"""Walk the words of a matrix in the output memory."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .isa.config import Config

__all__ = ["RowWalk", "control_layout", "matrix_layout", "word_layout"]


def control_layout() -> data.StructLayout:
    """Return what an instruction does with its words; it travels with each of them."""
    return data.StructLayout(
        {
            "sums": 1,  # to DRAM as they are
            "narrow": 1,  # to DRAM requantised
            "reduces": 1,  # to their maximum
            "by_column": 1,  # ... of each column
            "tensor": 1,  # ... of all
            "rescaled": 1,  # by row, before anything else
            "by_row": 1,  # requantised with the scale of the row, not of the column
            "stochastic": 1,
            "to_dram": 1,  # maxima are written
            "to_scales": 1,  # maxima become scales that a later instruction may read
            "needs_scales": 1,  # entries of the scale memories are read
            "needs_maxima": 1,  # so is what an earlier instruction leaves of maxima
            "needs_factor": 1,  # an entry is read before the first word
        }
    )


def matrix_layout() -> data.StructLayout:
    """Return the description of a matrix: its words, where its scales and its noise start."""
    return data.StructLayout(
        {
            "by_block": 1,  # all rows of a block before the next block
            "one_scale": 1,  # the first row's scale counts for all
            "rows": 16,
            "columns": 16,
            "base": 16,
            "row_stride": 16,
            "block_stride": 16,
            "row_scale": 16,
            "column_scale": 16,
            "noise_row": 16,
            "noise_column": 16,
            "control": control_layout(),
        }
    )


def word_layout(config: Config) -> data.StructLayout:
    """Return one word of a matrix."""
    return data.StructLayout(
        {
            "address": exact_log2(config.output_depth) + 1,
            "row_scale": exact_log2(config.row_scale_depth),
            "column_scale": exact_log2(config.column_scale_depth),
            "noise_row": 16,
            "noise_column": 16,  # of its first lane
            "lanes": range(config.columns + 1),  # columns of the matrix in this word
            "first": 1,  # of a row, or of a block where blocks are walked
            "last": 1,
            "start": 1,  # of the matrix
            "end": 1,
            "control": control_layout(),
        }
    )


class RowWalk(wiring.Component):
    """Give the words of a matrix, row by row or block by block.

    Members
    -------
    i : In(stream of matrix_layout)
        Taken together with the last word of the one before, too.
    o : Out(stream of word_layout)

    Timing
    ------
    The first word follows its matrix by a cycle, then one word a cycle.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(matrix_layout())),
                "o": Out(stream.Signature(word_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        columns = self._config.columns
        matrix = Signal(matrix_layout(), reset_less=True)
        active, fresh_row, fresh_matrix = Signal(), Signal(), Signal()
        last_row, last_block, inner_end, end, taken = (Signal() for _ in range(5))
        rows_left, columns_left = Signal(16), Signal(16)
        outer, address = Signal(16), Signal(16)
        next_outer, inner_step = Signal(16), Signal(16)
        word = self.o.p
        m.d.comb += [
            last_row.eq(rows_left == 1),
            last_block.eq(columns_left <= columns),
            inner_end.eq(Mux(matrix.by_block, last_row, last_block)),
            end.eq(last_row & last_block),
            taken.eq(self.o.valid & self.o.ready),
            self.o.valid.eq(active),
            self.i.ready.eq(~active | (taken & end)),
            word.address.eq(address),
            word.lanes.eq(Mux(last_block, columns_left, columns)),
            word.first.eq(fresh_row),
            word.last.eq(inner_end),
            word.start.eq(fresh_matrix),
            word.end.eq(end),
            word.control.eq(matrix.control),
            next_outer.eq(outer + Mux(matrix.by_block, matrix.block_stride, matrix.row_stride)),
            inner_step.eq(Mux(matrix.by_block, matrix.row_stride, matrix.block_stride)),
        ]
        with m.If(taken):
            m.d.sync += [active.eq(~end), fresh_matrix.eq(0), fresh_row.eq(inner_end)]
            with m.If(inner_end):
                m.d.sync += [outer.eq(next_outer), address.eq(next_outer)]
            with m.Else():
                m.d.sync += address.eq(address + inner_step)
            with m.If(~matrix.by_block | inner_end):
                m.d.sync += columns_left.eq(Mux(last_block, matrix.columns, columns_left - columns))
            with m.If(matrix.by_block | inner_end):
                m.d.sync += rows_left.eq(Mux(last_row, matrix.rows, rows_left - 1))
        self._by_row(m, matrix, taken & (matrix.by_block | inner_end), last_row)
        self._by_block(m, matrix, taken & (~matrix.by_block | inner_end), last_block)
        with m.If(self.i.valid & self.i.ready):
            start = self.i.p
            m.d.sync += [
                matrix.eq(start),
                active.eq(1),
                fresh_row.eq(1),
                fresh_matrix.eq(1),
                rows_left.eq(start.rows),
                columns_left.eq(start.columns),
                outer.eq(start.base),
                address.eq(start.base),
            ]
        return m

    def _by_row(self, m: Module, matrix: Any, steps: Any, last: Signal) -> None:
        """Count what changes from row to row."""
        row_scale, noise_row = Signal(16), Signal(16)
        m.d.comb += [self.o.p.row_scale.eq(row_scale), self.o.p.noise_row.eq(noise_row)]
        with m.If(steps):
            m.d.sync += [
                row_scale.eq(Mux(last, matrix.row_scale, row_scale + ~matrix.one_scale)),
                noise_row.eq(Mux(last, matrix.noise_row, noise_row + 1)),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [row_scale.eq(self.i.p.row_scale), noise_row.eq(self.i.p.noise_row)]

    def _by_block(self, m: Module, matrix: Any, steps: Any, last: Signal) -> None:
        """Count what changes from block to block."""
        columns = self._config.columns
        column_scale, noise_column = Signal(16), Signal(16)
        m.d.comb += [
            self.o.p.column_scale.eq(column_scale),
            self.o.p.noise_column.eq(noise_column),
        ]
        with m.If(steps):
            m.d.sync += [
                column_scale.eq(Mux(last, matrix.column_scale, column_scale + 1)),
                noise_column.eq(Mux(last, matrix.noise_column, noise_column + columns)),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                column_scale.eq(self.i.p.column_scale),
                noise_column.eq(self.i.p.noise_column),
            ]
