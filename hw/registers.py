"""AXI4-Lite slave: control, status, performance counters and the interrupt."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .isa.config import Config
from .isa.registers import COUNTERS, IDENTITY, VERSION, Control, Register, Status
from .layout import WAITING_BITS

__all__ = ["ADDRESS_BITS", "Registers", "lite_members"]

ADDRESS_BITS = 12


def lite_members() -> dict[str, wiring.Member]:
    """Return the members of an AXI4-Lite slave."""
    return {
        "awaddr": In(ADDRESS_BITS),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(32),
        "wstrb": In(4),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(ADDRESS_BITS),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(32),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }


class Registers(wiring.Component):
    """The register map of `hw.isa.registers`.

    Registers are written whole: write strobes are ignored.

    Members
    -------
    aw..., w..., b..., ar..., r...
        The AXI4-Lite channels.
    start : Out(1); base : Out; length : Out
        A program begins, at beat `base`.
    watchdog, seed : Out(32)
        As the host wrote them.
    resetting : Out(1)
        From the host's order until `clean`: the bus masters flush, and all else is held in reset.
    clean : In(1)
        Nothing is outstanding on the bus.
    running, done : In(1); error : In(8); dispatched : In(24); waiting : In
        State of the controller; `waiting` as Register.WAITING.
    increments : In
        What each counter grows by in this cycle, if a program runs, in the order of COUNTERS,
        `INCREMENT` bits each; `array_cycles` is counted here, from `fed` to `written`.
    fed, written : In(1)
        An operand is read; a result is written.
    irq : Out(1)
    """

    INCREMENT = 17

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                **lite_members(),
                "start": Out(1),
                "base": Out(config.address_bits - exact_log2(config.bus_bytes)),
                "length": Out(24),
                "watchdog": Out(32),
                "seed": Out(32),
                "resetting": Out(1),
                "clean": In(1),
                "running": In(1),
                "done": In(1),
                "error": In(8),
                "dispatched": In(24),
                "waiting": In(WAITING_BITS),
                "increments": In(self.INCREMENT * len(COUNTERS)),
                "fed": In(1),
                "written": In(1),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._program = Signal(48)
        self._enable, self._pending = Signal(), Signal()
        m.d.comb += [
            self.irq.eq(self._pending & self._enable),
            self.base.eq(self._program[exact_log2(self._config.bus_bytes) :]),
        ]
        with m.If(self.clean):
            m.d.sync += self.resetting.eq(0)
        self._write(m)
        self._read(m, self._counters(m))
        # After the register write: an end in the cycle of a clear is not lost.
        ran = Signal()
        m.d.sync += ran.eq(self.running)
        with m.If(ran & ~self.running):
            m.d.sync += self._pending.eq(1)
        # A program that a reset stops does not end.
        with m.If(self.resetting):
            m.d.sync += [ran.eq(0), self._pending.eq(0)]
        return m

    def _counters(self, m: Module) -> list[Signal]:
        """Count while a program runs; START clears."""
        counters = []
        fed_once, since = Signal(), Signal(64)
        for index, declared in enumerate(COUNTERS):
            counter = Signal(64, name=f"count_{declared.name}")
            with m.If(self.running):
                if declared.name == "array_cycles":
                    with m.If(self.written):
                        m.d.sync += counter.eq(since + 1)
                else:
                    step = self.increments.word_select(index, self.INCREMENT)
                    m.d.sync += counter.eq(counter + step)
            with m.If(self.start):
                m.d.sync += counter.eq(0)
            counters.append(counter)
        with m.If(self.start):
            m.d.sync += [fed_once.eq(0), since.eq(0)]
        with m.Elif(self.fed | fed_once):
            m.d.sync += [fed_once.eq(1), since.eq(since + 1)]
        return counters

    def _write(self, m: Module) -> None:
        """Take address and data together, then answer."""
        moves = Signal()
        m.d.comb += [
            moves.eq(self.awvalid & self.wvalid & self.awready),
            self.wready.eq(self.awready),
        ]
        # Both readies rise for one cycle after both valids are seen, from a register.
        m.d.sync += self.awready.eq(self.awvalid & self.wvalid & ~self.awready & ~self.bvalid)
        with m.If(moves):
            m.d.sync += self.bvalid.eq(1)
        with m.Elif(self.bready):
            m.d.sync += self.bvalid.eq(0)
        value = self.wdata
        m.d.sync += self.start.eq(0)
        with m.If(moves):
            with m.Switch(self.awaddr):
                with m.Case(Register.CONTROL):
                    resets = (value & Control.RESET).any()
                    stands = ~(self.running | self.error.any() | self.resetting)
                    m.d.sync += [
                        self.start.eq((value & Control.START).any() & stands & ~resets),
                        self._enable.eq((value & Control.INTERRUPT_ENABLE).any()),
                    ]
                    with m.If(resets):
                        m.d.sync += self.resetting.eq(1)
                with m.Case(Register.PROGRAM_LOW):
                    m.d.sync += self._program[:32].eq(value)
                with m.Case(Register.PROGRAM_HIGH):
                    m.d.sync += self._program[32:].eq(value)
                with m.Case(Register.PROGRAM_LENGTH):
                    m.d.sync += self.length.eq(value)
                with m.Case(Register.INTERRUPT):
                    with m.If(value[0]):
                        m.d.sync += self._pending.eq(0)
                with m.Case(Register.WATCHDOG):
                    m.d.sync += self.watchdog.eq(value)
                with m.Case(Register.SEED):
                    m.d.sync += self.seed.eq(value)

    def _read(self, m: Module, counters: list[Signal]) -> None:
        values: dict[int, Any] = {
            Register.IDENTITY: IDENTITY,
            Register.VERSION: VERSION,
            Register.CONTROL: self._enable << exact_log2(Control.INTERRUPT_ENABLE),
            Register.STATUS: Cat(self._status(), self.error),
            Register.PROGRAM_LOW: self._program[:32],
            Register.PROGRAM_HIGH: self._program[32:],
            Register.PROGRAM_LENGTH: self.length,
            Register.INTERRUPT: self._pending,
            Register.ERROR_INSTRUCTION: self.dispatched,
            Register.WATCHDOG: self.watchdog,
            Register.WAITING: self.waiting,
            Register.SEED: self.seed,
        }
        for index, counter in enumerate(counters):
            values[Register.COUNTERS + 8 * index] = counter[:32]
            values[Register.COUNTERS + 8 * index + 4] = counter[32:]
        m.d.sync += self.arready.eq(self.arvalid & ~self.arready & ~self.rvalid)
        with m.If(self.arvalid & self.arready):
            m.d.sync += [self.rvalid.eq(1), self.rdata.eq(0)]
            with m.Switch(self.araddr):
                for address, value in values.items():
                    with m.Case(address):
                        m.d.sync += self.rdata.eq(value)
        with m.Elif(self.rready):
            m.d.sync += self.rvalid.eq(0)

    def _status(self) -> Any:
        bits = {
            Status.BUSY: self.running,
            Status.DONE: self.done & ~self.running,
            Status.ERROR: self.error.any() & ~self.running,
            Status.RESETTING: self.resetting,
        }
        return Cat(bits.get(1 << place, Const(0)) for place in range(8))
