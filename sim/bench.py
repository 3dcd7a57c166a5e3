"""The cocotb bench: runs the programs of a request file against the simulated DRAM.

Runs in the simulator's process. The clock's falling edge is in the middle of a cycle: outputs of
the top come from registers and stand still there, and what is driven there is in force at the
rising edge that ends the cycle. So one trigger a cycle does for all handshakes.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock

from hw.isa.config import Config
from hw.isa.registers import (
    COUNTERS,
    IDENTITY,
    VERSION,
    Control,
    Register,
    Status,
    counter_address,
)

from .axi import Master, Slave
from .dram import AccessError, AxiDram
from .harness import EVENTS, FLAGS, pack_answers, unpack_address
from .intervals import handshakes
from .lite import Failure, LitePort
from .protocol import ProtocolChecker, ProtocolError
from .request import REQUEST_VARIABLE, Ending, Place, Reply, Request

__all__ = ["Bench", "programs"]

_PERIOD_NS = 2
_RESET_CYCLES = 4
_GLANCE = 1024
"""Cycles between looks at the wall clock and at the limits; a power of two."""
_REPORT_SECONDS = 0.2

_ARVALID, _RREADY, _AWVALID, _WVALID, _BREADY = (1 << bit for bit in range(len(FLAGS)))
_IRQ = 1 << EVENTS


@cocotb.test()
async def programs(dut: Any) -> None:
    """Run the programs of the request file and write the reply file."""
    request = Request.read(Path(os.environ[REQUEST_VARIABLE]))
    image = np.load(request.image, mmap_mode="r+")
    bench = Bench(dut, request, np.asarray(image))
    try:
        await bench.run()
    except (Failure, AccessError, ProtocolError) as error:
        bench.reply.failure = str(error)
        bench.reply.rule = not isinstance(error, Failure)
    image.flush()
    bench.reply.write(request.reply)


class Bench:
    """The top, its DRAM and its register port.

    Parameters
    ----------
    dut : handle
        The module `sim.harness.HARNESS`.
    request : Request
        What to run.
    image : ndarray of uint8, 1-D
        The DRAM's contents, changed in place.
    """

    def __init__(self, dut: Any, request: Request, image: np.ndarray) -> None:
        self.dut = dut
        self.request = request
        self.reply = Reply()
        self.ending = Ending()
        self.cycle = 0
        self.irq = False
        self.dram = AxiDram(
            image,
            bus_bytes=request.config.bus_bytes,
            latency=request.latency,
            bytes_per_cycle=request.bytes_per_cycle,
            stalls=request.stalls,
            seed=request.seed,
            faults=request.faults,
        )
        self.checker = _checker(request.config) if request.check_protocol else None
        self._falling = dut.clk.falling_edge
        self._flags, self._answers, self._activity = dut.flags, dut.answers, dut.activity
        self._read_address, self._write_address = dut.read_address, dut.write_address
        self._read_data, self._write_data = dut.read_data, dut.write_data
        self._write_strobes = dut.write_strobes
        self._lite = LitePort(dut, self._tick)
        self._master = Master()
        self._driven = 0
        self._handshakes = self._active = 0
        self._seen = (0, 0, 0)
        self._quiet_since = 0
        self._began = self._interrupt = 0
        self._next_report = 0.0

    async def run(self) -> None:
        """Reset, run the programs, and fill in the reply."""
        await self._reset()
        await self._check_identity()
        await self._lite.write(Register.WATCHDOG, self.request.watchdog)
        await self._lite.write(Register.SEED, self.request.noise_seed)
        gc.freeze()  # what is there by now stays: looking through it again takes a tenth of a run
        for place in self.request.programs:
            if self.reply.endings:
                await self._again()
            self._begin(Ending())
            self.reply.endings.append(self.ending)
            await self._run(place)

    async def _run(self, place: Place) -> None:
        """Run one program and fill in its ending."""
        await self._lite.write(Register.PROGRAM_LOW, place.address & 0xFFFFFFFF)
        await self._lite.write(Register.PROGRAM_HIGH, place.address >> 32)
        await self._lite.write(Register.PROGRAM_LENGTH, place.length)
        dram, ending = self.dram, self.ending
        before = dram.read_beats, dram.write_beats
        started = time.perf_counter()
        await self._lite.write(Register.CONTROL, Control.START | Control.INTERRUPT_ENABLE)
        while not self.irq:
            await self._tick()
            if not self.cycle & (_GLANCE - 1):
                self._glance("interrupt")
        ending.seconds = time.perf_counter() - started
        self._begin(Ending())  # what engines do from now on is not counted
        await self._collect(ending)
        start = self._interrupt - ending.counters["cycles"]
        ending.trace = [(cycle - start, bits) for cycle, bits in ending.trace]
        ending.activity = [(cycle - start, bits) for cycle, bits in ending.activity]
        if ending.status & Status.DONE:
            self._check_traffic(ending, *before)

    def _begin(self, ending: Ending) -> None:
        """Record from now on in `ending`."""
        self.ending, self._active = ending, 0

    async def _again(self) -> None:
        """Make the machine ready for another program."""
        self._began = self._quiet_since = self.cycle
        if not self.request.reset and not self.reply.endings[-1].status & Status.ERROR:
            await self._lite.write(Register.INTERRUPT, 1)
        else:
            await self._lite.write(Register.CONTROL, Control.RESET | Control.INTERRUPT_ENABLE)
            while await self._lite.read(Register.STATUS) & Status.RESETTING:
                self._glance("end of the reset")
            self._check_reset(await self._lite.read(Register.STATUS))
        if _number(self._flags, "an output flag") & _IRQ:
            raise Failure("the interrupt is pending before the program starts")
        self.irq = False

    def _check_reset(self, status: int) -> None:
        """Check that a reset left neither state nor traffic."""
        if status:
            raise Failure(f"the status after a reset is {status:#x}")
        if self.dram.pending_reads or self.dram.pending_writes:
            raise Failure(
                f"the reset is over with {self.dram.pending_reads} read beats and "
                f"{self.dram.pending_writes} write bursts outstanding"
            )

    async def _reset(self) -> None:
        dut = self.dut
        self._lite.clear()
        dut.answers.value = dut.read_data.value = 0
        dut.rst.value = 1
        Clock(dut.clk, _PERIOD_NS, "ns").start()
        for _ in range(_RESET_CYCLES):
            await self._falling
        if self.checker:
            self._sample(_number(self._flags, "an output flag"))
            self.checker.reset(self._master)
        dut.rst.value = 0

    async def _check_identity(self) -> None:
        for register, expected in ((Register.IDENTITY, IDENTITY), (Register.VERSION, VERSION)):
            found = await self._lite.read(register)
            if found != expected:
                raise Failure(f"register {register.name} is {found:#x}, not {expected:#x}")

    async def _tick(self) -> None:
        """Go to the middle of the next cycle and do everything that happens in it."""
        await self._falling
        flags = _number(self._flags, "an output flag")
        self._sample(flags)
        slave = self.dram.step(self._master)
        if self.checker:
            self.checker.step(self._master, slave)
        self._drive(slave)
        if flags >= _IRQ:
            if flags & _IRQ and not self.irq:
                self.irq, self._interrupt = True, self.cycle
            if flags >> EVENTS + 1:
                self.ending.trace.append((self.cycle, flags >> EVENTS + 1))
        if self.request.timeline:
            self._record(slave)
        self.cycle += 1

    def _record(self, slave: Slave) -> None:
        """Record the cycle before: the port tells of it now, the handshakes were seen then."""
        active = _number(self._activity, "an activity flag") | self._handshakes
        if active != self._active:
            self._active = active
            self.ending.activity.append((self.cycle, active))
        self._handshakes = handshakes(self._master, slave)

    def _sample(self, flags: int) -> None:
        """Bring `_master` up to date; payloads are read only where they count."""
        master = self._master
        refused = master.wvalid and not self.dram.slave.wready
        master.rready = flags & _RREADY
        master.bready = flags & _BREADY
        master.arvalid = flags & _ARVALID
        if master.arvalid:
            value = _number(self._read_address, "a read address")
            fields = unpack_address(value)
            master.arid, master.araddr, master.arlen, master.arsize, master.arburst = fields
        master.awvalid = flags & _AWVALID
        if master.awvalid:
            value = _number(self._write_address, "a write address")
            fields = unpack_address(value)
            master.awid, master.awaddr, master.awlen, master.awsize, master.awburst = fields
        master.wvalid = flags & _WVALID
        if master.wvalid and (self.checker or not refused):
            strobes = _number(self._write_strobes, "a write strobe")
            master.wlast, master.wstrb = strobes & 1, strobes >> 1
            master.wdata = _number(self._write_data, "write data", master.wstrb)

    def _drive(self, slave: Slave) -> None:
        if slave.rvalid:
            self._read_data.value = slave.rdata
        answers = pack_answers(slave)
        if answers != self._driven:
            self._driven = answers
            self._answers.value = answers

    def _glance(self, goal: str) -> None:
        """Give up where nothing moves or the limit is reached; say how far the run is."""
        request = self.request
        seen = (self.dram.read_beats, self.dram.write_beats, len(self.ending.trace))
        if seen != self._seen:
            self._seen, self._quiet_since = seen, self.cycle
        elif self.cycle - self._quiet_since > request.quiet_cycles:
            quiet = self.cycle - self._quiet_since
            raise Failure(f"no {goal}: nothing moved for {quiet} cycles")
        passed = self.cycle - self._began
        if request.max_cycles is not None and passed > request.max_cycles:
            raise Failure(f"no {goal} after {passed} cycles")
        now = time.monotonic()
        if now > self._next_report:
            self._next_report = now + _REPORT_SECONDS
            request.progress.write_text(str(self.cycle))

    async def _collect(self, ending: Ending) -> None:
        """Read status and counters of the program that ended last."""
        ending.status = await self._lite.read(Register.STATUS)
        ending.error_instruction = await self._lite.read(Register.ERROR_INSTRUCTION)
        done, error = bool(ending.status & Status.DONE), bool(ending.status & Status.ERROR)
        if ending.status & Status.BUSY or done == error:
            raise Failure(f"the interrupt came with status {ending.status:#x}")
        if error:
            ending.waiting = await self._lite.read(Register.WAITING)
        for counter in COUNTERS:
            address = counter_address(counter.name)
            low, high = await self._lite.read(address), await self._lite.read(address + 4)
            ending.counters[counter.name] = high << 32 | low

    def _check_traffic(self, ending: Ending, reads: int, writes: int) -> None:
        """Compare what the machine says it moved with what the DRAM saw since it had `reads`."""
        dram, counters = self.dram, ending.counters
        if dram.pending_reads or dram.pending_writes:
            raise Failure(
                f"the program is done with {dram.pending_reads} read beats and "
                f"{dram.pending_writes} write bursts outstanding"
            )
        bus = self.request.config.bus_bytes
        moved = {"read": dram.read_beats - reads, "write": dram.write_beats - writes}
        for name, beats in moved.items():
            counted = counters[f"dram_{name}_bytes"]
            if counted != beats * bus:
                raise Failure(f"dram_{name}_bytes is {counted}, but {beats * bus} bytes moved")


def _checker(config: Config) -> ProtocolChecker:
    return ProtocolChecker(
        bus_bytes=config.bus_bytes,
        burst_beats=config.burst_beats,
        read_outstanding=config.read_outstanding,
        write_outstanding=config.write_outstanding,
    )


def _number(handle: Any, what: str, strobes: int | None = None) -> int:
    """Return the value of a port; bytes that `strobes` leaves out may be undefined (X)."""
    value = handle.value
    try:
        return value.to_unsigned()
    except ValueError:
        pass
    text = str(value)
    if strobes is not None:
        first = len(text) // 8 - 1
        lanes = (text[8 * lane : 8 * lane + 8] for lane in range(first + 1))
        text = "".join(
            bits if strobes >> first - lane & 1 else "0" * 8 for lane, bits in enumerate(lanes)
        )
    if not set(text) <= {"0", "1"}:
        raise Failure(f"{what} is undefined: {text}")
    return int(text, 2)
