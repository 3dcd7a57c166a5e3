"""Counts of a program's events, against the RTL: its counters, and the enables of its memories."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute, Format, Halt, Instruction, Load, Memory, Store
from sim import functional, rtl
from sim.activity import Activity, activity
from sim.dram import AxiDram
from sim.machine import COUNTED
from sw.driver import Device
from sw.gemm import run_gemm
from tests.hw.machine import CODE, image, mixed_program
from tests.hw.taps import Taps
from tests.system.random_programs.draw import draw
from tests.system.random_programs.layout import Layout
from tests.system.random_programs.lower import lower
from tests.system.random_programs.rungs import prepare

from .tools import needs_verilator

COUNTERS = {
    "instructions": lambda a: a.instructions,
    "macs": lambda a: a.macs,
    "array_fed": lambda a: a.waves,
    "dram_read_bytes": lambda a: a.dram_read_bytes,
    "dram_write_bytes": lambda a: a.dram_write_bytes,
}
"""Counters of the RTL that do not depend on time, or on values, and what they count."""
WATCHED = (22, 78, 221)
"""Random programs that are short, and together reach every count."""


def counters(found: Activity) -> dict[str, int]:
    return {name: count(found) for name, count in COUNTERS.items()}


def accesses(config: Config, found: Activity) -> dict[str, int]:
    """Return what the taps count: of the output memory, which has a macro a column, macros."""
    names = ("input", "weight", "accumulate_scale", "row_scale", "column_scale", "row_maximum",
             "column_maximum", "transposer")  # fmt: skip
    counts = {
        f"{name}_{way}": getattr(found, f"{name}_{way}")
        for name in names
        for way in ("reads", "writes")
    }
    added = found.output_accumulations
    written = found.output_first_writes + added + found.output_forwards
    return counts | {
        "output_reads": config.columns * (found.output_reads + added),
        "output_writes": config.columns * written,
        "requantised": found.requantised,
        "folds_ws": found.folds_ws,
        "folds_os": found.folds_os,
    }


def check(config: Config, program: Sequence[Instruction], dram: np.ndarray, address: int) -> None:
    """Run on the plain form and compare every counter and every access of every memory."""
    code = b"".join(map(encode, program))
    dram[address : address + len(code)] = np.frombuffer(code, np.uint8)
    memory = AxiDram(dram, bus_bytes=config.bus_bytes, latency=5)
    seen, seen_counters = Taps(config).run(memory, address, len(program), tuple(COUNTERS))
    found = activity(config, program)
    assert seen_counters == counters(found)
    assert dict(seen) == accesses(config, found)


@pytest.mark.parametrize(
    ("rows", "columns", "bus", "shape"),
    [(2, 3, 8, (5, 7, 6)), (3, 2, 4, (4, 1, 5)), (4, 4, 16, (1, 9, 4)), (5, 2, 4, (11, 10, 3))],
)
def test_every_memory_of_the_rtl_is_accessed_as_often(rows, columns, bus, shape) -> None:
    """Both dataflows, tiles that leave over, sums added to, every format and axis."""
    config = Config(rows=rows, columns=columns, bus_bytes=bus)
    check(config, mixed_program(config, *shape), image(config, seed=rows), CODE)


@pytest.mark.parametrize("seed", WATCHED)
def test_random_programs_access_every_memory_as_often(seed: int) -> None:
    """Transposed loads, merged maxima, scales made on the chip."""
    ready = prepare(draw(seed))
    check(ready.layout.config, ready.program, ready.layout.image.copy(), ready.layout.program)


@pytest.mark.parametrize("seed", range(2))
def test_programs_for_elements_of_several_products_access_as_often(seed: int) -> None:
    ready = prepare(draw(seed, several=True))
    check(ready.layout.config, ready.program, ready.layout.image.copy(), ready.layout.program)


def test_the_random_programs_use_every_memory() -> None:
    total = Activity()
    for seed in WATCHED:
        case = draw(seed)
        layout = Layout.of(case)
        total += activity(layout.config, lower(case, layout))
    assert not [name for name, value in vars(total).items() if value == 0]


@needs_verilator
@pytest.mark.parametrize("seed", range(3))
def test_counters_of_random_programs_in_verilator(seed: int) -> None:
    assert_counters(seed)


@pytest.mark.nightly
@needs_verilator
@pytest.mark.parametrize("seed", range(300))
def test_counters_of_many_random_programs_in_verilator(seed: int) -> None:
    assert_counters(seed)


def assert_counters(seed: int) -> None:
    """Under the bus's own timing and stalls, which must not matter."""
    ready = prepare(draw(seed))
    case = ready.case
    result = ready.run(rtl.run, ready.layout.image.copy(), timing=case.timing, stalls=case.stalls)
    wanted = counters(activity(ready.layout.config, ready.program))
    assert {name: result.counters[name] for name in COUNTERS} == wanted


@needs_verilator
@pytest.mark.parametrize("preset", ["tiny", "small"])
@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_counters_of_a_product_in_verilator(preset: str, dataflow: str) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-127, 128, shape, dtype=np.int8) for shape in ((37, 50), (50, 21)))
    done = run_gemm(Device(Config.preset(preset), "rtl"), a, b, dataflow=dataflow)
    for program, result in zip(done.programs, done.results, strict=True):
        found = activity(program.config, program.instructions)
        assert {name: result.counters[name] for name in COUNTERS} == counters(found)
        assert (found.macs_ws > 0) == (dataflow == "ws")


@pytest.mark.parametrize("seed", range(8, 60))
def test_counters_of_the_functional_model(seed: int) -> None:
    ready = prepare(draw(seed))
    result = ready.run(functional.run, ready.layout.image.copy())
    found = counters(activity(ready.layout.config, ready.program))
    shared = set(COUNTED) & set(COUNTERS)
    assert len(shared) == 4
    assert {name: result.counters[name] for name in shared} == {n: found[n] for n in shared}


TINY = Config()
PRODUCT = {
    "rows": 5, "reduction": 9, "columns": 6, "left_row_stride": 1, "left_block_stride": 1,
    "right_row_stride": 1, "right_block_stride": 1, "out_row_stride": 1, "out_block_stride": 1,
}  # fmt: skip


def test_a_weight_stationary_product_by_hand() -> None:
    """5x9 by 9x6 on 4x4: two column blocks of three folds, each of five waves."""
    found = activity(TINY, [Execute(dataflow=Dataflow.WS, **PRODUCT)])
    assert found.macs_ws == 5 * 9 * 6 and found.macs_os == 0
    assert found.waves_ws == found.input_reads == 2 * 3 * 5
    assert found.weight_reads == 2 * 9 and found.folds_ws == 2 * 3
    assert found.output_first_writes == 2 * 5
    assert (found.output_accumulations, found.output_forwards) == (2 * 2 * 4, 2 * 2)


def test_an_output_stationary_product_by_hand() -> None:
    """Two row blocks by two column blocks of nine waves; each sum is written once."""
    execute = Execute(dataflow=Dataflow.OS, accumulate=1, scale=1, **PRODUCT)
    found = activity(TINY, [execute])
    assert found.macs_os == 5 * 9 * 6 and found.macs_ws == 0
    assert found.waves_os == found.input_reads == found.weight_reads == 2 * 2 * 9
    assert (found.folds_ws, found.folds_os) == (0, 2 * 2)
    assert (found.output_first_writes, found.output_accumulations) == (0, 2 * 5)
    assert found.output_forwards == 0
    assert (found.accumulate_scale_reads, found.scaled_sums) == (2 * 5, 5 * 6)


def test_sums_and_multiples_of_activities() -> None:
    program = mixed_program(TINY, 5, 7, 6)
    once, halt = activity(TINY, program), activity(TINY, [Halt()])
    assert once + once == 2 * once == once * 2
    assert once + Activity() == once != halt
    assert halt == Activity(instructions=1, dram_read_bytes=32)


def test_a_program_of_a_whole_network_takes_a_second() -> None:
    """100 000 instructions of a thousand shapes."""
    shapes = [
        (
            Load(memory=Memory.INPUT, dram=0, rows=1 + n, columns=64, row_stride=1),
            Execute(dataflow=Dataflow(n % 2), **(PRODUCT | {"rows": 1 + n})),
            Store(format=Format.INT32, dram=0, rows=1 + n, columns=4, row_stride=1, block_stride=1),
        )
        for n in range(333)
    ]
    program = [each for shape in shapes for each in shape] * 100
    started = time.perf_counter()
    found = activity(Config.preset("paper"), program)
    assert time.perf_counter() - started < 2
    assert found.instructions == len(program) > 99_000
    assert found.macs == 100 * sum(9 * 6 * (1 + n) for n in range(333))
