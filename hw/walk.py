"""From one execute instruction to the folds it consists of."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .isa.config import Config
from .isa.instructions import Dataflow, Execute
from .layout import instruction_layout

__all__ = ["Walk", "fold_layout"]


def fold_layout(config: Config) -> data.StructLayout:
    """Return the description of a fold: one stationary tile, or one tile of sums."""
    products = config.macs_per_element
    # OS: places of the last wave along the reduction, less one; the others have all.
    rest = {"rest": exact_log2(products)} if products > 1 else {}
    return data.StructLayout(
        {
            "os": 1,
            "waves": 16,
            "left": 16,  # of a turn, what is added to the last address instead
            "left_stride": 16,
            "right": 16,
            "right_stride": 16,
            "right_rows": range(
                config.fold_reduction + 1
            ),  # WS: rows of the stationary tile, the rest zero
            "out": 16,
            "out_stride": 16,
            "out_rows": range(config.rows + 1),  # OS: rows of the result, the rest dropped
            "columns": range(config.columns + 1),  # of the result; the other lanes are padding
            "accumulate": 1,
            "turn": 1,  # WS: the rows of the fold before, from its last one on
            "back": 1,  # from the last row to the first: strides are negated
            "scale": 1,
            "scale_address": 16,
            **rest,
            # Useful ones in each wave; in OS, at each place along the reduction.
            "macs": range(config.macs_per_cycle + 1),
            "end": 1,  # last fold of its instruction
            "signal_store": 1,
        }
    )


class Walk(wiring.Component):
    """Walk the fold nest of an execute instruction.

    WS: column blocks, inside them folds of the reduction, which walk the rows to and fro. OS: row
    blocks, inside them column blocks. What is left over at an edge makes a smaller last fold.

    Members
    -------
    i : In(stream of the Execute layout)
    o : Out(stream of fold_layout)

    Timing
    ------
    The first fold follows its instruction by one cycle, then one fold a cycle.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Execute))),
                "o": Out(stream.Signature(fold_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows, columns = self._config.rows, self._config.columns
        deep = self._config.fold_reduction
        word = Signal(instruction_layout(Execute), reset_less=True)
        active = Signal()
        first, back = Signal(), Signal()
        # What is left of the outer and the inner extent, and the addresses of this fold; those
        # with `outer_` are where the next outer step starts from.
        outer_left, inner_left = Signal(16), Signal(16)
        left, right, out, scale = Signal(16), Signal(16), Signal(16), Signal(16)
        outer_right, outer_out = Signal(16), Signal(16)
        is_os = Signal()
        longest = max(256, deep)
        outer_step, inner_step = Signal(range(257)), Signal(range(longest + 1))
        inner_end, outer_end, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            is_os.eq(word.dataflow == Dataflow.OS),
            outer_step.eq(Mux(is_os, rows, columns)),
            inner_step.eq(Mux(is_os, columns, deep)),
            inner_end.eq(inner_left <= inner_step),
            outer_end.eq(outer_left <= outer_step),
            taken.eq(self.o.valid & self.o.ready),
            self.o.valid.eq(active),
            self.i.ready.eq(~active | (taken & inner_end & outer_end)),
        ]
        with m.If(self.i.ready):
            m.d.sync += active.eq(self.i.valid)
        start = self.i.p
        with m.If(self.i.ready & self.i.valid):
            starts_os = start.dataflow == Dataflow.OS
            m.d.sync += [
                word.eq(start),
                first.eq(1),
                back.eq(0),
                outer_left.eq(Mux(starts_os, start.rows, start.columns)),
                inner_left.eq(Mux(starts_os, start.columns, start.reduction)),
                left.eq(start.left_base),
                right.eq(start.right_base),
                outer_right.eq(start.right_base),
                out.eq(start.out_base),
                outer_out.eq(start.out_base),
                scale.eq(start.scale_base),
            ]
        next_right, next_out = Signal(16), Signal(16)
        m.d.comb += [
            next_right.eq(outer_right + word.right_block_stride),
            next_out.eq(outer_out + rows * word.out_row_stride),
        ]
        with m.If(taken & ~inner_end):
            m.d.sync += [
                inner_left.eq(inner_left - inner_step),
                first.eq(0),
                back.eq(~is_os & ~back),
            ]
            with m.If(is_os):
                m.d.sync += [
                    right.eq(right + word.right_block_stride),
                    out.eq(out + word.out_block_stride),
                ]
            with m.Else():
                m.d.sync += right.eq(right + self._deep(word.right_row_stride))
        with m.If(taken & inner_end & ~outer_end):
            m.d.sync += [
                outer_left.eq(outer_left - outer_step),
                inner_left.eq(Mux(is_os, word.columns, word.reduction)),
                first.eq(1),
                back.eq(0),
            ]
            with m.If(is_os):
                m.d.sync += [
                    left.eq(left + word.left_block_stride),
                    right.eq(word.right_base),
                    out.eq(next_out),
                    outer_out.eq(next_out),
                    scale.eq(scale + rows),
                ]
            with m.Else():
                m.d.sync += [
                    right.eq(next_right),
                    outer_right.eq(next_right),
                    out.eq(out + word.out_block_stride),
                ]
        self._describe(m, word, is_os, outer_left, inner_left)
        self._turn(m, word, is_os, ~is_os & ~first, back)
        products = self._config.macs_per_element
        m.d.comb += [
            self.o.p.left.eq(
                Mux(self.o.p.turn, products if products > 1 else word.left_block_stride, left)
            ),
            self.o.p.right.eq(right),
            self.o.p.out.eq(out),
            self.o.p.scale_address.eq(scale),
            self.o.p.end.eq(inner_end & outer_end),
        ]
        return m

    def _deep(self, row_stride: Any) -> Any:
        """Return the words from the right operand of a fold of WS to that of the next.

        Along the reduction words follow one another where elements have several products.
        """
        several = self._config.macs_per_element > 1
        return self._config.fold_reduction if several else self._config.rows * row_stride

    def _turn(self, m: Module, word: Any, is_os: Any, turn: Any, back: Signal) -> None:
        """Let each fold of a reduction go back over the rows that the one before came along.

        So its first row adds to the sum that was written last, which is still at hand, and rows
        lie in the two banks of a half by turns throughout: `hw.accumulate`.
        """
        fold, products = self.o.p, self._config.macs_per_element
        along = Mux(is_os, products, word.left_row_stride) if products > 1 else word.left_row_stride
        m.d.comb += [
            fold.turn.eq(turn),
            fold.back.eq(back),
            fold.accumulate.eq(word.accumulate | turn),
            fold.left_stride.eq(Mux(back, -word.left_row_stride, along)),
            fold.out_stride.eq(Mux(back, -word.out_row_stride, word.out_row_stride)),
        ]

    def _describe(self, m: Module, word: Any, is_os: Any, outer: Any, inner: Any) -> None:
        """Fill in the parts of a fold that are not running addresses."""
        rows, columns = self._config.rows, self._config.columns
        deep, products = self._config.fold_reduction, self._config.macs_per_element
        fold = self.o.p
        along_rows, along_columns = Signal(range(deep + 1)), Signal(range(columns + 1))
        row_extent, column_extent = Mux(is_os, outer, inner), Mux(is_os, inner, outer)
        most, waves, right_stride = rows, word.reduction, word.right_row_stride
        if products > 1:
            most, right_stride = Mux(is_os, rows, deep), products
            waves = (word.reduction + (products - 1)) >> exact_log2(products)
            m.d.comb += fold.rest.eq(word.reduction - 1)
        m.d.comb += [
            along_rows.eq(Mux(row_extent > most, most, row_extent)),
            along_columns.eq(Mux(column_extent > columns, columns, column_extent)),
            fold.os.eq(is_os),
            fold.waves.eq(Mux(is_os, waves, word.rows)),
            fold.right_stride.eq(right_stride),
            fold.right_rows.eq(along_rows),
            fold.out_rows.eq(along_rows),
            fold.columns.eq(along_columns),
            fold.scale.eq(word.scale),
            fold.macs.eq(along_rows * along_columns),
            fold.signal_store.eq(word.signal_store),
        ]
