"""Which words of which memory an instruction reads and writes: one place for model and compiler."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import assert_never

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import (
    Absmax,
    Axis,
    Dataflow,
    Execute,
    Format,
    Halt,
    Instruction,
    Load,
    Memory,
    Store,
)

__all__ = ["Access", "Grid", "Space", "beat_bytes", "blocks", "dram_bytes", "footprint", "words_in"]


class Space(IntEnum):
    """Everything an instruction can read or write; the first five are numbered as `Memory`."""

    INPUT = Memory.INPUT
    WEIGHT = Memory.WEIGHT
    ACCUMULATE_SCALE = Memory.ACCUMULATE_SCALE
    ROW_SCALE = Memory.ROW_SCALE
    COLUMN_SCALE = Memory.COLUMN_SCALE
    OUTPUT = 5
    DRAM = 6
    ROW_MAXIMUM = 7
    """Maxima of rows and tensors, kept by the store engine: words of one."""
    COLUMN_MAXIMUM = 8
    """Maxima of columns: words of one, as many to a column-scale word as it has lanes."""

    @property
    def title(self) -> str:
        """Name for messages."""
        return "DRAM" if self is Space.DRAM else f"{self.name.lower().replace('_', '-')} memory"


def blocks(extent: int, lanes: int) -> int:
    """Return how many words of `lanes` elements hold `extent` of them."""
    return -(-extent // lanes)


def words_in(config: Config, space: Space) -> int:
    """Return the number of words of an on-chip memory, all of it."""
    match space:
        case Space.INPUT:
            return 2 * config.input_depth
        case Space.WEIGHT:
            return 2 * config.weight_depth
        case Space.OUTPUT:
            return 2 * config.output_depth
        case Space.ACCUMULATE_SCALE:
            return config.accumulate_scale_depth
        case Space.ROW_SCALE | Space.ROW_MAXIMUM:
            return config.row_scale_depth
        case Space.COLUMN_SCALE:
            return config.column_scale_depth
        case Space.COLUMN_MAXIMUM:
            return config.column_scale_depth * config.columns
        case Space.DRAM:
            raise ValueError("DRAM is not an on-chip memory")
        case _:
            assert_never(space)


@dataclass(frozen=True)
class Grid:
    """A matrix of words: word of (r, b) is ``base + r * row_stride + b * block_stride``.

    In DRAM a word is a beat of the bus, so that two accesses meet exactly if they share a beat.
    """

    base: int
    rows: int
    blocks: int
    row_stride: int
    block_stride: int

    @property
    def last(self) -> int:
        """Highest address."""
        return self.base + (self.rows - 1) * self.row_stride + (self.blocks - 1) * self.block_stride

    @property
    def is_dense(self) -> bool:
        """Whether the words are consecutive, row after row."""
        return (self.blocks == 1 or self.block_stride == 1) and (
            self.rows == 1 or self.row_stride == self.blocks
        )

    def index(self) -> slice | np.ndarray:
        """Return an index of all words in order: a slice if they are consecutive."""
        if self.is_dense:
            return slice(self.base, self.base + self.rows * self.blocks)
        return self.words()

    def words(self) -> np.ndarray:
        """Return the addresses of all words in order."""
        rows = np.arange(self.rows)[:, None] * self.row_stride
        return (self.base + rows + np.arange(self.blocks) * self.block_stride).ravel()

    def has_repeats(self) -> bool:
        """Tell whether two of its places are the same word."""
        if self.is_dense or self.row_stride >= self.blocks * self.block_stride > 0:
            return False
        return np.unique(self.index()).size < self.rows * self.blocks


@dataclass(frozen=True)
class Access:
    """Words of one memory that an instruction reads or writes."""

    space: Space
    write: bool
    grid: Grid


def footprint(config: Config, instruction: Instruction) -> tuple[Access, ...]:
    """Return every access of an instruction; extents must be at least 1."""
    match instruction:
        case Load():
            return _load(config, instruction)
        case Execute():
            return _execute(config, instruction)
        case Store():
            return _store(config, instruction)
        case Absmax():
            return _absmax(config, instruction)
        case Halt():
            return ()
        case _:
            assert_never(instruction)


def dram_bytes(instruction: Load | Store | Absmax) -> tuple[int, int, int]:
    """Return (rows, bytes a row, pitch) of what an instruction moves from or to DRAM.

    Of an ABSMAX it is what it moves if it writes to DRAM at all.
    """
    match instruction:
        case Load():
            size = blocks(instruction.columns, 2) if instruction.packed else instruction.columns
            return instruction.rows, size, instruction.pitch
        case Store():
            size = 4 if instruction.format is Format.INT32 else 1
            return instruction.rows, size * instruction.columns, instruction.pitch
        case Absmax():
            return 1, 4 * _maxima(instruction), 0
        case _:
            assert_never(instruction)


def beat_bytes(config: Config, instruction: Load | Store | Absmax) -> int:
    """Return the bytes of the beats in which an instruction moves its `dram_bytes`.

    Rows start with a beat of their own.
    """
    rows, size, _ = dram_bytes(instruction)
    match instruction:
        case Load(packed=1, transpose=1) if config.transpose_columns == config.bus_bytes:
            size = instruction.columns  # a beat for each half of it
    return rows * blocks(size, config.bus_bytes) * config.bus_bytes


def _maxima(instruction: Absmax) -> int:
    match instruction.axis:
        case Axis.ROW:
            return instruction.rows
        case Axis.COLUMN:
            return instruction.columns
        case Axis.TENSOR:
            return 1
        case _:
            assert_never(instruction.axis)


def _dram(config: Config, instruction: Load | Store | Absmax, write: bool) -> Access:
    rows, size, pitch = dram_bytes(instruction)
    bus = config.bus_bytes
    return Access(
        Space.DRAM, write, Grid(instruction.dram // bus, rows, blocks(size, bus), pitch // bus, 1)
    )


def _load(config: Config, load: Load) -> tuple[Access, ...]:
    bytes_in_word = {
        Memory.INPUT: config.rows,
        Memory.WEIGHT: config.columns,
        Memory.ACCUMULATE_SCALE: 4,
        Memory.ROW_SCALE: 4,
        Memory.COLUMN_SCALE: 4 * config.columns,
    }[load.memory]
    rows, extent = (load.rows, load.columns)[:: -1 if load.transpose else 1]
    count = blocks(extent, bytes_in_word)
    grid = Grid(load.base, rows, count, load.row_stride, load.block_stride)
    return _dram(config, load, False), Access(Space(load.memory), True, grid)


def _execute(config: Config, execute: Execute) -> tuple[Access, ...]:
    if execute.dataflow is Dataflow.WS:
        left_rows, left_extent = execute.rows, execute.reduction
    else:
        left_rows, left_extent = execute.reduction, execute.rows
    column_blocks = blocks(execute.columns, config.columns)
    left = Grid(
        execute.left_base, left_rows, blocks(left_extent, config.rows),
        execute.left_row_stride, execute.left_block_stride,
    )  # fmt: skip
    right = Grid(
        execute.right_base, execute.reduction, column_blocks,
        execute.right_row_stride, execute.right_block_stride,
    )  # fmt: skip
    out = Grid(
        execute.out_base, execute.rows, column_blocks,
        execute.out_row_stride, execute.out_block_stride,
    )  # fmt: skip
    accesses = [Access(Space.INPUT, False, left), Access(Space.WEIGHT, False, right)]
    if execute.scale:
        scales = _list(execute.scale_base, execute.rows)
        accesses.append(Access(Space.ACCUMULATE_SCALE, False, scales))
    if execute.accumulate:
        accesses.append(Access(Space.OUTPUT, False, out))
    return (*accesses, Access(Space.OUTPUT, True, out))


def _output(config: Config, instruction: Store | Absmax) -> Access:
    grid = Grid(
        instruction.base, instruction.rows, blocks(instruction.columns, config.columns),
        instruction.row_stride, instruction.block_stride,
    )  # fmt: skip
    return Access(Space.OUTPUT, False, grid)


def _store(config: Config, store: Store) -> tuple[Access, ...]:
    sums, written = _output(config, store), _dram(config, store, True)
    scales = 1 if store.format is Format.INT8_TENSOR else store.rows
    by_row = Access(Space.ROW_SCALE, False, _list(store.row_scale, scales))
    by_column = Access(Space.COLUMN_SCALE, False, _row(store.column_scale, sums.grid.blocks))
    match store.format:
        case Format.INT32:
            return sums, written
        case Format.INT8_ROW | Format.INT8_TENSOR:
            return sums, by_row, written
        case Format.INT8_COLUMN:
            return sums, by_column, written
        case Format.INT8_ROW_COLUMN:
            return sums, by_row, by_column, written
        case _:
            assert_never(store.format)


def _absmax(config: Config, absmax: Absmax) -> tuple[Access, ...]:
    count, by_column = _maxima(absmax), absmax.axis is Axis.COLUMN
    sums, base = _output(config, absmax), absmax.scale_base
    scales = Access(Space.ROW_SCALE, True, _list(base, count))
    kept, places = Space.ROW_MAXIMUM, scales.grid
    if by_column:
        scales = Access(Space.COLUMN_SCALE, True, _row(base, blocks(count, config.columns)))
        kept, places = Space.COLUMN_MAXIMUM, _list(base * config.columns, count)
    found = [sums]
    if absmax.scaled:
        found.append(Access(Space.ROW_SCALE, False, _list(absmax.row_scale, absmax.rows)))
    if absmax.merge:
        found.append(Access(kept, False, places))
    if absmax.to_updates:
        found.append(Access(Space.ROW_SCALE, False, _list(absmax.factor, 1)))
        found.append(Access(Space.ACCUMULATE_SCALE, True, _list(absmax.update_base, count)))
    if absmax.to_scales:
        found.append(scales)
    if absmax.to_dram:
        found.append(_dram(config, absmax, True))
    return (*found, Access(kept, True, places))


def _list(base: int, count: int) -> Grid:
    """Return consecutive words, a row each."""
    return Grid(base, count, 1, 1, 1)


def _row(base: int, count: int) -> Grid:
    """Return consecutive words, all of one row."""
    return Grid(base, 1, count, 0, 1)
