"""What products cost: compiled each by itself, timed, and charged for what they do.

Weight gradients stay int32 sums. All other results are INT8 with a scale for each row, made on the
chip of the sums' own maxima (fresh scaling), which is what a step can do with no step before it.
Operands lie in DRAM as the forward pass left them, so products of the backward pass load
transposes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from hw.isa.registers import ErrorCode
from sim.activity import activity
from sim.energy import energy
from sim.result import DramTiming, MachineError, RunResult

from .dataflow import array_cycles
from .gemm import compile_gemm
from .models import Product, Role
from .program import Program
from .tile_events import DRAM_CLASS
from .tile_search import GOALS, Goal

__all__ = [
    "DRAM_CLASS",
    "Limit",
    "Prices",
    "ProductCost",
    "Timer",
    "dram_cycles",
    "limit_of",
]

Limit = Literal["compute", "dram", "fill"]
"""What takes most of a product's time: the array's folds, the bytes over the bus, or what neither
explains: start, latency, filling and draining."""

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


_KEYS: dict[Goal, Callable[[ProductCost], float]] = {
    "latency": lambda cost: cost.cycles,
    "energy": lambda cost: cost.energy + cost.dram_energy,
    "edp": lambda cost: (cost.energy + cost.dram_energy) * cost.cycles,
}
assert tuple(_KEYS) == GOALS

Work = tuple[Product, str, Goal]
"""A product, its dataflow, ws or os, and what its tiles are chosen for."""


class Prices:
    """Costs of products on one configuration, by shape and dataflow; each is found once.

    Parameters
    ----------
    config : Config
    timing : DramTiming, optional
        By default that of `config`.
    timer : callable, optional
        Runs a program for its counters; by default the timing model.
    spread : callable, optional
        Works as `map`: that of a pool of processes finds costs side by side.
    """

    def __init__(
        self,
        config: Config,
        *,
        timing: DramTiming | None = None,
        timer: Timer | None = None,
        spread: Callable[..., Iterable] = map,
    ) -> None:
        self._measure = partial(
            _measure, config, timing or DramTiming.of(config), timer or _run_timing_model
        )
        self._spread = spread
        self._found: dict[tuple, ProductCost] = {}

    def rows(
        self,
        products: Iterable[Product],
        dataflows: tuple[str, ...],
        objective: Goal = "latency",
        progress: Callable[[str], None] | None = None,
    ) -> tuple[ProductCost, ...]:
        """Return the cost of each product in the best of some dataflows.

        Raises
        ------
        ValueError
            `objective` is unknown.
        TileError, PlacementError
            A product does not fit the memories, or DRAM.
        MachineError
            The machine stopped.
        """
        if objective not in _KEYS:
            raise ValueError(f"objective must be one of {'|'.join(_KEYS)}, not {objective!r}")
        products = tuple(products)
        works = [[(product, flow, objective) for flow in dataflows] for product in products]
        self._find([work for flows in works for work in flows], progress)
        return tuple(min(map(self._known, flows), key=_KEYS[objective]) for flows in works)

    def cost(self, product: Product, dataflow: str, objective: Goal = "latency") -> ProductCost:
        """Return the cost of a product in ws or os; raises as `rows`."""
        work = product, dataflow, objective
        self._find([work], None)
        return self._known(work)

    def _known(self, work: Work) -> ProductCost:
        return replace(self._found[_key(work)], product=work[0])

    def _find(self, works: list[Work], progress: Callable[[str], None] | None) -> None:
        """Find what is not known yet, the largest first: then none is left over at the end."""
        missing = {_key(work): work for work in works if _key(work) not in self._found}
        ordered = sorted(missing, key=lambda key: -key[0] * key[1] * key[2])
        costs = self._spread(self._measure, [missing[key] for key in ordered])
        for done, (key, cost) in enumerate(zip(ordered, costs, strict=True), 1):
            if isinstance(cost, RunResult):
                raise MachineError(cost)
            self._found[key] = cost
            if progress is not None:
                progress(f"time products, {done} of {len(ordered)}")


def _key(work: Work) -> tuple:
    product, *how = work
    lies = product.role in LEFT_TRANSPOSED, product.role in RIGHT_TRANSPOSED
    return (product.m, product.k, product.n, *lies, product.gradient, *how)


def _measure(
    config: Config, timing: DramTiming, timer: Timer, work: Work
) -> ProductCost | RunResult:
    """Return the cost of a product, or how the machine stopped."""
    product, dataflow, objective = work
    (program,) = compile_gemm(
        config, product.m, product.k, product.n, dataflow=dataflow,
        transpose_a=product.role in LEFT_TRANSPOSED, transpose_b=product.role in RIGHT_TRANSPOSED,
        requantise=None if product.gradient else "row", objective=objective,
    )  # fmt: skip
    result = timer(program, timing)
    if result.error is not ErrorCode.NONE:
        return result
    counters = result.counters
    cycles = counters["cycles"]
    reads, writes = counters["dram_read_bytes"], counters["dram_write_bytes"]
    joules = energy(config, activity(config, program.instructions), cycles)
    (span,) = program.products
    folds = array_cycles(config, Dataflow[dataflow.upper()], *_computed(product, span.swapped))
    moved = dram_cycles(config, timing.bytes_per_cycle, reads, writes)
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
