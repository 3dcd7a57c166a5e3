"""The timing model against the RTL: every counter and every event, to the cycle."""

from __future__ import annotations

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import decode
from hw.isa.instructions import INSTRUCTION_BYTES, Instruction
from sim import rtl, timing
from sim.compare_events import first_difference
from sim.result import DramTiming, RunResult
from sw.demo import SHAPE
from sw.gemm import compile_gemm
from sw.layer import compile_layer
from sw.prescaled import compile_prescaled
from sw.program import Program
from sw.rescaled import compile_rescaled
from tests.bench.rates import PRODUCTS
from tests.marks import nightly

from .random_programs.draw import draw
from .random_programs.rungs import prepare

SEEDS = range(300)
DEFAULT = range(20)
"""Of the random programs, those that every run of the tests takes."""


def timings(config: Config) -> tuple[DramTiming, ...]:
    """Return several latencies and bandwidths; some share the bus out unevenly."""
    bus = config.bus_bytes
    return (
        DramTiming(1),
        DramTiming(60),
        DramTiming(7, 1.5 * bus),
        DramTiming(25, 0.75 * bus),
        DramTiming(3, bus / 3),
        DramTiming(140, 0.4 * bus),
        DramTiming(1200, bus / 20),
    )


def assert_equal(
    config: Config, program: bytes, image: np.ndarray, address: int, dram: DramTiming
) -> RunResult:
    """Run a program on both; fail with the first event that differs."""
    common = {"program_address": address, "timing": dram}
    found = timing.run(config, program, timeline=True, **common)
    expected = rtl.run(config, program, image, timeline=True, **common)
    difference = first_difference(expected, found, instructions(program))
    assert difference is None, difference
    jumped = timing.run(config, program, **common)
    assert jumped.counters == found.counters, "jumping changes nothing"
    return found


def instructions(program: bytes) -> list[Instruction]:
    size = INSTRUCTION_BYTES
    return [decode(program[at : at + size]) for at in range(0, len(program), size)]


def assert_case_equal(seed: int, choice: int, several: bool = False) -> None:
    ready = prepare(draw(seed, several=several))
    choices = timings(ready.layout.config)
    dram = choices[choice % len(choices)]
    place = ready.layout.program
    assert_equal(ready.layout.config, ready.code, ready.layout.image.copy(), place, dram)


@pytest.mark.parametrize("seed", DEFAULT)
def test_random_programs(seed: int) -> None:
    assert_case_equal(seed, seed)


@pytest.mark.parametrize("seed", [*range(8), *nightly(*range(8, 16))])
def test_random_programs_for_elements_of_several_products(seed: int) -> None:
    assert_case_equal(seed, seed, several=True)


@pytest.mark.nightly
@pytest.mark.parametrize("turn", [1, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_many_random_programs(seed: int, turn: int) -> None:
    assert_case_equal(seed, seed + turn)


def assert_program_equal(program: Program, dram: DramTiming) -> None:
    """Run a compiled program with a DRAM of zeros: no time depends on data."""
    image = np.zeros(program.dram_bytes, np.uint8)
    address = program.layout.program_address
    assert_equal(program.config, program.encode(), image, address, dram)


@pytest.mark.parametrize("dataflow", ["ws", "os", "auto"])
@pytest.mark.parametrize("shape", [(20, 33, 18), (5, 70, 40), (64, 16, 9)])
def test_products(shape: tuple[int, int, int], dataflow: str) -> None:
    config = Config.preset("small")
    choices = timings(config)
    (program,) = compile_gemm(config, *shape, dataflow=dataflow, requantise="row")
    assert_program_equal(program, choices[sum(shape) % len(choices)])


def test_a_bus_with_little_behind_it() -> None:
    """Budgets of the DRAM stay exact where a beat takes more than a thousand cycles."""
    config = Config.preset("small")
    (program,) = compile_gemm(config, 3, 5, 7)
    assert_program_equal(program, DramTiming(5, 0.0125))


@pytest.mark.nightly
def test_a_wide_bus_with_little_behind_it() -> None:
    config = Config(bus_bytes=128, burst_beats=32, input_depth=128)
    (program,) = compile_gemm(config, 9, 20, 7)
    assert_program_equal(program, DramTiming(5, 0.1))


@pytest.mark.parametrize("choice", range(3))
def test_a_site_on_a_small_array(choice: int) -> None:
    """All training products of a LoRA site, in one program."""
    config = Config.preset("small")
    layer = compile_layer(config, 20, 48, 32, 4, column_copies="rescaled")
    assert_program_equal(layer.program, timings(config)[choice])


@pytest.mark.parametrize("choice", range(3))
def test_packed_weights_and_scaled_columns(choice: int) -> None:
    """What a TuneQDM layer runs on a device."""
    config = Config.preset("small")
    dram = timings(config)[choice]
    for transpose_b in (False, True):
        program = compile_rescaled(config, 20, 33, 50, weight_bits=4, transpose_b=transpose_b)
        assert_program_equal(program, dram)
    assert_program_equal(compile_prescaled(config, 20, 33, experts=2, expert=1), dram)


PAPER = Config.preset("paper")


@pytest.mark.nightly
@pytest.mark.parametrize("dram", [DramTiming(1), DramTiming(60), DramTiming(60, 32.0)], ids=str)
def test_the_demo_on_64x64(dram: DramTiming) -> None:
    layer = compile_layer(PAPER, **SHAPE, column_copies="rescaled")
    assert_program_equal(layer.program, dram)


@pytest.mark.nightly
@pytest.mark.parametrize("dram", [DramTiming(1), DramTiming(60)], ids=str)
@pytest.mark.parametrize("objective", ["latency", "array"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_on_64x64(name: str, objective: str, dram: DramTiming) -> None:
    (program,) = compile_gemm(PAPER, *PRODUCTS[name], objective=objective)
    assert_program_equal(program, dram)
