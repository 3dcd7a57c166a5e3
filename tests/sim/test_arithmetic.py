"""Rung of the ladder of truth: the functional model's arithmetic = hw.isa.numerics, bit for bit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hw.isa import numerics
from sim.arithmetic import (
    decode_scales,
    magnitudes,
    matmul,
    requantise,
    requantise8,
    scale_accumulate,
)

SUMS = [0, 1, -1, 2, -2, 127, -128, 1 << 15, -(1 << 15), 1 << 30, -(1 << 30),
        numerics.INT32_MAX, numerics.INT32_MIN, numerics.INT32_MIN + 1]  # fmt: skip
MULTIPLIERS = [0, 1, 2, 3, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, (1 << 16) - 1]


def cases(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return int32 sums and uint32 entries: all combinations of extremes, ties, random ones."""
    rng = random.Random(seed)
    rows = [(a, m | (s & 0xFF) << 16) for a in SUMS for m in MULTIPLIERS for s in range(-128, 128)]
    for s in range(1, 40):
        tie = rng.randint(-100, 100) << max(s - 16, 0)
        rows += [(tie, 1 << 15 | s << 16), (-tie, 1 << 15 | s << 16), (2 * tie + 1, 1 | s << 16)]
    for _ in range(20_000):
        acc = rng.getrandbits(rng.randint(0, 31)) * rng.choice([-1, 1])
        rows.append((acc, rng.getrandbits(32)))
    acc, entries = zip(*rows, strict=True)
    return np.array(acc, np.int32), np.array(entries, np.uint32)


def test_scales_decode_as_the_contract_says():
    entries = np.array([rng << 24 | m | s << 16 for rng in (0, 255) for m in MULTIPLIERS
                        for s in range(256)], np.uint32)  # fmt: skip
    m, s = decode_scales(entries)
    expected = [numerics.decode_scale(entry) for entry in entries.tolist()]
    assert list(zip(m.tolist(), s.tolist(), strict=True)) == expected


@pytest.mark.parametrize("low,high", [(-127, 127), (numerics.INT32_MIN, numerics.INT32_MAX)])
def test_requantise_seed_1(low, high):
    acc, entries = cases(1)
    actual = requantise(acc, *decode_scales(entries), low, high).tolist()
    for a, entry, value in zip(acc.tolist(), entries.tolist(), actual, strict=True):
        m, s = numerics.decode_scale(entry)
        assert value == numerics.requantise(a, m, s, low, high), (a, m, s)


def test_requantise8_seed_2():
    acc, entries = cases(2)
    actual = requantise8(acc, *decode_scales(entries))
    assert actual.dtype == np.int8
    expected = [
        numerics.requantise8(a, *numerics.decode_scale(e))
        for a, e in zip(acc.tolist(), entries.tolist(), strict=True)
    ]
    assert actual.tolist() == expected


def test_scale_accumulate_seed_3():
    acc, entries = cases(3)
    rng = random.Random(33)
    totals = [rng.choice(SUMS) for _ in acc]
    actual, _ = scale_accumulate(np.array(totals, np.int32), acc, *decode_scales(entries))
    actual = actual.tolist()
    assert numerics.INT32_MAX in actual and numerics.INT32_MIN in actual
    for total, a, entry, value in zip(totals, acc.tolist(), entries.tolist(), actual, strict=True):
        expected = numerics.scale_accumulate(total, a, *numerics.decode_scale(entry))
        assert value == expected, (total, a, entry)


@pytest.mark.parametrize("k", [1, 7, 1024, 23_040])
def test_matmul_seed_4(k):
    rng = np.random.default_rng(4)
    left, right = (rng.integers(-128, 128, shape, np.int8) for shape in ((3, k), (k, 2)))
    expected = [[numerics.dot(row.tolist(), column.tolist()) for column in right.T] for row in left]
    assert matmul(left, right).tolist() == expected


def test_matmul_at_its_limits():
    k = numerics.MAX_REDUCTION
    least = np.full((1, k), -128, np.int8)
    assert matmul(least, least.T).tolist() == [[k << 14]]
    longer = np.full((1, k + 1), -128, np.int8)
    assert matmul(longer, longer.T).tolist() == [[-(1 << 31)]]  # modulo 2^32, as the adders


def test_magnitude_of_the_least_sum():
    assert magnitudes(np.array([numerics.INT32_MIN, -5, 5], np.int32)).tolist() == [1 << 31, 5, 5]
