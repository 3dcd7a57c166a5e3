"""What a program does, counted from its instructions alone: events that cost energy.

How long a program takes depends on DRAM and on who waits for whom; what it reads, writes and
multiplies does not. So nothing is simulated here: every instruction has closed formulas, and equal
instructions are counted once. `tests/sim/test_activity.py` holds each count to the RTL, to counters
where there are some and to the enables of the memories where there are none.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import assert_never

from hw.isa.config import Config
from hw.isa.instructions import (
    INSTRUCTION_BYTES,
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

from .footprint import beat_bytes, blocks, dram_bytes

__all__ = ["Activity", "activity"]

_SCALE_ENTRY = 4
"""Bytes of a scale entry in DRAM."""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Counts of events; those of memories are accesses of whole words unless said otherwise.

    Members
    -------
    instructions : int
    macs_ws, macs_os : int
        Multiply-accumulates of the matrices, padding not counted.
    waves_ws, waves_os : int
        Cycles in which a wave enters the array.
    folds_ws, folds_os : int
        Stationary tiles loaded, and tiles of sums drained.
    input_reads, input_writes, weight_reads, weight_writes : int
        Words of `rows` and of `columns` INT8.
    output_reads : int
        Words of `columns` sums that the store engine reads.
    output_first_writes, output_accumulations, output_forwards : int
        Words of sums written: over whatever was there, added to an old sum that is read, and added
        to the one that was written last, which need not be.
    accumulate_scale_reads, accumulate_scale_writes, row_scale_reads, row_scale_writes : int
        Entries.
    column_scale_reads, column_scale_writes : int
        Words of `columns` entries read; single entries written.
    row_maximum_reads, row_maximum_writes, column_maximum_reads, column_maximum_writes : int
        Maxima, one a word.
    rescaled, requantised, reduced : int
        Sums of matrices that a store or absmax multiplied by the scale of their row (to int32),
        that a store made INT8, and that an absmax took the magnitude of.
    scaled_sums : int
        Sums of matrices that scale-and-accumulate multiplied on their way to the output memory.
    transposer_writes, transposer_reads : int
        Bytes into and out of the transposer's banks, which move together: padding included.
    dram_read_bytes, dram_write_bytes : int
        Bytes of beats; reads include the program itself.
    """

    instructions: int = 0
    macs_ws: int = 0
    macs_os: int = 0
    waves_ws: int = 0
    waves_os: int = 0
    folds_ws: int = 0
    folds_os: int = 0
    input_reads: int = 0
    input_writes: int = 0
    weight_reads: int = 0
    weight_writes: int = 0
    output_reads: int = 0
    output_first_writes: int = 0
    output_accumulations: int = 0
    output_forwards: int = 0
    accumulate_scale_reads: int = 0
    accumulate_scale_writes: int = 0
    row_scale_reads: int = 0
    row_scale_writes: int = 0
    column_scale_reads: int = 0
    column_scale_writes: int = 0
    row_maximum_reads: int = 0
    row_maximum_writes: int = 0
    column_maximum_reads: int = 0
    column_maximum_writes: int = 0
    rescaled: int = 0
    requantised: int = 0
    reduced: int = 0
    scaled_sums: int = 0
    transposer_writes: int = 0
    transposer_reads: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates in both dataflows, as the counter of that name."""
        return self.macs_ws + self.macs_os

    @property
    def waves(self) -> int:
        """Waves in both dataflows, as the counter `array_fed`."""
        return self.waves_ws + self.waves_os

    def __add__(self, other: Activity) -> Activity:
        return Activity(**{name: getattr(self, name) + getattr(other, name) for name in _NAMES})

    def __mul__(self, count: int) -> Activity:
        return Activity(**{name: count * getattr(self, name) for name in _NAMES})

    __rmul__ = __mul__


_NAMES = tuple(item.name for item in dataclasses.fields(Activity))

_SHAPE = {
    Load: attrgetter("memory", "transpose", "packed", "rows", "columns"),
    Execute: attrgetter("dataflow", "accumulate", "scale", "rows", "reduction", "columns"),
    Store: attrgetter("format", "rows", "columns"),
    Absmax: attrgetter(
        "axis", "scaled", "merge", "to_dram", "to_scales", "to_updates", "rows", "columns"
    ),
    Halt: lambda _: (),
}
"""What the counts of an instruction depend on."""


def activity(config: Config, instructions: Iterable[Instruction]) -> Activity:
    """Count the events of a program that runs to its halt.

    Parameters
    ----------
    config : Config
        The accelerator.
    instructions : iterable of Instruction
        The whole program, the halt included. All of it is fetched, so its bytes count as read.
    """
    counts: Counter[tuple] = Counter()
    example: dict[tuple, Instruction] = {}
    for instruction in instructions:
        kind = type(instruction)
        key = (kind, _SHAPE[kind](instruction))
        counts[key] += 1
        example[key] = instruction
    total = sum(counts.values())
    fetched = blocks(total * INSTRUCTION_BYTES, config.bus_bytes) * config.bus_bytes
    events: Counter[str] = Counter(instructions=total, dram_read_bytes=fetched)
    for key, count in counts.items():
        for name, value in _events(config, example[key]).items():
            events[name] += count * value
    return Activity(**events)


def _events(config: Config, instruction: Instruction) -> dict[str, int]:
    """Return the counts of one instruction, without its fetch."""
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
            return {}
        case _:
            assert_never(instruction)


def _load(config: Config, load: Load) -> dict[str, int]:
    name = f"{load.memory.name.lower()}_writes"
    found = {"dram_read_bytes": beat_bytes(config, load)}
    lanes = {Memory.INPUT: config.rows, Memory.WEIGHT: config.columns}.get(load.memory)
    if lanes is None:
        return found | {name: load.rows * blocks(load.columns, _SCALE_ENTRY)}
    if not load.transpose:
        return found | {name: load.rows * blocks(load.columns, lanes)}
    words = load.columns * blocks(load.rows, lanes)
    # A beat fills as many banks as it has bytes; a word is read from all banks.
    return found | {
        name: words,
        "transposer_writes": load.rows * blocks(load.columns, config.bus_bytes) * config.bus_bytes,
        "transposer_reads": words * config.transpose_columns,
    }


def _execute(config: Config, execute: Execute) -> dict[str, int]:
    column_blocks = blocks(execute.columns, config.columns)
    macs = execute.rows * execute.reduction * execute.columns
    words = execute.rows * column_blocks
    forwards = 0
    if execute.dataflow is Dataflow.WS:
        folds = blocks(execute.reduction, config.fold_reduction)
        forwards = (folds - 1) * column_blocks  # a fold begins where the one before has ended
        writes = words * folds  # each fold of the reduction adds to the sums of the one before
        accumulations = writes if execute.accumulate else writes - words
        found = {"macs_ws": macs, "waves_ws": writes, "folds_ws": folds * column_blocks}
        found["input_reads"] = words * blocks(execute.reduction, config.rows)
        found["weight_reads"] = execute.reduction * column_blocks
    else:
        tiles = column_blocks * blocks(execute.rows, config.rows)
        waves = blocks(execute.reduction, config.macs_per_element) * tiles
        reads = execute.reduction * tiles
        folds, writes, accumulations = 1, words, words if execute.accumulate else 0
        found = {"macs_os": macs, "waves_os": waves, "folds_os": tiles}
        found |= {"input_reads": reads, "weight_reads": reads}
    found |= {"output_first_writes": writes - accumulations, "output_forwards": forwards}
    found["output_accumulations"] = accumulations - forwards
    if execute.scale:
        found["accumulate_scale_reads"] = writes
        found["scaled_sums"] = execute.rows * execute.columns * folds
    return found


def _words_read(config: Config, instruction: Store | Absmax) -> dict[str, int]:
    """Return the reads of the store engine: both scale memories are read beside every word."""
    words = instruction.rows * blocks(instruction.columns, config.columns)
    return {"output_reads": words, "row_scale_reads": words, "column_scale_reads": words}


def _store(config: Config, store: Store) -> dict[str, int]:
    elements = store.rows * store.columns
    found = _words_read(config, store) | {"dram_write_bytes": beat_bytes(config, store)}
    if store.format is not Format.INT32:
        found["requantised"] = elements
    if store.format is Format.INT8_ROW_COLUMN:
        found["rescaled"] = elements
    return found


def _absmax(config: Config, absmax: Absmax) -> dict[str, int]:
    elements = absmax.rows * absmax.columns
    by_column = absmax.axis is Axis.COLUMN
    group = "column" if by_column else "row"
    _, size, _ = dram_bytes(absmax)
    maxima = size // 4
    found = _words_read(config, absmax)
    found |= {"reduced": elements, f"{group}_maximum_writes": maxima}
    if absmax.scaled:
        found["rescaled"] = elements
    if absmax.merge:
        found[f"{group}_maximum_reads"] = maxima
    if absmax.to_dram:
        found["dram_write_bytes"] = beat_bytes(config, absmax)
    if absmax.to_scales:
        found[f"{group}_scale_writes"] = maxima
    if absmax.to_updates and not by_column:
        found["row_scale_reads"] += 1  # the factor, once
        found["accumulate_scale_writes"] = maxima
    return found
