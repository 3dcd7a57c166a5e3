"""The cost of many tilings at once, roughly: which few of them are worth timing step by step."""

from __future__ import annotations

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

from .tile_problem import Problem

__all__ = ["cost", "operand_loads"]

TILE_BYTES = 4 * 32
"""Instructions fetched for a tile, about."""
BURSTY = 1.2
"""How much longer loads take that all come at once, about."""
CROWDED = 64
"""Part of its time that the array loses where streams are as short as it has rows, about."""
ROUND_TRIP = 5
"""Cycles that the machine adds to the latency of the DRAM, about."""


def cost(
    problem: Problem, tm: np.ndarray, tk: np.ndarray, tn: np.ndarray, rows_outer: bool
) -> tuple[np.ndarray, ...]:
    """Return (cycles, beats, tiles) for each candidate, to be compared in this order."""
    config = problem.config
    left, right, beats, tiles, bursty = _reads(problem, tm, tk, tn, rows_outer)
    m, n, out_bytes = problem.m, problem.n, problem.demand.out_bytes
    bus = config.bus_bytes
    stores = -(-m // tm) * -(-n // tn)
    writes = _transfer(config, m, n * out_bytes, tn * out_bytes, config.write_outstanding)
    array = _array(problem, tm, tk)
    # Short streams leave loads little time in which their half of a memory is not read.
    waves = tm if problem.dataflow is Dataflow.WS else tk
    array = array + array * np.minimum(1, config.rows / waves) ** 2 / CROWDED
    again = _passes(problem, tm, tn)
    array, left, right = array * again, left * again, right * again
    reads = left + right + (TILE_BYTES // bus + 6) * tiles
    first = left // np.maximum(-(-m // tm) * -(-problem.k // tk), 1)
    first = first + right // np.maximum(-(-problem.k // tk) * -(-n // tn), 1)
    exposed = first + writes // stores
    # Of what overlaps, nothing overlaps perfectly: a part is charged in any case.
    together = np.maximum(np.maximum(reads, writes), array)
    # The array goes on without its stores only as far as results and queue have room.
    room = 2 * config.output_depth // (tm * -(-tn // config.columns))
    ahead = np.clip(np.minimum(room, config.queue_depth + 1), 1, stores)
    waits = np.maximum(0, writes - writes * ahead / stores - array)
    cycles = exposed + together + 2 * (array + waits) + (reads + writes) // 8 + bursty
    return cycles, beats, tiles


def _passes(problem: Problem, tm: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Return how often each tile is computed: twice where a group's sums do not stay."""
    group, config = problem.demand.group, problem.config
    if not problem.demand.late:
        return np.ones_like(tm)
    m = tm if group is Axis.ROW else np.full_like(tm, problem.m)
    n = tn if group is Axis.COLUMN else np.full_like(tn, problem.n)
    stays = m * (-(-n // tn) * -(-tn // config.columns)) <= 2 * config.output_depth
    return np.where(stays, 1, 2)


def _transfer(
    config: Config, rows: int, whole: int, piece: np.ndarray, outstanding: int
) -> np.ndarray:
    """Return the cycles that a matrix takes on the bus in pieces of rows.

    Parameters
    ----------
    rows, whole : int
        Rows of the matrix, and bytes in each.
    piece : int64
        Bytes of each piece of a row. Pieces shorter than the row are bursts of their own, and of
        bursts only so many may wait for the DRAM.
    """
    bus, longest = config.bus_bytes, config.burst_beats
    beats = rows * -(-whole // bus)
    pieces = rows * -(-whole // piece) * -(-piece // (bus * longest))
    bursts = np.where(piece < whole, pieces, -(-beats // longest))
    return np.maximum(beats, bursts * (config.dram_latency + ROUND_TRIP) // outstanding)


def operand_loads(
    problem: Problem, tm: np.ndarray, tk: np.ndarray, tn: np.ndarray, rows_outer: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each candidate loads the left operand, and the right one.

    The memory keeps the operand tiles it has room for: an operand is loaded again for each tile
    along the axis it does not have, unless all tiles needed in between stay.
    """
    nm, nk, nn = -(-problem.m // tm), -(-problem.k // tk), -(-problem.n // tn)
    words = problem.words(tm, tk, tn)
    left_room = np.maximum(2 * (problem.config.input_depth // words["input"]), 1)
    right_room = np.maximum(2 * (problem.config.weight_depth // words["weight"]), 1)
    left_stays = (nk if rows_outer else nk * nm) <= left_room
    right_stays = (nk * nn if rows_outer else nk) <= right_room
    return np.where(left_stays, 1, nn), np.where(right_stays, 1, nm)


def _reads(
    problem: Problem, tm: np.ndarray, tk: np.ndarray, tn: np.ndarray, rows_outer: bool
) -> tuple[np.ndarray, ...]:
    """Return (cycles for the left, for the right operand, beats, tiles, cycles lost to bursts)."""
    config, (m, k, n) = problem.config, (problem.m, problem.k, problem.n)
    nm, nk, nn = -(-m // tm), -(-k // tk), -(-n // tn)
    left_times, right_times = operand_loads(problem, tm, tk, tn, rows_outer)
    demand = problem.demand
    left_axes = ((m, tm), (k, tk)) if problem.dataflow is Dataflow.WS else ((k, tk), (m, tm))
    left, left_beats = _operand(config, *left_axes, demand.left_transposed)
    right, right_beats = _operand(config, (k, tk), (n, tn), demand.right_transposed)
    beats = left_beats * left_times + right_beats * right_times
    # Where a tile asks for more than comes while one is computed, only a queue of tiles helps.
    array = _array(problem, tm, tk) / (nm * nn)
    bursty = nm * left_times * np.maximum(0, BURSTY * left / nm - array)
    bursty += nn * right_times * np.maximum(0, BURSTY * right / nn - array)
    return left * left_times, right * right_times, beats, nm * nk * nn, bursty / 2


def _operand(
    config: Config,
    rows: tuple[int, np.ndarray],
    columns: tuple[int, np.ndarray],
    transposed: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (cycles, beats) of a matrix on the bus; `rows`, `columns`: extent and tile on chip."""
    if not transposed:
        cycles = _transfer(config, rows[0], columns[0], columns[1], config.read_outstanding)
        return cycles, rows[0] * -(-columns[0] // config.bus_bytes) + 0 * columns[1]
    chunk = config.transpose_columns
    piece = np.minimum(rows[1], chunk)
    cycles = _transfer(config, columns[0], rows[0], piece, config.read_outstanding)
    return cycles, columns[0] * -(-rows[0] // config.bus_bytes) + 0 * piece


def _array(problem: Problem, tm: np.ndarray, tk: np.ndarray) -> np.ndarray:
    """Return the cycles of the array: folds times the streamed length, at least the rows."""
    rows, columns = problem.config.rows, problem.config.columns
    if problem.dataflow is Dataflow.WS:
        folded, cut, streamed = problem.k, tm, problem.m
    else:
        folded, cut, streamed = problem.m, tk, problem.k
    whole, rest = streamed // cut, streamed % cut
    streams = whole * np.maximum(cut, rows) + np.where(rest > 0, np.maximum(rest, rows), 0)
    return -(-folded // rows) * -(-problem.n // columns) * streams
