"""The C runtime drives the RTL through its register port, as firmware would."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import INSTRUCTION_BYTES, Engine, Halt, Load
from hw.isa.registers import Register, Status, waiting_bit
from sim import rtl
from sim.axi import Stalls
from sim.builder import Simulation, build, tail
from sim.request import REQUEST_VARIABLE, Request
from sim.result import DramTiming, RunResult
from sw.gemm import compile_gemm
from sw.image import write_inputs
from sw.program import Program
from tests.sim.tools import needs_verilator

from ..sw.firmware_library import GCC, shared_library, written
from .firmware_bench import STEPS_VARIABLE

pytestmark = [
    pytest.mark.skipif(GCC is None, reason="gcc is not there to compile firmware with"),
    needs_verilator,
]

CONFIG = Config.preset("tiny")
PAGE = Path(__file__).parents[2] / "docs" / "firmware.md"
LIMIT = 500
"""Of the watchdog, in cycles."""
SEED = 0xC0FFEE01


@dataclass(frozen=True)
class World:
    """What lies in DRAM, and what the backend of the driver makes of the program there."""

    program: Program
    a: np.ndarray
    b: np.ndarray
    image: np.ndarray
    expected: np.ndarray
    reference: RunResult
    illegal: int
    deadlock: int

    @property
    def good(self) -> list[int]:
        """Arguments of a step that runs the program."""
        return [self.program.layout.program_address, len(self.program.instructions), LIMIT, SEED]


@pytest.fixture(scope="module")
def world() -> World:
    """A product that takes several tiles, and behind it two programs that stop."""
    (program,) = compile_gemm(CONFIG, 21, 70, 10)
    data = np.random.default_rng(3)
    a, b = (data.integers(-128, 128, shape, dtype=np.int8) for shape in ((21, 70), (70, 10)))
    first = program.instructions[0]
    illegal = encode(first) + bytes(INSTRUCTION_BYTES) + encode(Halt())
    without_loads = [each for each in program.instructions if not isinstance(each, Load)]
    deadlock = b"".join(map(encode, without_loads))
    illegal_at = -(-program.dram_bytes // 64) * 64
    deadlock_at = illegal_at + -(-len(illegal) // 64) * 64
    image = np.zeros(deadlock_at + len(deadlock), np.uint8)
    write_inputs(program, {"A": a, "B": b}, image)
    for address, code in ((illegal_at, illegal), (deadlock_at, deadlock)):
        image[address : address + len(code)] = np.frombuffer(code, np.uint8)
    expected = image.copy()
    reference = rtl.run(
        CONFIG, program.encode(), expected, program_address=program.layout.program_address
    )
    at = program.layout.program_address
    image[at : at + len(program.encode())] = np.frombuffer(program.encode(), np.uint8)
    return World(program, a, b, image, expected, reference, illegal_at, deadlock_at)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """The runtime and the example of the page, for this configuration."""
    folder = written(tmp_path_factory.mktemp("firmware"), CONFIG)
    example, *_ = re.findall(r"```c\n(.*?)```", PAGE.read_text(), re.S)
    (folder / "example.c").write_text(example)
    return shared_library(folder, folder / "example.c", folder / "cdmqta.c")


def request(world: World, folder: Path) -> Request:
    """Return what the bench is built of; the programs are the firmware's."""
    timing = DramTiming.of(CONFIG)
    return Request(
        config=CONFIG, image=folder / "dram.npy", programs=(), reset=False, watchdog=0,
        noise_seed=0, latency=timing.latency, bytes_per_cycle=timing.bytes_per_cycle,
        stalls=Stalls(), faults=(), seed=0, max_cycles=None, quiet_cycles=0, check_protocol=True,
        timeline=False, reply=folder / "reply.json", progress=folder / "progress",
    )  # fmt: skip


def drive(
    world: World, library: Path, folder: Path, *steps: list[Any]
) -> tuple[list[dict], np.ndarray]:
    """Return what came of each step, and DRAM after the last."""
    simulation: Simulation = build(CONFIG)
    asked = request(world, folder)
    np.save(asked.image, world.image)
    asked.write(folder / "request.json")
    (folder / "steps.json").write_text(json.dumps({"library": str(library), "steps": steps}))
    log = simulation.run(
        "tests.system.firmware_bench",
        folder=folder,
        environment={
            REQUEST_VARIABLE: str(folder / "request.json"),
            STEPS_VARIABLE: str(folder / "steps.json"),
        },
    )
    assert asked.reply.exists(), tail(log)
    return json.loads(asked.reply.read_text()), np.load(asked.image)


def test_runs_as_under_the_driver(world, library, tmp_path):
    """Interrupt and polling: same results, same counters, all of them."""
    done, image = drive(
        world, library, tmp_path,
        ["init"], ["run", *world.good], ["registers", Register.WATCHDOG, Register.SEED],
        ["poll", *world.good], ["overlap", *world.good], ["example", *world.good[:2]],
    )  # fmt: skip
    init, run, registers, poll, overlap, example = done
    assert (init["result"], init["status"], init["calls"]["reads"]) == ("OK", 0, 2)
    assert np.array_equal(image, world.expected), "every byte of DRAM"
    output = world.program.outputs["C"]
    sums = output.window(image).T if output.transposed else output.window(image)
    assert np.array_equal(sums, world.a.astype(np.int32) @ world.b)
    for each in (run, poll, overlap, example):
        assert each["counters"] == world.reference.counters
        assert (each["status"], each["error"], each["line"]) == (Status.DONE, "NONE", False)
        assert each["calls"]["barriers"] == 2, "before the start and after the end"
    for each in (run, poll, example):
        assert each["result"] == "OK"
    assert (run["calls"]["waits"], run["interrupted"]) == (1, True)
    assert registers["values"] == [LIMIT, SEED]
    assert (poll["calls"]["waits"], poll["interrupted"]) == (0, False), "the line stays low"
    assert poll["calls"]["reads"] > run["calls"]["reads"] + 100
    assert example["cycles"] == world.reference.counters["cycles"]
    assert overlap["results"] == ["OK", "BUSY", "OK"] and overlap["pending"]
    seen = overlap["seen"]
    assert seen == sorted(set(seen)) and 0 < seen[0] < seen[-1] < example["cycles"]


def test_errors_and_resets(world, library, tmp_path):
    """An error is told by its name and place; a reset makes the machine fit for work."""
    deadlock = [world.deadlock, len(world.program.instructions), LIMIT, SEED]
    done, image = drive(
        world, library, tmp_path,
        ["run", world.illegal, 3, LIMIT, SEED], ["run", *world.good], ["reset", 1000],
        ["run", world.good[0], 2, LIMIT, SEED], ["reset", 0],
        ["run", *deadlock], ["reset", 1000],
        ["run", world.good[0] + 4, *world.good[1:]], ["run", world.good[0], (1 << 24) + 9, 0, 0],
        ["run", 1 << 32, 1, 0, 0],
        ["run", *world.good],
    )  # fmt: skip
    illegal, refused, reset, short, _, stuck, again, *bad, good = done
    assert (illegal["result"], illegal["error"]) == ("STOPPED", "ILLEGAL_INSTRUCTION")
    assert (illegal["error_instruction"], illegal["interrupted"]) == (1, True)
    assert not illegal["line"], "acknowledged"
    assert (refused["result"], refused["error"]) == ("NEEDS_RESET", "ILLEGAL_INSTRUCTION")
    assert refused["calls"]["writes"] == 0
    for each in (reset, again):
        assert (each["result"], each["status"], each["error"]) == ("OK", 0, "NONE")
    assert (short["result"], short["error"]) == ("STOPPED", "PROGRAM_END")
    assert short["error_instruction"] == 2
    assert (stuck["result"], stuck["error"]) == ("STOPPED", "TOKEN_DEADLOCK")
    assert stuck["waiting"] == 1 << waiting_bit(Engine.EXECUTE, Engine.LOAD)
    assert [each["result"] for each in bad] == ["BAD_PROGRAM"] * 3
    assert all(each["status"] == 0 for each in bad), "nothing has begun"
    assert (good["result"], good["status"]) == ("OK", Status.DONE)
    assert good["counters"] == world.reference.counters
    assert np.array_equal(image, world.expected)
