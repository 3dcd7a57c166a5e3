"""The watchdog: tells a machine that works from one that waits for ever."""

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa.registers import ErrorCode

__all__ = ["Watchdog"]


class Watchdog(wiring.Component):
    """Count the cycles in which nothing moves, and say what is wrong when they are too many.

    Members
    -------
    limit : In(32)
        Quiet cycles in a row before the machine has to stop; 0 for any number.
    running, moves : In(1)
        A program runs; something moves in this cycle.
    reads, writes : In(1)
        Bursts are outstanding.
    error : Out(ErrorCode)
        What the machine waits for, once the limit is reached; until then 0.

    Timing
    ------
    With `limit` quiet cycles before it, a cycle shows the error.
    """

    limit: In(32)
    running: In(1)
    moves: In(1)
    reads: In(1)
    writes: In(1)
    error: Out(8)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        quiet = Signal(32)
        with m.If(~self.running | self.moves):
            m.d.sync += quiet.eq(0)
        with m.Else():
            m.d.sync += quiet.eq(quiet + 1)
        with m.If((self.limit != 0) & (quiet >= self.limit)):
            m.d.comb += self.error.eq(
                Mux(
                    self.reads,
                    ErrorCode.READ_TIMEOUT,
                    Mux(self.writes, ErrorCode.WRITE_TIMEOUT, ErrorCode.TOKEN_DEADLOCK),
                )
            )
        return m
