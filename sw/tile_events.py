"""What many tilings of a product cost in events, at once: the counts of `sim.activity` in formulas.

And the prices of these events, from the one table of `sim.costs`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from functools import cache

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import INSTRUCTION_BYTES, Axis, Dataflow
from sim.activity import Activity
from sim.energy import energy

from .job import Copy, Job, Maxima, Output, Sums
from .tile_counts import Counts, blocks

__all__ = ["DRAM_CLASS", "Rates", "events", "rates"]

DRAM_CLASS = "LPDDR4, most"
"""The class of DRAM that energy is charged for, of those that `sim.energy` knows."""

Events = dict[str, np.ndarray]
_ENTRY = 4
"""Bytes of a scale entry, of a maximum, of a sum."""


class Rates:
    """Joules of each event of `Activity`, and of each cycle, on a configuration.

    `sim.energy` is linear in both, so its prices are what it charges for one more.
    """

    def __init__(self, config: Config) -> None:
        self.cycle = _joules(config, Activity(), 1)
        many = 1 << 40  # a float keeps what they cost beside the cycle
        self.events = {
            item.name: (_joules(config, Activity(**{item.name: many}), 1) - self.cycle) / many
            for item in fields(Activity)
        }

    def joules(self, found: Events | Activity, cycles: np.ndarray | int) -> np.ndarray | float:
        """Return the energy, DRAM included, of events that take so many cycles."""
        if isinstance(found, Activity):
            found = vars(found)
        spent = sum(count * self.events[name] for name, count in found.items())
        return spent + cycles * self.cycle


@cache
def rates(config: Config) -> Rates:
    """Return the prices of a configuration."""
    return Rates(config)


def _joules(config: Config, activity: Activity, cycles: int) -> float:
    found = energy(config, activity, cycles)
    return found.chip + found.dram[DRAM_CLASS]


def events(c: Counts, job: Job, *, least: bool = False) -> Events:
    """Return the events of candidates, by their names in `Activity`.

    Parameters
    ----------
    job : Job
        What is made of the sums; its tiling does not matter.
    least : bool
        Count operands as often as they must be loaded at least, not as they are likely to be.
    """
    found: Events = defaultdict(lambda: np.zeros(c.tiles.shape))
    _multiply(c, found)
    if c.problem.demand.update_reduction:
        _update(c, found)
    _fetch(c, found, least)
    for output in (*job.outputs, *job.late):
        _put(c, found, output)
    found["instructions"] += 1
    bus = c.config.bus_bytes
    fetched = np.ceil(found["instructions"] * INSTRUCTION_BYTES / bus) * bus
    found["dram_read_bytes"] += fetched
    return dict(found)


def _multiply(c: Counts, found: Events) -> None:
    """Count the products of tiles."""
    rows, deep, together = c.config.rows, c.config.fold_reduction, c.config.macs_per_element
    tall, tiles = c.m.run(lambda size: size), c.m.run(np.ones_like)
    macs = tall * c.k.extent * c.n.run(lambda size: size)
    words = tall * c.run_blocks
    forwards = np.zeros_like(words)
    if c.is_ws:
        folds = c.k.total(lambda size: blocks(size, deep))
        writes = words * folds
        forwards = tiles * c.run_blocks * (folds - c.k.count)
        found["macs_ws"] += macs
        found["waves_ws"] += writes
        found["folds_ws"] += tiles * c.run_blocks * folds
        found["input_reads"] += words * c.k.total(lambda size: blocks(size, rows))
        found["weight_reads"] += tiles * c.run_blocks * c.k.extent
    else:
        folds = c.m.run(lambda size: blocks(size, rows)) * c.run_blocks
        writes = words * c.k.count
        found["macs_os"] += macs
        found["folds_os"] += folds * c.k.count
        found["waves_os"] += folds * c.k.total(lambda size: blocks(size, together))
        for name in ("input_reads", "weight_reads"):
            found[name] += folds * c.k.extent
    found["output_first_writes"] += words
    found["output_accumulations"] += writes - words - forwards
    found["output_forwards"] += forwards
    found["instructions"] += tiles * c.n.run(np.ones_like) * c.k.count


def _update(c: Counts, found: Events) -> None:
    """Count the products that are scaled and accumulated; their operands, as loaded once."""
    demand, rows = c.problem.demand, c.config.rows
    reduction = demand.update_reduction
    tall, tiles = c.m.run(lambda size: size), c.m.run(np.ones_like)
    wide = c.n.run(lambda size: size)
    folds = -(-reduction // c.config.fold_reduction)
    words = tall * c.run_blocks
    if demand.update_dataflow is Dataflow.WS:
        found["input_reads"] += words * -(-reduction // rows)
        words = words * folds
        forwards = tiles * c.run_blocks * (folds - 1)
        found["output_accumulations"] -= forwards
        found["output_forwards"] += forwards
        found["macs_ws"] += tall * reduction * wide
        found["waves_ws"] += words
        found["folds_ws"] += tiles * c.run_blocks * folds
        found["weight_reads"] += tiles * c.run_blocks * reduction
        found["input_writes"] += c.m.extent * -(-reduction // rows)
    else:
        folds = 1
        stacks = c.m.run(lambda size: blocks(size, rows)) * c.run_blocks
        found["macs_os"] += tall * reduction * wide
        found["folds_os"] += stacks
        found["waves_os"] += stacks * -(-reduction // c.config.macs_per_element)
        for name in ("input_reads", "weight_reads"):
            found[name] += stacks * reduction
        found["input_writes"] += reduction * c.m.total(lambda size: blocks(size, rows))
    found["weight_writes"] += reduction * c.blocks
    found["dram_read_bytes"] += reduction * (c.m.extent + c.n.extent)
    found["output_accumulations"] += words
    found["accumulate_scale_reads"] += words
    found["scaled_sums"] += tall * wide * folds
    found["instructions"] += tiles * c.n.run(np.ones_like) + c.m.count + c.n.count


def _fetch(c: Counts, found: Events, least: bool) -> None:
    """Count the loads of operands."""
    for name, matrix in (("input_writes", c.left), ("weight_writes", c.right)):
        times = matrix.least_times if least else matrix.times
        found[name] += matrix.words * times
        found["dram_read_bytes"] += matrix.beats * c.config.bus_bytes * times
        found["instructions"] += matrix.loads * times
        if matrix.turned:
            found["transposer_writes"] += matrix.beats * c.config.bus_bytes * times
            found["transposer_reads"] += matrix.words * c.config.transpose_columns * times


def _put(c: Counts, found: Events, output: Output) -> None:
    """Count what becomes of sums."""
    config = c.config
    bus = config.bus_bytes
    elements = c.m.extent * c.n.extent
    found["instructions"] += c.tiles
    # Both scale memories are read beside every word.
    for name in ("output_reads", "row_scale_reads", "column_scale_reads"):
        found[name] += c.m.extent * c.blocks
    if isinstance(output, Maxima):
        _maxima(c, found, output)
    else:
        size = _ENTRY if isinstance(output, Sums) else 1
        beats = c.n.total(lambda extent: blocks(size * extent, bus))
        found["dram_write_bytes"] += c.m.extent * beats * bus
    if isinstance(output, Copy):
        found["requantised"] += elements
        if output.loaded:
            _table(c, found, output.axis)
    if not isinstance(output, Sums) and output.unit:
        found["rescaled"] += elements
        _table(c, found, Axis.ROW)


def _maxima(c: Counts, found: Events, output: Maxima) -> None:
    """Count maxima taken, kept, and made into scales."""
    own, other = {
        Axis.ROW: (c.m, c.n), Axis.COLUMN: (c.n, c.m)
    }.get(output.axis, (None, None))  # fmt: skip
    group = "column" if output.axis is Axis.COLUMN else "row"
    bus = c.config.bus_bytes
    if own is None:
        entries, times = 1, c.tiles
        beats = 1
    else:
        entries, times = own.extent, other.count
        beats = own.total(lambda size: blocks(_ENTRY * size, bus))
    found["reduced"] += c.m.extent * c.n.extent
    found[f"{group}_maximum_writes"] += entries * times
    found[f"{group}_maximum_reads"] += entries * (times - 1)
    found["dram_write_bytes"] += beats * bus
    if output.makes:
        found[f"{group}_scale_writes"] += entries
    if output.updates and own is c.m:
        found["row_scale_reads"] += own.count  # the factor
        found["accumulate_scale_writes"] += entries


def _table(c: Counts, found: Events, axis: Axis) -> None:
    """Count the loads of a table of scales, each part of it loaded once."""
    group = "column" if axis is Axis.COLUMN else "row"
    cut = {Axis.ROW: c.m, Axis.COLUMN: c.n}.get(axis)
    bus = c.config.bus_bytes
    found[f"{group}_scale_writes"] += 1 if cut is None else cut.extent
    found["instructions"] += 1 if cut is None else cut.count
    beats = 1 if cut is None else cut.total(lambda size: blocks(_ENTRY * size, bus))
    found["dram_read_bytes"] += beats * bus
