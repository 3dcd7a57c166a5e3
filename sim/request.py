"""What a run hands to the simulator's process, and what comes back: two JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hw.isa.config import Config

from .axi import Fault, Hang, Response, Stalls

__all__ = ["BENCH", "REQUEST_VARIABLE", "Ending", "Place", "Reply", "Request"]

BENCH = "sim.bench"
"""The test module that reads a request."""

REQUEST_VARIABLE = "CDMQTA_REQUEST"
"""Environment variable that names the request file."""


@dataclass(frozen=True)
class Place:
    """Where a program lies: its first byte, and its number of instructions."""

    address: int
    length: int


@dataclass(frozen=True)
class Request:
    """Programs to run, one after the other.

    `image` is an ``.npy`` file of uint8 that already holds the programs, and is changed in place.
    After an error, and with `reset` in any case, the machine is reset before the next program.
    `watchdog` and `noise_seed` are the values of their registers, written once at the start.
    `max_cycles` bounds a program; `quiet_cycles` bounds the time in which nothing moves. With
    `timeline` the activity of every cycle is recorded.
    """

    config: Config
    image: Path
    programs: tuple[Place, ...]
    reset: bool
    watchdog: int
    noise_seed: int
    latency: int
    bytes_per_cycle: float | None
    stalls: Stalls
    faults: tuple[Fault | Hang, ...]
    seed: int
    max_cycles: int | None
    quiet_cycles: int
    check_protocol: bool
    timeline: bool
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
        converted = {
            "config": Config.from_mapping(values["config"]),
            "stalls": Stalls(**values["stalls"]),
            "faults": tuple(_fault(fault) for fault in values["faults"]),
            "programs": tuple(Place(**place) for place in values["programs"]),
            **{name: Path(values[name]) for name in ("image", "reply", "progress")},
        }
        return cls(**{**values, **converted})


def _fault(values: dict[str, Any]) -> Fault | Hang:
    if "channel" in values:
        return Hang(**values)
    return Fault(**{**values, "response": Response(values["response"])})


@dataclass
class Ending:
    """What happened to one program.

    `trace` lists (cycle, bits of the port ``trace``) of every cycle with a pulse, `activity` lists
    (cycle, word of `sim.intervals.SIGNALS`) of every change. Both are what happens in that cycle:
    what the ports tell a cycle late is put back. Cycle 0 is the first that the counter ``cycles``
    counts.
    """

    status: int = 0
    error_instruction: int = 0
    waiting: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    trace: list[tuple[int, int]] = field(default_factory=list)
    seconds: float = 0.0
    activity: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Reply:
    """What happened.

    `failure` says why the last of the programs in `endings` was given up, and `rule` that the AXI
    protocol was broken.
    """

    failure: str | None = None
    rule: bool = False
    endings: list[Ending] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the reply as JSON, whole or not at all."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> Reply:
        """Return the reply that `write` wrote."""
        values = json.loads(path.read_text())
        endings = [
            Ending(
                **ending
                | {name: [tuple(item) for item in ending[name]] for name in ("trace", "activity")}
            )
            for ending in values["endings"]
        ]
        return cls(**{**values, "endings": endings})
