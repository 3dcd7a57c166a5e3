"""Stochastic rounding in the functional model, and what its counters say was limited."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import (
    Dataflow,
    Execute,
    Format,
    Halt,
    Load,
    Memory,
    Store,
)
from hw.isa.numerics import (
    INT32_MAX,
    INT32_MIN,
    decode_scale,
    encode_scale,
    noise,
    requantise8,
    requantise32,
    scale_accumulate,
    stochastic8,
)

from .example import (
    COLUMN_SCALES,
    CONFIGS,
    OUT,
    ROW_SCALES,
    SCALES,
    Example,
    K,
    M,
    N,
    bytes_of,
    execute,
    put,
)

sizes = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")


FORMATS = {
    Format.INT8_ROW: lambda i, j: i,
    Format.INT8_COLUMN: lambda i, j: j,
    Format.INT8_ROW_COLUMN: lambda i, j: j,
    Format.INT8_TENSOR: lambda i, j: 0,
}
"""Which entry requantises the element of row i and column j."""


@sizes
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("seed", [0, 1, 0xFFFF_FFFF, 0x1234_5678])
def test_stochastic_store(config, format, seed):
    example = Example(config, Dataflow.WS, M, K, N, seed=21)
    example.entries[:] = (1 << 15) + np.arange(64) * 97 | 22 << 16
    if format is Format.INT8_ROW_COLUMN:
        example.entries[:] = (1 << 15) + np.arange(64) * 97 | 19 << 16
    put(example.dram, SCALES, example.entries[None], 0)
    store = replace(example.store, format=format, stochastic=1, row_scale=2, column_scale=1,
                    origin_row=65_533, origin_column=70)  # fmt: skip
    dram, _ = example.outcome(
        example.execute, store, load=(ROW_SCALES, COLUMN_SCALES), noise_seed=seed
    )
    scales = [decode_scale(int(entry)) for entry in example.entries]

    def element(i: int, j: int, rounded: bool = False) -> int:
        value = int(example.exact[i, j])
        if format is Format.INT8_ROW_COLUMN:
            value = requantise32(value, *scales[i])
        scale = scales[FORMATS[format](i, j)]
        bits = noise(seed, 65_533 + i, 70 + j)
        return requantise8(value, *scale) if rounded else stochastic8(value, *scale, bits)

    expected = [[element(i, j) for j in range(N)] for i in range(M)]
    assert bytes_of(dram) == expected
    assert expected != [[element(i, j, rounded=True) for j in range(N)] for i in range(M)]


def test_every_tiling_rounds_alike_seed_22():
    example = Example(CONFIGS[0], Dataflow.WS, M, K, N, seed=22)
    example.entries[:] = 1 << 15 | 21 << 16
    put(example.dram, SCALES, example.entries[None], 0)
    whole = replace(example.store, format=Format.INT8_TENSOR, stochastic=1, row_scale=2)
    first = replace(whole, rows=2)
    last = replace(whole, rows=3, base=whole.base + 2 * whole.row_stride, origin_row=2,
                   dram=whole.dram + 2 * whole.pitch, wait_execute=0)  # fmt: skip
    one, two = (
        example.outcome(example.execute, *stores, load=(ROW_SCALES,), noise_seed=5)[0]
        for stores in ([whole], [first, last])
    )
    other, _ = example.outcome(example.execute, whole, load=(ROW_SCALES,), noise_seed=6)
    assert bytes_of(one) == bytes_of(two) != bytes_of(other)


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_has_32_bits(seed):
    with pytest.raises(ValueError, match=f"noise_seed must be from 0 to 4294967295, not {seed}"):
        execute(Config(), [Halt()], noise_seed=seed)


@sizes
@pytest.mark.parametrize("stochastic", [0, 1])
@pytest.mark.parametrize("format", FORMATS)
def test_saturations_are_counted_seed_23(config, format, stochastic):
    """Shifts such that some elements reach the limit by themselves and some beyond it."""
    example = Example(config, Dataflow.WS, M, K, N, seed=23)
    example.entries[:] = 1 << 15 | np.arange(64) % 5 + 19 << 16
    if format is Format.INT8_ROW_COLUMN:
        example.entries[:] = 1 << 15 | np.arange(64) % 5 + 16 << 16
    put(example.dram, SCALES, example.entries[None], 0)
    store = replace(example.store, format=format, stochastic=stochastic, row_scale=2,
                    column_scale=1)  # fmt: skip
    _, result = example.outcome(
        example.execute, store, replace(store, wait_execute=0),
        load=(ROW_SCALES, COLUMN_SCALES),
    )  # fmt: skip
    scales = [decode_scale(int(entry)) for entry in example.entries]
    expected = 0
    for (i, j), value in np.ndenumerate(example.exact):
        m, s = scales[FORMATS[format](i, j)]
        value = int(value)
        if format is Format.INT8_ROW_COLUMN:
            value = requantise32(value, *scales[i])
        add = Fraction(noise(0, i, j), 1 << 32) if stochastic else Fraction(1, 2)
        expected += Fraction(abs(value) * m, 1 << s) + add >= 128
    assert 0 < expected < M * N
    assert result.counters["saturations"] == 2 * expected
    assert result.counters["accumulate_saturations"] == 0


def test_the_limit_itself_is_no_saturation():
    """Sums of 127, -127, 128 and -128 by 1, and -128 by 0."""
    config = Config()
    dram = np.zeros(0x1000, np.uint8)
    put(dram, 0, np.array([[127, -127, -128, -128]], np.int8), 8)
    put(dram, 64, np.diag([1, 1, 1, -1]).astype(np.int8), 8)
    put(dram, 128, np.array([[encode_scale(1 << 15, 15)]], np.uint32), 8)
    size = dict(rows=1, columns=4, row_stride=1, block_stride=1)
    program = [
        Load(memory=Memory.INPUT, dram=0, **size),
        Load(memory=Memory.WEIGHT, dram=64, pitch=8, **size | {"rows": 4}),
        Load(memory=Memory.ROW_SCALE, dram=128, **size, signal_execute=1),
        Execute(dataflow=Dataflow.WS, rows=1, reduction=4, columns=4, wait_load=1, signal_store=1,
                left_row_stride=1, left_block_stride=1, right_row_stride=1, right_block_stride=1,
                out_row_stride=1, out_block_stride=1),
        Store(format=Format.INT8_TENSOR, dram=OUT, wait_execute=1, **size),
        Halt(),
    ]  # fmt: skip
    image, result = execute(config, program, dram)
    assert image[OUT : OUT + 4].view("i1").tolist() == [127, -127, -127, 127]
    assert result.counters["saturations"] == 2


@sizes
@pytest.mark.parametrize("dataflow", Dataflow)
def test_accumulate_saturations_are_counted_once_a_fold_seed_24(config, dataflow):
    """Only columns inside the matrix count: the words of the right operand hold more of them."""
    example = Example(config, dataflow, M, K, N, seed=24)
    shifts = np.array([-16, -2, 0, 15, 30])
    for i, shift in enumerate(shifts):
        example.entries[3 + i] = encode_scale(40_000, int(shift))
    put(example.dram, SCALES, example.entries[None, 3:], 0)
    scaled = replace(example.execute, scale=1, scale_base=3, columns=N - 1, signal_store=0)
    last = replace(scaled, accumulate=1, wait_load=0, signal_store=1)
    dram, result = example.outcome(scaled, last, replace(example.store, columns=N - 1))
    fold, count = config.rows if dataflow is Dataflow.WS else K, 0
    for i, shift in enumerate(shifts.tolist()):
        for j in range(N - 1):
            total = 0
            for start in [*range(0, K, fold)] * 2:
                part = slice(start, start + fold)
                acc = int(example.left[i, part].astype(int) @ example.right[part, j].astype(int))
                value = Fraction(acc * 40_000) / Fraction(2) ** shift
                addend = requantise32(acc, 40_000, shift)
                count += abs(value - addend) > 1 or not INT32_MIN <= total + addend <= INT32_MAX
                total = scale_accumulate(total, acc, 40_000, shift)
            assert example.sums(dram)[i, j] == total
    assert result.counters["accumulate_saturations"] == count > 10
    assert result.counters["saturations"] == 0
