"""One point of a sweep: what is asked, what came of it, and the key that it is kept under."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path

from hw.isa.config import Config
from sim.cache import digest

from ..image import InputError
from ..models import TrainingStep

__all__ = ["ExploreError", "Outcome", "Point", "Status", "code_version"]


class ExploreError(InputError):
    """A sweep that cannot be run as it is asked for; the message is one line."""


class Status(StrEnum):
    """What became of a point."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True)
class Point:
    """A configuration and what is to be run on it.

    Members
    -------
    config : Config
        With the DRAM and the clock that time is counted with.
    step : TrainingStep
        The products; its names do not matter to the key.
    dataflow : "auto", "ws" or "os"
    objective : str
        What plans are chosen for, as `sw.cost.step_cost` takes it.
    version : str
        `code_version` of who asks.
    """

    config: Config
    step: TrainingStep
    dataflow: str
    objective: str
    version: str

    @cached_property
    def key(self) -> str:
        """32 hexadecimal digits of everything that the outcome depends on."""
        facts = [
            self.config.to_mapping(), _products_digest(self.step), self.dataflow, self.objective,
            self.version,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Outcome:
    """What a point costs, or why the compiler refuses it.

    Members
    -------
    status : Status
    cycles : int or None
        Of all products, one after the other, start to interrupt. None, like all figures, for a
        refused point.
    seconds : float or None
        Of these cycles, at the clock of the configuration.
    energy_j, dram_energy_j : float or None
        Joules on the chip and in DRAM.
    area_um2 : float or None
        Of the chip.
    macs, dram_read_bytes, dram_write_bytes : int or None
    error : str or None
        Why a point is refused.
    """

    status: Status
    cycles: int | None = None
    seconds: float | None = None
    energy_j: float | None = None
    dram_energy_j: float | None = None
    area_um2: float | None = None
    macs: int | None = None
    dram_read_bytes: int | None = None
    dram_write_bytes: int | None = None
    error: str | None = None

    @property
    def costs(self) -> tuple[float, float, float]:
        """Seconds, joules (chip and DRAM) and square micrometres: what a Pareto front weighs."""
        assert self.status is Status.DONE
        return self.seconds, self.energy_j + self.dram_energy_j, self.area_um2

    @property
    def power_w(self) -> float | None:
        """Mean power of the chip, without DRAM."""
        return self.energy_j / self.seconds if self.status is Status.DONE else None


@lru_cache
def _products_digest(step: TrainingStep) -> str:
    """Return a digest of the products, in order, without the places they have in the model."""
    listed = [
        {name: value for name, value in dataclasses.asdict(product).items() if name != "site"}
        for product in step.products
    ]
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


@lru_cache
def code_version() -> str:
    """Return a digest of the code and tables that outcomes depend on.

    That is hw/isa, sim and sw, without what asks for points and shows them.
    """
    here = Path(__file__).resolve().parent
    root = here.parent.parent
    sources = [root / "hw" / "isa", root / "sim", root / "sw"]
    files = sorted(
        path
        for folder in sources
        for path in folder.rglob("*")
        if path.suffix in (".py", ".csv", ".json", ".toml")
        and (path.parent != here or path.name == "evaluate.py")
    )
    return digest([str(path.relative_to(root)) for path in files], files)
