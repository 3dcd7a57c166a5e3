"""What a training step costs on the accelerator: every product compiled, and timed to the cycle.

Each distinct product is a program of its own, from start to interrupt, compiled once and timed
once (`sw.prices`); the step is the sum of them, as often as each runs. So nothing overlaps between
products: a site compiled as one program (`sw.layer`) does better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw.isa.config import Config
from sim.result import DramTiming

from .dataflow import CHOICES, Choice
from .models import TrainingStep
from .prices import Prices, ProductCost
from .tile_search import Goal

__all__ = ["Prices", "ProductCost", "StepCost", "step_cost"]


@dataclass(frozen=True)
class StepCost:
    """Cost of a step: rows in the order of its products, and their totals.

    Members
    -------
    config : Config
        Its clock turns cycles into seconds.
    rows : tuple of ProductCost
    """

    config: Config
    rows: tuple[ProductCost, ...]

    @property
    def cycles(self) -> int:
        """Cycles of all products one after the other."""
        return sum(row.total_cycles for row in self.rows)

    @property
    def seconds(self) -> float:
        """The same at the clock of the configuration."""
        return self.cycles / (self.config.clock_mhz * 1e6)

    @property
    def energy(self) -> float:
        """Joules on the chip."""
        return sum(row.energy * row.product.count for row in self.rows)

    @property
    def dram_energy(self) -> float:
        """Joules in DRAM."""
        return sum(row.dram_energy * row.product.count for row in self.rows)

    @property
    def edp(self) -> float:
        """Energy-delay product in joule seconds, DRAM included."""
        return (self.energy + self.dram_energy) * self.seconds


def step_cost(
    config: Config,
    step: TrainingStep,
    *,
    dataflow: Choice = "auto",
    objective: Goal = "latency",
    timing: DramTiming | None = None,
    progress: Callable[[str], None] | None = None,
    prices: Prices | None = None,
) -> StepCost:
    """Return what a training step costs.

    Parameters
    ----------
    dataflow : "auto", "ws" or "os"
        For every product; with ``auto`` each has the better of the two, as timed.
    objective : "latency", "energy" or "edp"
        What is better.
    timing : DramTiming, optional
        By default that of `config`, which plans are made for in any case.
    progress : callable, optional
        Called with what is done next.
    prices : Prices, optional
        Where costs of products are kept from step to step; its timing holds.

    Raises
    ------
    ValueError
        `dataflow` or `objective` is unknown.
    TileError, PlacementError
        A product does not fit the memories, or DRAM.
    """
    if dataflow not in CHOICES:
        raise ValueError(f"dataflow must be one of {'|'.join(CHOICES)}, not {dataflow!r}")
    if prices is None:
        prices = Prices(config, timing=timing)
    flows = ("ws", "os") if dataflow == "auto" else (dataflow,)
    return StepCost(config, prices.rows(step.products, flows, objective, progress))
