"""Rung of the ladder of truth: the functional model's arithmetic = hw.isa.numerics, bit for bit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hw.isa import numerics
from sim.arithmetic import (
    decode_scales,
    fresh_entries,
    limit8,
    magnitudes,
    matmul,
    noise,
    requantise,
    requantise8,
    rescale_stochastic,
    scale_accumulate,
    update_entries,
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


def test_limit8_counts_what_it_changes():
    values, count = limit8(np.array([[-128, -127, 0], [127, 128, 1 << 62]]))
    assert values.dtype == np.int8 and count == 3
    assert values.tolist() == [[-127, -127, 0], [127, 127, 127]]


def test_noise_seed_5():
    rng = random.Random(5)
    rows = [0, 1, 65_535, 65_536, *(rng.getrandbits(17) for _ in range(12))]
    columns = [0, 2, 65_535, 65_537, *(rng.getrandbits(17) for _ in range(12))]
    for seed in [0, 1, 0xFFFF, 1 << 16, (1 << 32) - 1, *(rng.getrandbits(32) for _ in range(20))]:
        actual = noise(seed, np.array(rows)[:, None], np.array(columns))
        assert actual.dtype == np.uint32
        assert actual.tolist() == [[numerics.noise(seed, r, c) for c in columns] for r in rows]


def test_stochastic_rounding_seed_6():
    """Every shift, with extremes of sums, multipliers and random bits, and random ones."""
    rng = random.Random(6)
    bits = [0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
    rows = [
        (a, m, s, b)
        for s in range(numerics.SHIFT_MIN, numerics.SHIFT_MAX + 1)
        for a in [*SUMS, *(rng.getrandbits(31) for _ in range(3))]
        for m in MULTIPLIERS
        for b in [*bits, rng.getrandbits(32)]
    ]
    acc, m, s, drawn = (np.array(column) for column in zip(*rows, strict=True))
    exact = rescale_stochastic(acc.astype(np.int32), m, s, drawn.astype(np.uint32))
    actual, _ = limit8(exact)
    assert actual.tolist() == [numerics.stochastic8(*row) for row in rows]
    # The limit hides most of a large result: compare all of it too.
    sure = [(abs(a) * m << max(-s, 0)) + (b << max(s, 0) >> 32) >> max(s, 0) for a, m, s, b in rows]
    assert np.abs(exact).tolist() == sure


@pytest.mark.parametrize("factor", [0, 40_000, 40_000 | 0x7F << 16, 65_535 | 0x80 << 16, 7 << 16])
def test_entries_of_maxima_seed_7(factor):
    rng = random.Random(7)
    maxima = [0, 1, 127, 128, 130_049, 1 << 31, (1 << 32) - 1]
    maxima += [rng.getrandbits(rng.randint(1, 32)) for _ in range(300)] * 2
    given = np.array(maxima, np.uint32)
    fresh, update = fresh_entries(given), update_entries(given, factor)
    assert fresh.dtype == update.dtype == np.uint32
    assert fresh.tolist() == [numerics.fresh_entry(each) for each in maxima]
    assert update.tolist() == [numerics.update_entry(each, factor) for each in maxima]


def test_scale_accumulate_seed_3():
    acc, entries = cases(3)
    rng = random.Random(33)
    totals = [rng.choice(SUMS) for _ in acc]
    actual, limited = scale_accumulate(np.array(totals, np.int32), acc, *decode_scales(entries))
    actual = actual.tolist()
    assert numerics.INT32_MAX in actual and numerics.INT32_MIN in actual
    for total, a, entry, value in zip(totals, acc.tolist(), entries.tolist(), actual, strict=True):
        expected = numerics.scale_accumulate(total, a, *numerics.decode_scale(entry))
        assert value == expected, (total, a, entry)
    for total, a, entry, flag in zip(totals, acc.tolist(), entries.tolist(), limited, strict=True):
        m, s = numerics.decode_scale(entry)
        addend = numerics.requantise(a, m, s, -(1 << 80), 1 << 80)
        kept = numerics.clamp(addend, numerics.INT32_MIN, numerics.INT32_MAX)
        exact = total + kept
        assert flag == (kept != addend or numerics.wrap32(exact) != exact), (total, a, entry)


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
