"""What every backend takes and gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from hw.isa.config import Config
from hw.isa.instructions import Engine
from hw.isa.registers import ErrorCode, waiting_bit

__all__ = [
    "BackendError",
    "DramTiming",
    "Event",
    "Interval",
    "MachineError",
    "RunResult",
    "describe_waiting",
    "fraction",
]


class BackendError(RuntimeError):
    """A backend cannot run here; the message is one line that says what is missing."""


class MachineError(RuntimeError):
    """The machine stopped with an error code instead of reaching its halt."""

    def __init__(self, result: RunResult) -> None:
        self.result = result
        message = (
            f"the machine stopped with {result.error.name} (code {int(result.error)}) "
            f"after {result.error_instruction} instructions"
        )
        if result.error is ErrorCode.TOKEN_DEADLOCK:
            message += f": {describe_waiting(result.waiting)}"
        super().__init__(message)

    def __reduce__(self) -> tuple[type[MachineError], tuple[RunResult]]:
        """Be made again of the result, not of the message, where another process raised it."""
        return MachineError, (self.result,)


def describe_waiting(waiting: int) -> str:
    """Return the bits of Register.WAITING in words, as in "EXECUTE waits for LOAD"."""
    parts = [
        f"{engine.name} waits for {peer.name}"
        for engine in Engine
        for peer in Engine
        if waiting >> waiting_bit(engine, peer) & 1
    ]
    return ", ".join(parts) or "no engine waits for tokens"


MOST_PARTS = 1 << 24
"""Parts of a byte that bandwidths are counted in, at most."""


def fraction(bytes_per_cycle: float | Fraction) -> Fraction:
    """Return the nearest bandwidth of at most `MOST_PARTS` parts of a byte.

    All that counts bytes with it is exact then, in 64 bits too.

    Raises
    ------
    ValueError
        It is so low that it would be zero.
    """
    rate = Fraction(bytes_per_cycle).limit_denominator(MOST_PARTS)
    if bytes_per_cycle and not rate:
        raise ValueError(
            f"bytes_per_cycle must be at least {1 / MOST_PARTS}, not {bytes_per_cycle}"
        )
    return rate


@dataclass(frozen=True)
class DramTiming:
    """Timing of the simulated DRAM.

    Parameters
    ----------
    latency : int
        Cycles from an accepted read address to the first beat of its data.
    bytes_per_cycle : float or None
        Bandwidth shared by reads and writes; None moves one beat a cycle in each direction.
    """

    latency: int
    bytes_per_cycle: float | None = None

    @property
    def rate(self) -> Fraction:
        """Bytes a cycle as it is simulated, 0 for None: see `fraction`."""
        return fraction(self.bytes_per_cycle or 0)

    @classmethod
    def of(cls, config: Config) -> DramTiming:
        """Return the timing a configuration asks for."""
        return cls(config.dram_latency, config.dram_bytes_per_cycle)


@dataclass(frozen=True)
class Event:
    """One step of one instruction.

    `kind` is ``start`` (its tokens are taken, it begins), ``read`` (execute only: its last operand
    is read) or ``done`` (its last result is written); `index` counts instructions of the program.
    `cycle` is the one in which it happens; 0 is the first that the counter ``cycles`` counts.
    """

    cycle: int
    engine: Engine
    kind: str
    index: int


@dataclass(frozen=True)
class Interval:
    """Cycles, one after the other, in which a signal of `sim.intervals.SIGNALS` is 1.

    `start` is the first of them, numbered as the cycles of an `Event`. In the cycle before, and in
    that after the last, the signal is 0.
    """

    signal: str
    start: int
    cycles: int

    @property
    def stop(self) -> int:
        """The cycle after the last."""
        return self.start + self.cycles


@dataclass(frozen=True)
class RunResult:
    """Outcome of one run of a program.

    `counters` holds those of `hw.isa.registers.COUNTERS` that the backend knows. `seconds` is the
    wall time of the run itself, without building. `waiting` is Register.WAITING after an error.
    `activity` is what `sim.intervals.intervals` returns, and empty unless it was asked for.
    """

    backend: str
    error: ErrorCode
    error_instruction: int | None
    counters: dict[str, int]
    seconds: float
    events: tuple[Event, ...] = field(default=(), repr=False)
    waiting: int = 0
    activity: tuple[Interval, ...] = field(default=(), repr=False)
