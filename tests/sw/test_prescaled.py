"""Columns scaled on the chip: programs of every shape against the definition, by element."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import Load, Memory
from hw.isa.numerics import (
    decode_scale,
    encode_scale,
    fresh_entry,
    multiplier,
    requantise8,
    requantise32,
)
from sim.activity import activity
from sim.axi import Stalls
from sim.timing.model import run
from sw.driver import Device
from sw.gemm import compile_gemm
from sw.image import InputError
from sw.prescaled import compile_prescaled, diagonal, diagonal_columns
from sw.program import Program
from sw.rescaled import compile_rescaled
from sw.tile import TileError

CONFIGS = {
    "4x4": Config(),
    "wide bus": Config(bus_bytes=32, input_depth=256, weight_depth=256, output_depth=256),
    "2x3": Config(rows=2, columns=3),
    "5x8 OS": Config(rows=5, columns=8, weight_stationary=0),
    "8x4 WS": Config(rows=8, columns=4, output_stationary=0),
    "4 MACs": Config(rows=3, columns=4, macs_per_element=4, bus_bytes=16),
    "small": Config.preset("small"),
}
SHAPES = [(1, 1), (9, 13), (33, 40), (70, 21)]
EXPERTS = 3
PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def table(seed: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return entries of all experts, uint32 (EXPERTS, k), and signs of each, int8."""
    rng = np.random.default_rng(seed)
    ratios = [[Fraction(int(value), 1000) for value in row]
              for row in rng.integers(0, 65_536_000, (EXPERTS, k))]  # fmt: skip
    entries = [[encode_scale(*multiplier(value)) for value in row] for row in ratios]
    signs = rng.choice(np.array([-1, 1], np.int8), (EXPERTS, k))
    return np.array(entries, np.uint32), signs


def expected(x: np.ndarray, entries: np.ndarray, signs: np.ndarray) -> tuple[list, list]:
    """Return P and maxima, one element after the other."""
    scales = [decode_scale(int(entry)) for entry in entries]
    copies, maxima = [], []
    for row in x.tolist():
        sums = [
            requantise32(value * int(sign), *scale)
            for value, sign, scale in zip(row, signs, scales, strict=True)
        ]
        maxima.append(max(map(abs, sums)))
        fresh = decode_scale(fresh_entry(maxima[-1]))
        copies.append([requantise8(value, *fresh) for value in sums])
    return copies, maxima


def inputs(config: Config, seed: int, m: int, k: int, expert: int) -> tuple[dict, tuple]:
    """Return a program's inputs, and what comes out."""
    x = np.random.default_rng(seed).integers(-127, 128, (m, k), np.int8)
    entries, signs = table(seed, k)
    given = {"X": x, "signs": diagonal(config, signs[expert]), "scales": entries}
    return given, expected(x, entries[expert], signs[expert])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_with_a_diagonal(name, shape):
    config, expert = CONFIGS[name], sum(shape) % EXPERTS
    program = compile_prescaled(config, *shape, experts=EXPERTS, expert=expert)
    given, (copy, maxima) = inputs(config, sum(shape), *shape, expert)
    found = Device(config).run(program, given).outputs
    assert found["P"].tolist() == copy
    assert found["maxima"].tolist() == [maxima]


def test_what_does_not_fit_is_computed_again():
    """Sums of all columns of X are needed when the maxima of its rows are known."""
    config = Config(output_depth=32, input_depth=128)
    given, (copy, _) = inputs(config, 3, 20, 60, 1)
    programs = [compile_prescaled(each, 20, 60, experts=EXPERTS, expert=1)
                for each in (Config(), config)]  # fmt: skip
    assert len(programs[1].instructions) > len(programs[0].instructions)
    assert Device(config).run(programs[1], given).outputs["P"].tolist() == copy


def tables_loaded(program: Program) -> list[int]:
    """Return where the scales that a program loads lie in their buffer."""
    start = program.layout["scales"].address
    loads = (each for each in program.instructions if isinstance(each, Load))
    return [each.dram - start for each in loads if each.memory == Memory.ROW_SCALE]


def test_an_expert_is_an_address():
    config = Config()
    first, last = (compile_prescaled(config, 9, 13, experts=3, expert=each) for each in (0, 2))
    step = first.layout["scales"].pitch
    assert [place + 2 * step for place in tables_loaded(first)] == tables_loaded(last)
    assert len(first.instructions) == len(last.instructions)


@pytest.mark.parametrize("stall", [0.0, 0.2])
def test_rtl(stall):
    config = Config.preset("tiny")
    program = compile_prescaled(config, 9, 13, experts=EXPERTS, expert=2)
    given, (copy, maxima) = inputs(config, 5, 9, 13, 2)
    options = {"stalls": Stalls.everywhere(stall), "seed": 1, "check_protocol": True}
    found = Device(config, "rtl", None, options).run(program, given).outputs
    assert found["P"].tolist() == copy and found["maxima"].tolist() == [maxima]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"m": 0}, "^M must be at least 1, not 0$"),
        ({"experts": 0}, "^experts must be at least 1, not 0$"),
        ({"expert": 3}, "^expert must be from 0 to 2, not 3$"),
    ],
)
def test_bad_arguments(changes, message):
    arguments = {"m": 4, "k": 4, "experts": 3} | changes
    with pytest.raises(ValueError, match=message):
        compile_prescaled(Config(), **arguments)


def test_a_memory_that_is_too_small():
    config = Config(rows=16, columns=4, output_depth=16, bus_bytes=64, weight_depth=512)
    with pytest.raises(TileError, match="^columns of 200x100 cannot be scaled: 64 at a time take"):
        compile_prescaled(config, 200, 100)


@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 13, 11), (20, 33, 70)], ids=str)
def test_packed_weights_give_the_same_product(name, shape, transpose_b):
    """In half the beats of the bus, where rows are long."""
    config, (m, k, n) = CONFIGS[name], shape
    rng = np.random.default_rng(m)
    a, b = rng.integers(-127, 128, (m, k), np.int8), rng.integers(-8, 8, (k, n), np.int8)
    given = {"A": a, "B": b, "unit_scales": np.full((1, m), encode_scale(1 << 15, 15), np.uint32)}
    plain, packed = (
        compile_rescaled(config, *shape, weight_bits=bits, transpose_b=bits == 4 and transpose_b)
        for bits in (8, 4)
    )
    other = given | {"B": b.T if transpose_b else b}
    outputs = [Device(config).run(plain, given).outputs, Device(config).run(packed, other).outputs]
    for name, value in outputs[0].items():
        assert np.array_equal(outputs[1][name], value), name
    assert np.array_equal(outputs[1]["C"], a.astype(np.int64) @ b)
    row = -(-(k if transpose_b else n) // 2)
    assert packed.layout["B"].pitch == -(-row // config.bus_bytes) * config.bus_bytes
    loads = [each for each in packed.instructions if isinstance(each, Load)]
    assert {each.packed for each in loads if each.memory == Memory.WEIGHT} == {1}


def test_the_page_has_what_four_bits_take_on_the_large_array():
    config = Config.preset("paper")
    seen = {}
    for bits, lies in ((8, False), (8, True), (4, False), (4, True)):
        program = compile_rescaled(config, 77, 768, 320, weight_bits=bits, transpose_b=lies)
        result = run(config, program.encode(), program_address=program.layout.program_address)
        seen[bits, lies] = result.counters["cycles"], result.counters["dram_read_bytes"]
    page = PAGE.read_text(encoding="utf-8")
    row = "| {} bits{} | {:,} | {:,} |"
    for (bits, lies), figures in seen.items():
        assert row.format(bits, ", transposed" if lies else "", *figures) in page


@pytest.mark.parametrize(
    "work, times, program",
    [
        ("both scales' dot products, of 12 + 5 arrays of columns", 17,
         lambda config: compile_gemm(config, 64, 77, 64)[0]),
        ("for comparison, the gradient of a weight, X^T.dY", 1,
         lambda config: compile_gemm(config, 768, 77, 320)[0]),
        ("`X o d_in` by a diagonal, with its row copy", 1,
         lambda config: compile_prescaled(config, 77, 768)),
        ("`dY o d_out` by a diagonal, with its row copy", 1,
         lambda config: compile_prescaled(config, 77, 320)),
    ],
)  # fmt: skip
def test_the_page_has_what_scales_take_on_the_large_array(work, times, program):
    config = Config.preset("paper")
    made = program(config)
    counters = run(config, made.encode(), program_address=made.layout.program_address).counters
    events = activity(config, made.instructions)
    folds, waves = events.folds_ws + events.folds_os, counters["array_fed"]
    figures = [times, *(times * each for each in (folds, waves, counters["cycles"]))]
    row = " | ".join(f"{each:,}" for each in figures)
    assert f"| {work} | {row} |" in PAGE.read_text(encoding="utf-8")


def test_values_that_four_bits_do_not_hold():
    config = Config()
    program = compile_rescaled(config, 2, 3, 4, weight_bits=4)
    given = {"A": np.zeros((2, 3), np.int8), "B": np.full((3, 4), 8, np.int8),
             "unit_scales": np.zeros((1, 2), np.uint32)}  # fmt: skip
    with pytest.raises(InputError, match="^input 'B' must be from -8 to 7: it lies in memory"):
        Device(config).run(program, given)


def test_other_bits_are_refused():
    with pytest.raises(ValueError, match="^weight_bits must be 4 or 8, not 2$"):
        compile_rescaled(Config(), 2, 3, 4, weight_bits=2)


def test_the_diagonal_lies_in_tiles_below_one_another():
    config = Config(rows=2, columns=3, bus_bytes=4)
    found = diagonal(config, np.array([1, -1, 1, 1, -1], np.int8))
    assert diagonal_columns(config) == 4
    assert found.tolist() == [
        [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [-1, 0, 0, 0],
    ]  # fmt: skip
