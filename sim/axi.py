"""What the two sides of an AXI4 port drive, and what a memory may do to its master."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

__all__ = ["CHANNELS", "Fault", "Hang", "Master", "Response", "Slave", "Stalls"]


CHANNELS = ("ar", "r", "aw", "w", "b")
"""The channels of an AXI4 port."""


class Response(IntEnum):
    """AXI4 responses."""

    OKAY = 0
    SLVERR = 2
    DECERR = 3


@dataclass(slots=True)
class Master:
    """What a master drives in one cycle. A payload counts only while its valid is 1."""

    arvalid: int = 0
    arid: int = 0
    araddr: int = 0
    arlen: int = 0
    arsize: int = 0
    arburst: int = 1
    rready: int = 0
    awvalid: int = 0
    awid: int = 0
    awaddr: int = 0
    awlen: int = 0
    awsize: int = 0
    awburst: int = 1
    wvalid: int = 0
    wdata: int = 0
    wstrb: int = 0
    wlast: int = 0
    bready: int = 0


@dataclass(slots=True)
class Slave:
    """What the memory drives in one cycle. A payload counts only while its valid is 1."""

    arready: int = 0
    rvalid: int = 0
    rid: int = 0
    rdata: int = 0
    rresp: int = 0
    rlast: int = 0
    awready: int = 0
    wready: int = 0
    bvalid: int = 0
    bid: int = 0
    bresp: int = 0


@dataclass(frozen=True)
class Stalls:
    """Probability, per cycle, that a channel holds back: ready stays 0, or a new valid is delayed.

    Raises
    ------
    ValueError
        A probability is not in [0, 1).
    """

    ar: float = 0.0
    r: float = 0.0
    aw: float = 0.0
    w: float = 0.0
    b: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value < 1:
                raise ValueError(
                    f"stall probability {item.name} must be at least 0 and below 1, not {value}"
                )

    @classmethod
    def everywhere(cls, probability: float) -> Stalls:
        """Return the same probability on every channel."""
        return cls(*[probability] * 5)


@dataclass(frozen=True)
class Fault:
    """Beats that touch bytes `start` to `stop` (not included) answer with an error.

    `reads` and `writes` say in which direction. Faulty beats are not written, and read as zero.
    """

    start: int
    stop: int
    response: Response = Response.SLVERR
    reads: bool = True
    writes: bool = True


@dataclass(frozen=True)
class Hang:
    """A channel stands still at the first access to bytes `start` to `stop` (excluded).

    ``ar`` and ``aw`` do not take the address of such a burst, and ``b`` does not answer it; ``r``
    does not give such a beat, and ``w`` does not take it. Channels are in order, so what is behind
    waits too. It begins when something first waits for it, and ends `cycles` cycles later, for
    good; without, never.

    Raises
    ------
    ValueError
        There is no such channel, or `cycles` is not above 0.
    """

    channel: str
    start: int
    stop: int
    cycles: int | None = None

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise ValueError(f"channel must be one of {'|'.join(CHANNELS)}, not {self.channel!r}")
        if self.cycles is not None and self.cycles <= 0:
            raise ValueError(f"cycles must be above 0, not {self.cycles}")
