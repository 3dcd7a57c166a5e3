"""The comparison: the paper's four ways to train, under each cycle model and DRAM bandwidth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hw.isa.config import Config
from sim.activity import Activity
from sim.energy import energy

from ..cost import StepCost, step_cost
from ..dataflow import Choice
from ..models import TrainingStep
from ..prices import DRAM_CLASS, Prices
from .analytic import analytic_cost
from .cycles import MODELS

__all__ = ["ALL_MODELS", "BANDWIDTHS", "PAPER", "SCHEMES", "Comparison", "Entry", "Scheme",
           "compare", "optimiser_entry"]  # fmt: skip

BANDWIDTHS = (None, 51.2, 25.6, 12.8)
"""GB/s compared by default; None is unlimited."""
OURS = "ours"
ALL_MODELS = (*MODELS, OURS)


@dataclass(frozen=True)
class Scheme:
    """A way to train.

    Members
    -------
    label : str
    full : bool
        Train the dense weights rather than LoRA.
    dataflow : "auto", "ws" or "os"
    """

    label: str
    full: bool
    dataflow: Choice


SCHEMES = {
    "full": Scheme("Full model (OS)", True, "os"),
    "lora_os": Scheme("LoRA-OS", False, "os"),
    "lora_ws": Scheme("LoRA-WS", False, "ws"),
    "lora_hybrid": Scheme("LoRA-hybrid", False, "auto"),
    "full_hybrid": Scheme("Full model (hybrid)", True, "auto"),
}
"""By the keys of JSON. The paper has the first four; with the full model in OS its factor of 1.81
comes out. The last shows what of that factor is LoRA's own."""

PAPER = {
    "latency": {"full": 1.81, "lora_os": 1.22, "lora_ws": 1.27},
    "edp": {"full": 5.50, "lora_os": 1.39, "lora_ws": 1.20},
}
"""Figure 6 of arXiv 2504.07998: how many times that of LoRA-hybrid."""


@dataclass(frozen=True)
class Entry:
    """What one scheme takes: cycles, seconds, joules on the chip and in DRAM."""

    cycles: int
    seconds: float
    energy: float
    dram_energy: float

    @property
    def edp(self) -> float:
        """Energy-delay product in joule seconds, DRAM included."""
        return (self.energy + self.dram_energy) * self.seconds

    @property
    def edp_chip(self) -> float:
        """Energy-delay product in joule seconds, of the chip's energy alone."""
        return self.energy * self.seconds

    def __add__(self, other: Entry) -> Entry:
        return Entry(
            self.cycles + other.cycles,
            self.seconds + other.seconds,
            self.energy + other.energy,
            self.dram_energy + other.dram_energy,
        )


@dataclass(frozen=True)
class Comparison:
    """All schemes under one cycle model and bandwidth.

    Members
    -------
    model : str
        One of `ALL_MODELS`.
    dram_gbps : float or None
        None is unlimited.
    entries : dict of Entry
        By the keys of `SCHEMES`.
    hybrid : StepCost
        Product by product, without the optimiser.
    """

    model: str
    dram_gbps: float | None
    entries: dict[str, Entry]
    hybrid: StepCost

    def ratio(self, figure: str, scheme: str) -> float:
        """Return how many times LoRA-hybrid's `figure` (a member of `Entry`) a scheme takes."""
        return getattr(self.entries[scheme], figure) / getattr(self.entries["lora_hybrid"], figure)

    def row(self) -> dict[str, Any]:
        """Return the figures by their keys in JSON: cycles by scheme, and the rest by prefix."""
        gbps = "unlimited" if self.dram_gbps is None else self.dram_gbps
        row: dict[str, Any] = {"model": self.model, "dram_gbps": gbps}
        row |= {name: entry.cycles for name, entry in self.entries.items()}
        for figure in ("seconds", "edp", "edp_chip", "energy", "dram_energy"):
            row |= {f"{figure}_{name}": getattr(e, figure) for name, e in self.entries.items()}
        for figure, prefix in (("seconds", "latency_ratio"), ("edp", "edp_ratio")):
            for name in self.entries:
                row[f"{prefix}_{name}"] = self.ratio(figure, name)
        return row


def compare(
    config: Config,
    full: TrainingStep,
    lora: TrainingStep,
    *,
    bandwidths: Iterable[float | None] = BANDWIDTHS,
    models: Iterable[str] = ALL_MODELS,
    optimiser_bytes: float = 16,
    progress: Callable[[str], None] | None = None,
    prices: Callable[[Config], Prices] = Prices,
) -> list[Comparison]:
    """Return the comparison, models within bandwidths.

    Parameters
    ----------
    full, lora : TrainingStep
        The same step with dense weights trained, and with LoRA.
    bandwidths : iterable of float or None
        GB/s of the DRAM.
    optimiser_bytes : float
        DRAM traffic of the optimiser, dense gradients read included, for each trained parameter.
    progress : callable, optional
        Called with what is done next.
    prices : callable
        Makes what costs products under `ours`.

    Raises
    ------
    TileError, PlacementError
        A product does not fit the memories, or DRAM.
    """
    models = tuple(models)
    found = []
    for gbps in bandwidths:
        at = config.replace(dram_gbps=gbps or 0.0)
        shared = prices(at)  # full and LoRA steps have products in common
        for model in models:
            costs, entries = {}, {}
            for name, scheme in SCHEMES.items():
                step = full if scheme.full else lora
                costs[name] = _cost(at, model, step, scheme.dataflow, shared, progress)
                entries[name] = _entry(costs[name]) + optimiser_entry(at, optimiser_bytes, step)
            found.append(Comparison(model, gbps, entries, costs["lora_hybrid"]))
    return found


def _cost(
    config: Config,
    model: str,
    step: TrainingStep,
    dataflow: Choice,
    prices: Prices,
    progress: Callable[[str], None] | None,
) -> StepCost:
    if model == OURS:
        return step_cost(config, step, dataflow=dataflow, progress=progress, prices=prices)
    return analytic_cost(config, model, step, dataflow)


def _entry(cost: StepCost) -> Entry:
    return Entry(cost.cycles, cost.seconds, cost.energy, cost.dram_energy)


def optimiser_entry(config: Config, bytes_each: float, step: TrainingStep) -> Entry:
    """Return what the optimiser adds: its bytes after all products, at the bandwidth of the DRAM.

    The host computes it, so an unlimited DRAM makes it take no time; its bytes cost energy in DRAM
    in any case, and the chip its leakage and clock while it waits.
    """
    moved = round(bytes_each * step.trained)
    rate = config.dram_bytes_per_cycle
    cycles = 0 if rate is None else round(moved / rate)
    joules = energy(config, Activity(dram_read_bytes=moved), max(cycles, 1))
    chip = joules.chip if cycles else 0.0
    return Entry(cycles, cycles / (config.clock_mhz * 1e6), chip, joules.dram[DRAM_CLASS])
