"""Products of any size on the functional backend = numpy; the operands as files may hold them."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import Load, Memory
from hw.isa.numerics import encode_scale, multiplier, noise, requantise, requantise8, stochastic8
from sw.driver import Device
from sw.gemm import compile_gemm, run_gemm, run_gemm_program
from sw.place import PlacementError
from sw.quantise import Group, fresh_scales
from sw.tile import TileError

CONFIGS = [
    Config(rows=2, columns=3), Config(rows=3, columns=2), Config(), Config(rows=5, columns=8),
    Config.preset("small"), Config(rows=3, columns=4, macs_per_element=4, bus_bytes=16),
    Config(rows=4, columns=3, macs_per_element=2),
]  # fmt: skip
NAMES = [f"{c.rows}x{c.columns}x{c.macs_per_element}" for c in CONFIGS]


def operands(seed: int, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random int8 matrices, -128 included."""
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)


def exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product in int64."""
    return a.astype(np.int64) @ b.astype(np.int64)


def sizes(seed: int) -> tuple[int, int, int]:
    """Return sizes of which some are 1, some prime, some larger than memory halves."""
    rng = random.Random(seed)
    return tuple(rng.choice([1, 2, 3, 5, 7, 11, 16, 31, 64, 73, 100]) for _ in range(3))


@pytest.mark.parametrize("dataflow", ["ws", "os", "auto"])
@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("seed", range(8))
def test_random_products(config, dataflow, seed):
    a, b = operands(seed, *sizes(seed))
    result = run_gemm(Device(config), a, b, dataflow=dataflow)
    assert result.c.dtype == np.int32 and result.scales is None
    assert np.array_equal(result.c, exact(a, b))
    (product,) = result.programs[0].products
    assert dataflow in (product.dataflow, "auto")
    assert product.macs == result.results[0].counters["macs"] == a.size * b.shape[1]


@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("shape", [(13, 29, 10), (70, 9, 75)], ids=str)
def test_operands_lie_as_they_are_given_seed_1(config, dataflow, transpose_a, transpose_b, shape):
    a, b = operands(1, *shape)
    result = run_gemm(
        Device(config), a.T if transpose_a else a, b.T if transpose_b else b,
        dataflow=dataflow, transpose_a=transpose_a, transpose_b=transpose_b,
    )  # fmt: skip
    assert np.array_equal(result.c, exact(a, b))
    (program,) = result.programs
    lie = {buffer.name: (buffer.rows, buffer.columns) for buffer in program.buffers}
    assert lie["A"] == (a.T if transpose_a else a).shape and set(lie) == {"A", "B", "C"}
    left, right = transpose_a, transpose_b
    if program.products[0].swapped:
        left, right = not transpose_b, not transpose_a
    wanted = {Memory.INPUT: left is (dataflow == "ws"), Memory.WEIGHT: right}
    for each in program.instructions:
        if isinstance(each, Load):
            assert each.transpose == wanted[each.memory]


@pytest.mark.parametrize("group", Group)
@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 20, 5), (70, 9, 75)], ids=str)
def test_requantised_products_seed_2(config, dataflow, group, shape):
    a, b = operands(2, *shape)
    a[0] = 0  # a row of maximum 0
    result = run_gemm(Device(config), a, b, dataflow=dataflow, requantise=group)
    sums = exact(a, b)
    maxima = np.abs(sums).max(axis=group.axes, keepdims=True)
    assert result.c.dtype == np.int8
    assert np.array_equal(result.scales, maxima.ravel() / 127)
    entries = fresh_scales(maxima).reshape(maxima.shape)
    m, s = entries & 0xFFFF, (entries >> 16).astype(np.uint8).view(np.int8)
    m, s = np.broadcast_to(m, sums.shape), np.broadcast_to(s, sums.shape)
    expected = [requantise8(*each) for each in zip(sums.ravel().tolist(), m.ravel().tolist(),
                s.ravel().tolist(), strict=True)]  # fmt: skip
    assert result.c.ravel().tolist() == expected
    assert np.array_equal(result.maxima, maxima.ravel())
    assert len(result.programs) == len(result.results) == 1


@pytest.mark.parametrize("group", Group)
@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_delayed_scales_are_those_of_the_step_before_seed_6(config, dataflow, group):
    """One pass: maxima of one step times the margin scale the next; what is beyond is counted."""
    device, margin = Device(config), Fraction(5, 4)
    a, b = operands(6, 33, 20, 41)
    a[2] = 0
    before = run_gemm(device, (a // 2), b, dataflow=dataflow, requantise=group)
    result = run_gemm(
        device, a, b, dataflow=dataflow, requantise=group, scaling="delayed",
        maxima=before.maxima, margin=margin,
    )  # fmt: skip
    sums = exact(a, b)
    shape = {Group.ROW: (-1, 1), Group.COLUMN: (1, -1), Group.TENSOR: (1, 1)}[group]
    tops = np.broadcast_to(before.maxima.reshape(shape), sums.shape)
    free = [
        requantise(acc, *multiplier(127 / (margin * top) if top else Fraction(0)), -(1 << 40),
                   1 << 40)
        for acc, top in zip(sums.ravel().tolist(), tops.ravel().tolist(), strict=True)
    ]  # fmt: skip
    assert result.c.ravel().tolist() == np.clip(free, -127, 127).tolist()
    beyond = int((np.abs(free) > 127).sum())
    assert beyond > 0 and result.results[0].counters["saturations"] == beyond
    assert np.array_equal(result.maxima, np.abs(sums).max(axis=group.axes).ravel())
    assert np.array_equal(result.scales, before.maxima * 1.25 / 127)


@pytest.mark.parametrize("scaling", ["fresh", "delayed"])
@pytest.mark.parametrize("group", Group)
def test_stochastic_rounding_is_the_same_for_every_tiling_and_dataflow_seed_7(group, scaling):
    a, b = operands(7, 45, 19, 38)
    sums, options = exact(a, b), {}
    tops = np.abs(sums).max(axis=group.axes)
    if scaling == "delayed":
        options["maxima"] = tops.astype(np.uint32).ravel()
    tops = np.broadcast_to(np.abs(sums).max(axis=group.axes, keepdims=True), sums.shape)
    for seed in (0, 0xDEADBEEF):
        expected = [
            [stochastic8(acc, *multiplier(Fraction(127, top)), noise(seed, row, column))
             for column, (acc, top) in enumerate(zip(*both, strict=True))]
            for row, both in enumerate(zip(sums.tolist(), tops.tolist(), strict=True))
        ]  # fmt: skip
        for config in CONFIGS:
            for dataflow in ("ws", "os", "auto"):
                result = run_gemm(
                    Device(config), a, b, dataflow=dataflow, requantise=group, scaling=scaling,
                    rounding="stochastic", noise_seed=seed, **options,
                )  # fmt: skip
                assert result.c.tolist() == expected, (config.rows, dataflow)


def test_sums_that_do_not_stay_are_computed_again():
    """A scale for all of a matrix that the output memory holds, and of one that it does not."""
    counts = {}
    for shape in ((16, 8, 20), (40, 8, 40)):
        a, b = operands(8, *shape)
        result = run_gemm(Device(CONFIGS[2]), a, b, requantise="tensor")
        counts[shape] = result.results[0].counters["macs"] // (a.size * b.shape[1])
        assert result.maxima.tolist() == [np.abs(exact(a, b)).max()]
    assert list(counts.values()) == [1, 2]


def test_extremes():
    device = Device(CONFIGS[2])
    a = np.full((3, 1000), -128, np.int8)
    assert (run_gemm(device, a, a.T.copy()).c == 1000 << 14).all()
    deep = np.full((1, 70_000), -128, np.int8)
    result = run_gemm(Device(Config.preset("paper")), deep, deep.T.copy())
    assert result.c.tolist() == [[70_000 << 14]]


def test_the_longest_reduction_needs_31_bits():
    deep = np.full((1, 131_071), -128, np.int8)
    result = run_gemm(Device(Config.preset("small")), deep, deep.T.copy(), dataflow="os")
    assert result.c.tolist() == [[131_071 << 14]]


def test_one_program_serves_many_inputs():
    config = CONFIGS[3]
    (program,) = compile_gemm(config, 9, 10, 11, requantise="row")
    device = Device(config)
    for seed in range(3):
        a, b = operands(seed, 9, 10, 11)
        alone = run_gemm(device, a, b, requantise="row")
        again = run_gemm_program(device, program, a, b)
        assert np.array_equal(alone.c, again.c) and np.array_equal(alone.scales, again.scales)


def test_operands_that_stay_are_loaded_once():
    """Traffic of a product with everything resident: operands, result, program, nothing twice."""
    config = Config.preset("paper")
    a, b = operands(3, 77, 768, 320)
    result = run_gemm(Device(config), a, b)
    code = -(-len(result.programs[0].instructions) // 2) * 64
    counters = result.results[0].counters
    assert counters["dram_read_bytes"] == 77 * 768 + 768 * 320 + code
    assert counters["dram_write_bytes"] == 77 * 320 * 4


def test_tensor_scale_is_one_entry_for_all_rows():
    a, b = operands(4, 5, 6, 7)
    top = int(np.abs(exact(a, b)).max())
    result = run_gemm(Device(CONFIGS[0]), a, b, requantise="tensor")
    assert result.scales.tolist() == [top / 127]
    assert fresh_scales(np.array([top])).tolist() == [encode_scale(*multiplier(Fraction(127, top)))]


def test_errors_name_what_is_wrong():
    device = Device(CONFIGS[2])
    a, b = operands(5, 3, 4, 5)
    with pytest.raises(
        ValueError, match=r"^A is 3x4 and B is 5x4: K must be the same, not 4 and 5$"
    ):
        run_gemm(device, a, b.T)
    with pytest.raises(ValueError, match=r"^B must be a matrix, not of shape \(4,\)$"):
        run_gemm(device, a, b[:, 0])
    with pytest.raises(ValueError, match=r"^input 'A' must be int8, not int64$"):
        run_gemm(device, a.astype(np.int64), b)
    with pytest.raises(ValueError, match=r"^K must be at least 1, not 0$"):
        compile_gemm(device.config, 3, 0, 5)
    with pytest.raises(ValueError, match=r"^'pair' is not a valid Group$"):
        compile_gemm(device.config, 3, 4, 5, requantise="pair")
    with pytest.raises(ValueError, match=r"^dataflow must be one of auto\|ws\|os, not 'both'$"):
        compile_gemm(device.config, 3, 4, 5, dataflow="both")
    with pytest.raises(
        ValueError, match=r"^rounding must be one of nearest\|stochastic, not 'up'$"
    ):
        compile_gemm(device.config, 3, 4, 5, requantise="row", rounding="up")
    with pytest.raises(ValueError, match=r"^scaling delayed needs requantise: int32 sums are"):
        compile_gemm(device.config, 3, 4, 5, scaling="delayed")
    old = np.ones(3, np.uint32)
    delayed = {"requantise": "row", "scaling": "delayed"}
    with pytest.raises(ValueError, match=r"^delayed scaling needs the maxima of an earlier step$"):
        run_gemm(device, a, b, **delayed)
    with pytest.raises(ValueError, match=r"^maxima of an earlier step are for delayed scaling"):
        run_gemm(device, a, b, maxima=old)
    with pytest.raises(ValueError, match=r"^margin must be above 0, not 0$"):
        run_gemm(device, a, b, **delayed, maxima=old, margin=0)
    with pytest.raises(ValueError, match=r"^the maxima must be uint32 of shape 3, not uint32 4$"):
        run_gemm(device, a, b, **delayed, maxima=np.ones(4, np.uint32))
    with pytest.raises(PlacementError, match=r"address_bits 16 reach 65536$"):
        compile_gemm(Config(address_bits=16), 300, 300, 3)
    with pytest.raises(TileError, match=r"^a reduction of 200000 could leave int32"):
        compile_gemm(device.config, 1, 200_000, 1)


def test_auto_falls_back_to_the_dataflow_that_fits():
    config = Config(rows=4, columns=4, bus_bytes=128, input_depth=32)
    with pytest.raises(TileError, match="input memory, which has 64$"):
        compile_gemm(config, 200, 200, 4, dataflow="os")
    (program,) = compile_gemm(config, 200, 200, 4)
    assert program.products[0].dataflow == "ws"
