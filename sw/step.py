"""What a program does, one step an instruction, with every place in the on-chip memories."""

from __future__ import annotations

from typing import NamedTuple

from hw.isa.instructions import Dataflow, Memory

from .job import Copy, Maxima, Operand, Sums
from .tile import Span, Tile

__all__ = ["Emit", "Fetch", "Measure", "Multiply", "Step", "Table"]


class Fetch(NamedTuple):
    """Bring rows `rows` and columns `columns` of a matrix, as the array wants it, to `base`.

    `words` are those it takes there, `blocks` those of a row; strides are from row to row and
    from block to block.
    """

    memory: Memory
    operand: Operand
    rows: Span
    columns: Span
    base: int
    blocks: int
    words: int
    block_stride: int
    row_stride: int = 1


class Table(NamedTuple):
    """Bring a part of a table of scale entries, in a row of a buffer, to `words` words."""

    memory: Memory
    buffer: str
    part: Span
    base: int
    words: int
    row: int = 0


class Multiply(NamedTuple):
    """Multiply two pieces that are on the chip into a tile of results at `base`.

    Rows of a block of results follow one another, as the output memory wants it: a sum is read in
    one bank while the one before is written in the other. Blocks are `stride` words apart.
    `held` says that it must wait for all loads before it, needed or not. Strides of operands are
    as `Fetch` has them; rows of the right one follow one another.
    """

    dataflow: Dataflow
    rows: int
    reduction: int
    columns: int
    left: int
    left_blocks: int
    right: int
    right_blocks: int
    base: int
    stride: int
    accumulate: int
    scale: int = 0
    scale_base: int = 0
    held: bool = False
    left_stride: int = 0
    right_stride: int = 0
    left_row_stride: int = 1

    @property
    def left_rows(self) -> int:
        """Rows of the left operand on the chip."""
        return self.rows if self.dataflow is Dataflow.WS else self.reduction

    @property
    def left_words(self) -> int:
        """Words from the first to the last of the left operand."""
        rows, blocks = self.left_rows - 1, self.left_blocks - 1
        return rows * self.left_row_stride + blocks * self.left_stride + 1

    @property
    def right_words(self) -> int:
        """The same of the right one."""
        return self.reduction + (self.right_blocks - 1) * self.right_stride


class Emit(NamedTuple):
    """Store the tile of results at `base`, whose scales are at `row_table` and `column_table`.

    Its blocks are `stride` words apart, as those of `Multiply`. `tile` counts from the first row
    and column of the buffer.
    """

    output: Sums | Copy
    tile: Tile
    base: int
    stride: int
    row_table: int = 0
    column_table: int = 0


class Measure(NamedTuple):
    """Take the maxima of the tile of results at `base`; they are kept in `place`.

    Its blocks are `stride` words apart. `first` and `last` say whether the tile is the first, and
    the last, of its group; `unit`, `updates` and `factor` are places of tables; `row` is that of
    the buffer where maxima go.
    """

    output: Maxima
    tile: Tile
    base: int
    stride: int
    place: int
    first: bool
    last: bool
    unit: int = 0
    updates: int = 0
    factor: int = 0
    row: int = 0


Step = Fetch | Table | Multiply | Emit | Measure
