"""The same costs under the cycle models that need no program.

A product takes ``max(compute, bytes / bandwidth)`` cycles: DRAM overlaps with the array perfectly,
within a product. What is charged:

- Bytes. Under `scalesim` and `overlap`, operands are loaded as often as the best tiling for the
  on-chip memories needs (fewest bytes of all that `sw.tile_search` admits), to the byte. Under
  `ideal`, everything crosses once. Results leave once: 1 byte an element, 4 for weight gradients.
- Partial sums of WS. Each fold of the reduction after the first reads the sums in output memory
  and writes them back. It costs energy, and no cycles: the machine's accumulator does it at the
  rate of the array.
- No operand swap, no instructions, no maxima, no transposes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sim.activity import Activity
from sim.energy import energy

from ..cost import StepCost
from ..dataflow import Choice, array_cycles
from ..models import Product, TrainingStep
from ..prices import DRAM_CLASS, ProductCost, limit_of
from ..tile import TileError
from ..tile_counts import operand_loads
from ..tile_problem import Demand, Problem
from ..tile_search import fitting
from .cycles import MODELS

__all__ = ["Loads", "analytic_cost", "fewest_loads", "product_activity"]

SUM_BYTES = 4


@dataclass(frozen=True)
class Loads:
    """How often each operand of a product is loaded."""

    left: int = 1
    right: int = 1


def analytic_cost(config: Config, model: str, step: TrainingStep, dataflow: Choice) -> StepCost:
    """Return what a step costs under a cycle model.

    Parameters
    ----------
    config : Config
        With the bandwidth of the DRAM; unlimited means that bytes take no time.
    model : str
        One of `sw.compare.cycles.MODELS`.
    dataflow : "auto", "ws" or "os"
        With ``auto`` each product has the faster of the two; of equals, that of less energy.

    Raises
    ------
    TileError
        A product does not fit the memories.
    """
    choices = _flows(dataflow)
    best: dict[tuple, ProductCost] = {}
    rows = []
    for product in step.products:
        key = (product.m, product.k, product.n, product.gradient)
        if key not in best:
            costs = [_product_cost(config, model, product, flow) for flow in choices]
            best[key] = min(costs, key=lambda cost: (cost.cycles, cost.energy + cost.dram_energy))
        rows.append(replace(best[key], product=product))
    return StepCost(config, tuple(rows))


def _flows(choice: Choice) -> list[Dataflow]:
    return list(Dataflow) if choice == "auto" else [Dataflow[choice.upper()]]


def _product_cost(config: Config, model: str, product: Product, flow: Dataflow) -> ProductCost:
    m, k, n = product.m, product.k, product.n
    compute = MODELS[model](config, flow, m, k, n)
    size = SUM_BYTES if product.gradient else 1
    loads = Loads() if model == "ideal" else fewest_loads(config, flow, m, k, n, size)
    events = product_activity(config, flow, product, loads)
    reads, writes = events.dram_read_bytes, events.dram_write_bytes
    rate = config.dram_bytes_per_cycle
    moved = 0.0 if rate is None else (reads + writes) / rate
    cycles = max(compute, math.ceil(moved))
    joules = energy(config, events, cycles)
    # Of an array that hides drains, as the models do.
    folds = array_cycles(config.replace(drain_overlap=1), flow, m, k, n)
    return ProductCost(
        product, flow.name.lower(), False, cycles, compute, reads, writes,
        joules.chip, joules.dram[DRAM_CLASS], limit_of(cycles, folds, moved),
    )  # fmt: skip


@lru_cache(maxsize=4096)
def fewest_loads(config: Config, flow: Dataflow, m: int, k: int, n: int, size: int) -> Loads:
    """Return how often operands are loaded if the tiles are those that move the fewest bytes.

    Parameters
    ----------
    size : int
        Bytes of an element of the result.

    Raises
    ------
    TileError
        No tile fits the memories.
    """
    problem = Problem(config, flow, m, k, n, Demand(out_bytes=size, narrowest=size))
    tiles = fitting(problem)
    if not tiles[0].size:
        raise TileError(problem.complaint())
    found = []
    for rows_outer in (True, False):
        left, right = operand_loads(problem, *tiles, rows_outer)
        best = int(np.argmin(left * (m * k) + right * (k * n)))
        found.append(Loads(int(left[best]), int(right[best])))
    return min(found, key=lambda loads: loads.left * m * k + loads.right * k * n)


def product_activity(config: Config, flow: Dataflow, product: Product, loads: Loads) -> Activity:
    """Return the events of a product alone, as `sim.activity` counts them for a program.

    The waves are those of one EXECUTE with all of the product; tiles of the reduction change
    nothing, because later ones accumulate.
    """
    m, k, n = product.m, product.k, product.n
    rows, column_blocks = -(-m // config.rows), -(-n // config.columns)
    words = m * column_blocks
    if flow is Dataflow.WS:
        folds, blocks = -(-k // config.fold_reduction), -(-k // config.rows)
        events = Activity(
            macs_ws=m * k * n, waves_ws=words * folds, folds_ws=folds * column_blocks,
            input_reads=words * blocks, weight_reads=k * column_blocks,
            output_accumulations=(words - column_blocks) * (folds - 1),
            output_forwards=column_blocks * (folds - 1),
        )  # fmt: skip
        left_words = m * blocks
    else:
        tiles = rows * column_blocks
        waves, reads = -(-k // config.macs_per_element) * tiles, k * tiles
        events = Activity(
            macs_os=m * k * n, waves_os=waves, folds_os=tiles,
            input_reads=reads, weight_reads=reads,
        )  # fmt: skip
        left_words = k * rows
    moved = Activity(
        input_writes=left_words * loads.left, weight_writes=k * column_blocks * loads.right,
        output_first_writes=words, output_reads=words,
        requantised=0 if product.gradient else m * n,
        dram_read_bytes=m * k * loads.left + k * n * loads.right,
        dram_write_bytes=m * n * (SUM_BYTES if product.gradient else 1),
    )  # fmt: skip
    return events + moved
