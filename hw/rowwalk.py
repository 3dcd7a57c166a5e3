"""Walk the words of a matrix in the output memory."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .isa.config import Config

__all__ = ["RowWalk", "matrix_layout", "word_layout"]


def matrix_layout() -> data.StructLayout:
    """Return the description of a matrix: its words, and where its scales start."""
    return data.StructLayout(
        {
            "by_block": 1,  # all rows of a block before the next block
            "rows": 16,
            "columns": 16,
            "base": 16,
            "row_stride": 16,
            "block_stride": 16,
            "row_scale": 16,
            "column_scale": 16,
        }
    )


def word_layout(config: Config) -> data.StructLayout:
    """Return one word of a matrix."""
    return data.StructLayout(
        {
            "address": exact_log2(config.output_depth) + 1,
            "row_scale": exact_log2(config.row_scale_depth),
            "column_scale": exact_log2(config.column_scale_depth),
            "lanes": range(config.columns + 1),  # columns of the matrix in this word
            "first": 1,  # of a row, or of a block where blocks are walked
            "last": 1,
            "start": 1,  # of the matrix
            "end": 1,
        }
    )


class RowWalk(wiring.Component):
    """Give the words of a matrix, row by row or block by block.

    Members
    -------
    i : In(stream of matrix_layout)
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
        rows_left, columns_left = Signal(16), Signal(16)
        outer, address = Signal(16), Signal(16)
        row_scale, column_scale = Signal(16), Signal(16)
        last_row, last_block, inner_end, end, taken = (Signal() for _ in range(5))
        word = self.o.p
        m.d.comb += [
            last_row.eq(rows_left == 1),
            last_block.eq(columns_left <= columns),
            inner_end.eq(Mux(matrix.by_block, last_row, last_block)),
            end.eq(last_row & last_block),
            taken.eq(self.o.valid & self.o.ready),
            self.o.valid.eq(active),
            self.i.ready.eq(~active),
            word.address.eq(address),
            word.row_scale.eq(row_scale),
            word.column_scale.eq(column_scale),
            word.lanes.eq(Mux(last_block, columns_left, columns)),
            word.first.eq(fresh_row),
            word.last.eq(inner_end),
            word.start.eq(fresh_matrix),
            word.end.eq(end),
        ]
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
                row_scale.eq(start.row_scale),
                column_scale.eq(start.column_scale),
            ]
        next_outer, inner_step = Signal(16), Signal(16)
        m.d.comb += [
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
                m.d.sync += [
                    columns_left.eq(Mux(last_block, matrix.columns, columns_left - columns)),
                    column_scale.eq(Mux(last_block, matrix.column_scale, column_scale + 1)),
                ]
            with m.If(matrix.by_block | inner_end):
                m.d.sync += [
                    rows_left.eq(Mux(last_row, matrix.rows, rows_left - 1)),
                    row_scale.eq(Mux(last_row, matrix.row_scale, row_scale + 1)),
                ]
        return m
