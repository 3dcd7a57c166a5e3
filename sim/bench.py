"""The cocotb bench: runs one program of a request file against the simulated DRAM.

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
from cocotb.triggers import ReadOnly

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
from .protocol import ProtocolChecker, ProtocolError
from .request import REQUEST_VARIABLE, Reply, Request

__all__ = ["Bench", "Failure", "program"]

_PERIOD_NS = 2
_RESET_CYCLES = 4
_LITE_CYCLES = 1000
"""An AXI4-Lite access that takes longer has failed."""
_GLANCE = 1024
"""Cycles between looks at the wall clock and at the limits; a power of two."""
_REPORT_SECONDS = 0.2

_ARVALID, _RREADY, _AWVALID, _WVALID, _BREADY = (1 << bit for bit in range(len(FLAGS)))
_IRQ = 1 << EVENTS


class Failure(Exception):
    """The run cannot end as it should; the message is one line for the user."""


@cocotb.test()
async def program(dut: Any) -> None:
    """Run the program of the request file and write the reply file."""
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
        self._flags, self._answers = dut.flags, dut.answers
        self._read_address, self._write_address = dut.read_address, dut.write_address
        self._read_data, self._write_data = dut.read_data, dut.write_data
        self._write_strobes = dut.write_strobes
        self._master = Master()
        self._driven = 0
        self._seen = (0, 0, 0)
        self._quiet_since = 0
        self._next_report = 0.0

    async def run(self) -> None:
        """Reset, run the program, and fill in the reply."""
        await self._reset()
        await self._check_identity()
        await self._point_at_program()
        gc.freeze()  # what is there by now stays: looking through it again takes a tenth of a run
        started = time.perf_counter()
        await self.write(Register.CONTROL, Control.START | Control.INTERRUPT_ENABLE)
        while not self.irq:
            await self._tick()
            if not self.cycle & (_GLANCE - 1):
                self._glance()
        end = self.cycle - 1
        self.reply.seconds = time.perf_counter() - started
        await self._collect(end)

    async def write(self, address: int, value: int) -> None:
        """Write a register."""
        dut = self.dut
        dut.s_axil_awaddr.value, dut.s_axil_wdata.value = int(address), int(value)
        await self._access(("aw", "w"), "b", f"write of register {address:#x}")

    async def read(self, address: int) -> int:
        """Return a register."""
        self.dut.s_axil_araddr.value = int(address)
        return await self._access(("ar",), "r", f"read of register {address:#x}")

    async def _access(self, sends: tuple[str, ...], answer: str, what: str) -> int:
        """Carry out one AXI4-Lite access and return its data, if any.

        The register port may answer in the very cycle it is asked, so its outputs are read when
        all has settled, after what is driven in this cycle.
        """
        waiting = list(sends)
        for channel in sends:
            self._lite(f"{channel}valid").value = 1
        self._lite(f"{answer}ready").value = 1
        for _ in range(_LITE_CYCLES):
            await ReadOnly()
            taken = [channel for channel in waiting if int(self._lite(f"{channel}ready").value)]
            answered = int(self._lite(f"{answer}valid").value)
            response = int(self._lite(f"{answer}resp").value) if answered else 0
            data = int(self._lite("rdata").value) if answered and answer == "r" else 0
            await self._tick()
            for channel in taken:
                self._lite(f"{channel}valid").value = 0
                waiting.remove(channel)
            if answered:
                self._lite(f"{answer}ready").value = 0
                if response:
                    raise Failure(f"the {what} was answered with response {response}")
                return data
        raise Failure(f"the {what} was not answered in {_LITE_CYCLES} cycles")

    def _lite(self, name: str) -> Any:
        return getattr(self.dut, f"s_axil_{name}")

    async def _reset(self) -> None:
        dut = self.dut
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            self._lite(name).value = 0
        for name in ("awaddr", "wdata", "araddr"):
            self._lite(name).value = 0
        self._lite("wstrb").value = 15
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
            found = await self.read(register)
            if found != expected:
                raise Failure(f"register {register.name} is {found:#x}, not {expected:#x}")

    async def _point_at_program(self) -> None:
        address = self.request.program_address
        await self.write(Register.PROGRAM_LOW, address & 0xFFFFFFFF)
        await self.write(Register.PROGRAM_HIGH, address >> 32)
        await self.write(Register.PROGRAM_LENGTH, self.request.program_length)

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
            self.irq = bool(flags & _IRQ)
            if flags >> EVENTS + 1:
                self.reply.trace.append((self.cycle, flags >> EVENTS + 1))
        self.cycle += 1

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

    def _glance(self) -> None:
        """Give up where nothing moves or the limit is reached; say how far the run is."""
        request = self.request
        seen = (self.dram.read_beats, self.dram.write_beats, len(self.reply.trace))
        if seen != self._seen:
            self._seen, self._quiet_since = seen, self.cycle
        elif self.cycle - self._quiet_since > request.quiet_cycles:
            raise Failure(f"nothing moved for {self.cycle - self._quiet_since} cycles")
        if request.max_cycles is not None and self.cycle > request.max_cycles:
            raise Failure(f"no interrupt after {self.cycle} cycles")
        now = time.monotonic()
        if now > self._next_report:
            self._next_report = now + _REPORT_SECONDS
            request.progress.write_text(str(self.cycle))

    async def _collect(self, end: int) -> None:
        """Read status and counters of the run whose interrupt was seen in cycle `end`."""
        reply = self.reply
        reply.status = await self.read(Register.STATUS)
        reply.error_instruction = await self.read(Register.ERROR_INSTRUCTION)
        for counter in COUNTERS:
            address = counter_address(counter.name)
            low, high = await self.read(address), await self.read(address + 4)
            reply.counters[counter.name] = high << 32 | low
        start = end - reply.counters["cycles"]
        reply.trace = [(cycle - start, bits) for cycle, bits in reply.trace]
        done, error = reply.status & Status.DONE, reply.status & Status.ERROR
        if reply.status & Status.BUSY or bool(done) == bool(error):
            raise Failure(f"the interrupt came with status {reply.status:#x}")
        if done:
            self._check_traffic()

    def _check_traffic(self) -> None:
        """Compare what the machine says it moved with what the DRAM saw."""
        dram, counters = self.dram, self.reply.counters
        if dram.pending_reads or dram.pending_writes:
            raise Failure(
                f"the program is done with {dram.pending_reads} read beats and "
                f"{dram.pending_writes} write bursts outstanding"
            )
        bus = self.request.config.bus_bytes
        for name, beats in (("read", dram.read_beats), ("write", dram.write_beats)):
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
