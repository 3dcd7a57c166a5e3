"""What a training step costs on the accelerator: every product compiled, and timed to the cycle.

Each distinct product is a program of its own, from start to interrupt, compiled once and timed
once; the step is the sum of them, as often as each runs. So nothing overlaps between products: a
site compiled as one program (`sw.layer`) does better.

Weight gradients stay int32 sums. All other results are INT8 with a scale for each row, made on the
chip of the sums' own maxima (fresh scaling), which is what a step can do with no step before it.
Operands lie in DRAM as the forward pass left them, so products of the backward pass load
transposes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from hw.isa.registers import ErrorCode
from sim.activity import activity
from sim.energy import energy
from sim.result import DramTiming, MachineError, RunResult

from .dataflow import CHOICES, Choice, array_cycles
from .gemm import compile_gemm
from .models import Product, Role, TrainingStep
from .program import Program

__all__ = [
    "DRAM_CLASS",
    "OBJECTIVES",
    "Limit",
    "Objective",
    "Prices",
    "ProductCost",
    "StepCost",
    "Timer",
    "dram_cycles",
    "limit_of",
    "step_cost",
]

Objective = Literal["latency", "energy", "edp"]
"""What the dataflow of a product is chosen for, where it is chosen."""

Limit = Literal["compute", "dram", "fill"]
"""What takes most of a product's time: the array's folds, the bytes over the bus, or what neither
explains: start, latency, filling and draining."""

DRAM_CLASS = "LPDDR4, most"
"""The class of DRAM that energy is charged for, of those that `sim.energy` knows."""

Timer = Callable[[Program, DramTiming], RunResult]
"""Runs a program for its counters; data do not matter."""

LEFT_TRANSPOSED = frozenset({Role.DW, Role.DB, Role.DA, Role.DK, Role.DV})
"""Products X^T . dY: the left operand lies in DRAM as K x M."""
RIGHT_TRANSPOSED = frozenset({Role.DX, Role.LORA_UP, Role.LORA_DX, Role.QK, Role.DP})
"""Products dY . W^T: the right operand lies in DRAM as N x K."""


@dataclass(frozen=True)
class ProductCost:
    """Cost of a product; figures are for one run of `product.count` unless they say total.

    Members
    -------
    product : Product
    dataflow : str
        ws or os.
    swapped : bool
        Whether the transpose is computed.
    cycles : int
        From start to interrupt.
    array_cycles : int
        From the first operand fed to the last result.
    dram_read_bytes, dram_write_bytes : int
    energy, dram_energy : float
        Joules on the chip, and in DRAM.
    limit : str
        See `Limit`.
    """

    product: Product
    dataflow: str
    swapped: bool
    cycles: int
    array_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int
    energy: float
    dram_energy: float
    limit: Limit

    @property
    def dram_bytes(self) -> int:
        """Bytes read and written."""
        return self.dram_read_bytes + self.dram_write_bytes

    @property
    def total_cycles(self) -> int:
        """Cycles of all runs."""
        return self.cycles * self.product.count


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
    objective: Objective = "latency",
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


_KEYS: dict[str, Callable[[ProductCost], float]] = {
    "latency": lambda cost: cost.cycles,
    "energy": lambda cost: cost.energy + cost.dram_energy,
    "edp": lambda cost: (cost.energy + cost.dram_energy) * cost.cycles,
}
OBJECTIVES = tuple(_KEYS)


class Prices:
    """Costs of products on one configuration, by shape and dataflow; each is found once.

    Parameters
    ----------
    config : Config
    timing : DramTiming, optional
        By default that of `config`.
    timer : callable, optional
        Runs a program for its counters; by default the timing model.
    """

    def __init__(
        self, config: Config, *, timing: DramTiming | None = None, timer: Timer | None = None
    ) -> None:
        self._config = config
        self._timing = timing or DramTiming.of(config)
        self._timer = timer or _run_timing_model
        self._found: dict[tuple, ProductCost] = {}

    def rows(
        self,
        products: Iterable[Product],
        dataflows: tuple[str, ...],
        objective: Objective = "latency",
        progress: Callable[[str], None] | None = None,
    ) -> tuple[ProductCost, ...]:
        """Return the cost of each product in the best of some dataflows."""
        if objective not in _KEYS:
            raise ValueError(f"objective must be one of {'|'.join(_KEYS)}, not {objective!r}")
        rows = []
        for product in products:
            if progress is not None:
                progress(f"time {product.m}x{product.k}x{product.n}")
            rows.append(min((self.cost(product, f) for f in dataflows), key=_KEYS[objective]))
        return tuple(rows)

    def cost(self, product: Product, dataflow: str) -> ProductCost:
        """Return the cost of a product in ws or os."""
        left, right = product.role in LEFT_TRANSPOSED, product.role in RIGHT_TRANSPOSED
        key = (product.m, product.k, product.n, left, right, product.gradient, dataflow)
        if key not in self._found:
            self._found[key] = self._measure(product, left, right, dataflow)
        return replace(self._found[key], product=product)

    def _measure(self, product: Product, left: bool, right: bool, dataflow: str) -> ProductCost:
        config = self._config
        (program,) = compile_gemm(
            config, product.m, product.k, product.n, dataflow=dataflow,
            transpose_a=left, transpose_b=right, requantise=None if product.gradient else "row",
        )  # fmt: skip
        result = self._timer(program, self._timing)
        if result.error is not ErrorCode.NONE:
            raise MachineError(result)
        counters = result.counters
        cycles = counters["cycles"]
        reads, writes = counters["dram_read_bytes"], counters["dram_write_bytes"]
        joules = energy(config, activity(config, program.instructions), cycles)
        (span,) = program.products
        folds = array_cycles(config, Dataflow[dataflow.upper()], *_computed(product, span.swapped))
        moved = dram_cycles(config, self._timing.bytes_per_cycle, reads, writes)
        return ProductCost(
            product, dataflow, span.swapped, cycles, counters["array_cycles"], reads, writes,
            joules.chip, joules.dram[DRAM_CLASS], limit_of(cycles, folds, moved),
        )  # fmt: skip


def _run_timing_model(program: Program, timing: DramTiming) -> RunResult:
    from sim.timing.model import run

    return run(
        program.config,
        program.encode(),
        program_address=program.layout.program_address,
        timing=timing,
    )


def _computed(product: Product, swapped: bool) -> tuple[int, int, int]:
    """Return M, K and N of what the array computes."""
    m, n = (product.n, product.m) if swapped else (product.m, product.n)
    return m, product.k, n


def dram_cycles(config: Config, rate: float | None, reads: int, writes: int) -> float:
    """Return the cycles that bytes take on the bus, and in a DRAM of `rate` bytes a cycle.

    Reads and writes have channels of their own on the bus, and share the DRAM.
    """
    cycles = max(reads, writes) / config.bus_bytes
    return cycles if rate is None else max(cycles, (reads + writes) / rate)


def limit_of(cycles: int, compute: float, moved: float) -> Limit:
    """Return what most of `cycles` is due to.

    Parameters
    ----------
    compute, moved : float
        What the folds of the array take alone, and the bytes. What is beyond the longer of them is
        fill.
    """
    parts: dict[Limit, float] = {
        "compute": compute,
        "dram": moved,
        "fill": cycles - max(compute, moved),
    }
    return max(parts, key=lambda name: parts[name])
