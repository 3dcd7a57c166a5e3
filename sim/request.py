"""What a run hands to the simulator's process, and what comes back: two JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hw.isa.config import Config

from .axi import Fault, Response, Stalls

__all__ = ["BENCH", "REQUEST_VARIABLE", "Reply", "Request"]

BENCH = "sim.bench"
"""The test module that reads a request."""

REQUEST_VARIABLE = "CDMQTA_REQUEST"
"""Environment variable that names the request file."""


@dataclass(frozen=True)
class Request:
    """One run.

    `image` is an ``.npy`` file of uint8 that already holds the program, and is changed in place.
    `max_cycles` bounds the run; `quiet_cycles` bounds the time in which nothing moves.
    """

    config: Config
    image: Path
    program_address: int
    program_length: int
    latency: int
    bytes_per_cycle: float | None
    stalls: Stalls
    faults: tuple[Fault, ...]
    seed: int
    max_cycles: int | None
    quiet_cycles: int
    check_protocol: bool
    reply: Path
    progress: Path

    def write(self, path: Path) -> None:
        """Write the request as JSON."""
        values = {**asdict(self), "config": self.config.to_mapping()}
        path.write_text(json.dumps(values, default=str))

    @classmethod
    def read(cls, path: Path) -> Request:
        """Return the request that `write` wrote."""
        values = json.loads(path.read_text())
        faults = (
            Fault(**{**fault, "response": Response(fault["response"])})
            for fault in values["faults"]
        )
        converted = {
            "config": Config.from_mapping(values["config"]),
            "stalls": Stalls(**values["stalls"]),
            "faults": tuple(faults),
            **{name: Path(values[name]) for name in ("image", "reply", "progress")},
        }
        return cls(**{**values, **converted})


@dataclass
class Reply:
    """What happened.

    `failure` says why the run was given up, and `rule` that it broke the AXI protocol. `trace`
    lists (cycle, bits of the port ``trace``) of every cycle with a pulse; cycle 0 is the one in
    which the counter ``cycles`` is 0, so that the interrupt comes in cycle ``counters["cycles"]``.
    """

    failure: str | None = None
    rule: bool = False
    status: int = 0
    error_instruction: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    trace: list[tuple[int, int]] = field(default_factory=list)
    seconds: float = 0.0

    def write(self, path: Path) -> None:
        """Write the reply as JSON, whole or not at all."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> Reply:
        """Return the reply that `write` wrote."""
        values = json.loads(path.read_text())
        return cls(**{**values, "trace": [tuple(item) for item in values["trace"]]})
