"""The cocotb bench in which C code is the host: every access of the register port is its own.

C calls block, so they run in a thread that stops wherever simulated time goes on.
"""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge, resume

from sim.bench import Bench
from sim.harness import EVENTS
from sim.request import REQUEST_VARIABLE, Request
from tests.sw.firmware_library import RESULTS, Program, Runtime

__all__ = ["STEPS_VARIABLE"]

STEPS_VARIABLE = "CDMQTA_FIRMWARE_STEPS"
"""Environment variable that names a JSON file: ``library`` and ``steps``. Each step is the name of
a method of `Firmware` and its arguments."""
_LIMIT = 100_000
"""Cycles after which a program has hung."""


@cocotb.test()
async def firmware(dut: Any) -> None:
    """Do the steps, and write what came of each beside their file."""
    request = Request.read(Path(os.environ[REQUEST_VARIABLE]))
    image = np.load(request.image, mmap_mode="r+")
    file = Path(os.environ[STEPS_VARIABLE])
    orders = json.loads(file.read_text())
    bench = FirmwareBench(dut, request, np.asarray(image))
    done = await bench.steps(Path(orders["library"]), orders["steps"])
    image.flush()
    request.reply.write_text(json.dumps(done))


class FirmwareBench(Bench):
    """The top and its DRAM, as hooks of the C code."""

    async def steps(self, library: Path, steps: list[list[Any]]) -> list[dict[str, Any]]:
        """Reset the hardware, do the steps and return what came of each."""
        await self._reset()
        firmware = Firmware(library, self)
        return await bridge(firmware.steps)(steps)

    @property
    def line(self) -> bool:
        """The interrupt line."""
        return bool(int(self._flags.value) >> EVENTS & 1)

    async def read(self, address: int) -> int:
        """Return a register."""
        return await self._lite.read(address)

    async def write(self, address: int, value: int) -> None:
        """Write a register."""
        await self._lite.write(address, value)

    async def until_interrupt(self) -> bool:
        """Let time pass until the interrupt line is high; return False if it takes too long."""
        for _ in range(_LIMIT):
            if self.line:
                return True
            await self._tick()
        return False


class Firmware:
    """The steps, and the hooks they end in; all of it runs in a thread of its own."""

    def __init__(self, library: Path, bench: FirmwareBench) -> None:
        self._bench = bench
        self._runtime = Runtime(library, self)
        self._library = ctypes.CDLL(str(library))
        self._calls = {"reads": 0, "writes": 0, "barriers": 0, "waits": 0}
        self._highest = False

    def read32(self, address: int) -> int:
        """Read a register of the RTL."""
        self._count("reads")
        return resume(self._bench.read)(address)

    def write32(self, address: int, value: int) -> None:
        """Write a register of the RTL."""
        self._count("writes")
        resume(self._bench.write)(address, value)

    def barrier(self) -> None:
        """Do nothing: DRAM is one array of bytes for all."""
        self._count("barriers")

    def wait(self) -> bool:
        """Wait for the interrupt line of the RTL."""
        self._count("waits")
        return resume(self._bench.until_interrupt)()

    def _count(self, call: str) -> None:
        self._calls[call] += 1
        self._highest |= self._bench.line

    def steps(self, steps: list[list[Any]]) -> list[dict[str, Any]]:
        """Do each step, and add what C code says of the machine after it."""
        done = []
        for name, *arguments in steps:
            self._calls, self._highest = dict.fromkeys(self._calls, 0), False
            outcome = getattr(self, f"do_{name}")(*arguments)
            outcome |= {"calls": dict(self._calls), "interrupted": self._highest}
            done.append(outcome | self._state())
        return done

    def _state(self) -> dict[str, Any]:
        runtime = self._runtime
        state = {name: runtime.call(name) for name in ("status", "error_instruction", "waiting")}
        state["error"] = runtime.name("error", runtime.call("last_error"))
        return state | {"line": self._bench.line, "counters": runtime.counters()}

    def do_init(self) -> dict[str, Any]:
        """Look for the accelerator."""
        return {"result": self._runtime.result("init")}

    def do_run(self, *program: int, poll: bool = False) -> dict[str, Any]:
        """Run a program: address, instructions, watchdog, seed."""
        self._runtime.poll(poll)
        result = self._runtime.result("run", ctypes.byref(Program(*program)))
        self._runtime.poll(False)
        return {"result": result}

    def do_poll(self, *program: int) -> dict[str, Any]:
        """Do as `do_run`, without the hook that waits."""
        return self.do_run(*program, poll=True)

    def do_overlap(self, *program: int) -> dict[str, Any]:
        """Start a program, try to start another, look on for a while, and wait for the end."""
        runtime, given = self._runtime, ctypes.byref(Program(*program))
        results = [runtime.result("start", given), runtime.result("start", given)]
        seen = [runtime.call("read_counter", 0) for _ in range(8)]
        results.append(runtime.result("wait"))
        pending = self._bench.line
        runtime.call("acknowledge")
        return {"results": results, "seen": seen, "pending": pending}

    def do_reset(self, reads: int) -> dict[str, Any]:
        """Reset the machine."""
        return {"result": self._runtime.result("reset", reads)}

    def do_registers(self, *addresses: int) -> dict[str, Any]:
        """Read registers through the C code."""
        return {"values": [self._runtime.call("read32", address) for address in addresses]}

    def do_example(self, address: int, instructions: int) -> dict[str, Any]:
        """Call the example of docs/firmware.md."""
        cycles = ctypes.c_uint64(0)
        given = ctypes.c_uint64(address), ctypes.c_uint32(instructions), ctypes.byref(cycles)
        result = self._runtime.foreign(self._library.run_step, *given)
        return {"result": RESULTS[result], "cycles": cycles.value}
