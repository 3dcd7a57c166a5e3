"""Cycle models of a product on a systolic array: what others count, and what no array beats.

A fold is a stationary tile (OS: a tile of sums) that the array works through. T is the streamed
length, R and C the rows and columns of the array.

========  ==========  ===================  ================  ===============
dataflow  streamed T  folds                scalesim, a fold  overlap, a fold
========  ==========  ===================  ================  ===============
ws        M           ceil(K/R).ceil(N/C)  T + 2R + C - 2    max(T, R)
os        K           ceil(M/R).ceil(N/C)  T + R + C - 2     max(T, R)
========  ==========  ===================  ================  ===============

Input-stationary, which SCALE-Sim also knows, is weight-stationary of the transposed product: what
this project calls swapped.
"""

from __future__ import annotations

from collections.abc import Callable

from hw.isa.config import Config
from hw.isa.instructions import Dataflow

from ..dataflow import array_cycles

__all__ = ["MODELS", "Cycles", "ideal", "overlap", "scalesim"]

Cycles = Callable[[Config, Dataflow, int, int, int], int]
"""Returns the cycles of an M x K by K x N product in a dataflow."""


def scalesim(config: Config, dataflow: Dataflow, m: int, k: int, n: int) -> int:
    """Return what SCALE-Sim 3.0.0 computes, plus 1: folds follow one another without overlap.

    Each fold loads its stationary rows (WS: R cycles), streams T waves, and waits until the last
    has crossed the array (R + C - 2). SCALE-Sim numbers the cycles of a product from 0 and reports
    the number of the last, so its total is 1 less.
    """
    rows, columns, together = config.rows, config.columns, config.macs_per_element
    if dataflow is Dataflow.WS:
        stationary, folds, streamed = rows, -(-k // config.fold_reduction), m
    else:
        stationary, folds, streamed = 0, -(-m // rows), -(-k // together)
    return folds * -(-n // columns) * (streamed + stationary + rows + columns - 2)


def overlap(config: Config, dataflow: Dataflow, m: int, k: int, n: int) -> int:
    """Return the cycles if loading and draining hide under the neighbouring folds of a product.

    It is what an array with `drain_overlap` takes, whether or not this one has it.

    Once a product, 2R + C - 2 cycles do not hide: WS loads the first tile (R) and its last wave
    crosses the array (R + C - 2); in OS the first wave crosses it, and the last sums leave (R).
    """
    folds = array_cycles(config.replace(drain_overlap=1), dataflow, m, k, n)
    return folds + 2 * config.rows + config.columns - 2


def ideal(config: Config, dataflow: Dataflow, m: int, k: int, n: int) -> int:
    """Return the cycles of MACs alone, rounded up: no array of this size does better."""
    return -(-m * k * n // config.macs_per_cycle)


MODELS: dict[str, Cycles] = {"scalesim": scalesim, "overlap": overlap, "ideal": ideal}
"""Cycle models that need no program, by name."""
