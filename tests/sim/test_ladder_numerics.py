"""Rung of the ladder of truth: hw.isa.numerics = torch golden numerics, bit for bit.

This is one of the few places that may import both.
"""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import torch

from hw.isa import numerics as isa
from tests.golden import numerics as golden

RUNG = "hw.isa.numerics = torch golden"
EXTREME_SUMS = [0, 1, -1, 2, -2, 127, -128, 32_767, 1 << 30, -(1 << 30),
                golden.INT32_MAX, golden.INT32_MIN, golden.INT32_MIN + 1]  # fmt: skip
EXTREME_MULTIPLIERS = [0, 1, 2, 3, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, (1 << 16) - 1]


def sums(rng: random.Random, count: int) -> list[int]:
    """Return sums whose magnitudes are spread evenly over all bit lengths."""
    return [rng.choice([-1, 1]) * rng.getrandbits(rng.randint(0, 31)) for _ in range(count)]


def cases(seed: int, count: int) -> list[tuple[int, int, int]]:
    """Return (acc, m, s): every combination of extremes, then random ones."""
    extremes = [
        (acc, m, s) for acc in EXTREME_SUMS for m in EXTREME_MULTIPLIERS for s in range(-40, 70, 3)
    ]
    rng = random.Random(seed)
    ties = [(rng.randint(-300, 300) << (s - 16), 1 << 15, s) for s in range(17, 38)]
    drawn = [(acc, rng.getrandbits(16), rng.randint(-20, 66)) for acc in sums(rng, count)]
    return extremes + ties + drawn


def columns(rows: list[tuple[int, int, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return acc, m, s as tensors of shape (1, len)."""
    acc, m, s = torch.tensor(rows)[:, :, None].unbind(1)
    return acc.T.to(torch.int32), m.T, s.T


def has_two_pairs(ratio: Fraction) -> bool:
    """Tell whether two (m, s) meet the page: m = 2^15, and m = 2^16 - 1 one shift further."""
    m, s = golden.multiplier(ratio)
    return m == (1 << 16) - 1 and ratio * Fraction(2) ** s >= m


def assert_rung(function: str, inputs: list, expected: list, actual: list) -> None:
    """Assert equality; name the rung, the function and the first input that differs."""
    wrong = [item for item in zip(inputs, expected, actual, strict=True) if item[1] != item[2]]
    assert not wrong, (
        f"rung '{RUNG}' broke in {function}: {len(wrong)} of {len(inputs)} differ; first "
        f"(input, golden, isa) = {wrong[0]}"
    )


@pytest.mark.parametrize("k", [1, 2, 63, 64, 65, 320, 23_040])
def test_dot_seed_1(k):
    rng = random.Random(1)
    vectors = [[rng.randint(-128, 127) for _ in range(k)] for _ in range(2)]
    pairs = [tuple(vectors), ([-127] * k, [127] * k), ([-128] * k, [-128] * k)]
    expected = [
        int(golden.gemm(torch.tensor([a], dtype=torch.int8), torch.tensor([b], dtype=torch.int8).T))
        for a, b in pairs
    ]
    actual = [isa.dot(a, b) for a, b in pairs]
    assert_rung("dot", [f"K = {k}, pair {i}" for i in range(3)], expected, actual)


def test_longest_reduction():
    k = isa.MAX_REDUCTION
    left = torch.full((1, k), -128, dtype=torch.int8)
    actual = [isa.dot([-128] * k, [-128] * k)]
    assert_rung("dot", [f"K = {k}"], golden.gemm(left, left.T)[0].tolist(), actual)
    with pytest.raises(OverflowError):
        golden.gemm(torch.full((1, k + 1), -128, dtype=torch.int8), torch.full((k + 1, 1), -128,
                    dtype=torch.int8))  # fmt: skip


def ratios(seed: int) -> list[Fraction]:
    """Return fresh quantisations, powers of two and their neighbours, floats and gains."""
    rng = random.Random(seed)
    found = [Fraction(127, a) for a in range(1, 3000)]
    found += [Fraction(127, rng.getrandbits(rng.randint(1, 31)) + 1) for _ in range(3000)]
    found += [Fraction(rng.uniform(1e-6, 1e6)) for _ in range(1000)]
    found += [Fraction(2) ** e for e in range(-70, 40)]
    found += [Fraction(2) ** e + Fraction(sign, 1 << n)
              for e in range(0, 20) for n in range(10, 30) for sign in (-1, 1)]  # fmt: skip
    for _ in range(1000):
        a, b, w = (Fraction(rng.gauss(0, 1)) ** 2 for _ in range(3))
        found.append(a * b * rng.getrandbits(24) / (127 * 127 * w))
    return found


def test_multiplier_seed_2():
    inputs = [ratio for ratio in ratios(2) if not has_two_pairs(ratio)]
    assert len(inputs) > 8000
    expected = [golden.multiplier(ratio) for ratio in inputs]
    assert_rung("multiplier", inputs, expected, [isa.multiplier(ratio) for ratio in inputs])


def test_multiplier_of_ratios_with_two_pairs():
    """The page calls (m, s) unique; these ratios have two. The golden takes the larger shift."""
    inputs = [Fraction(127, a) for a in (130_049, 260_098, 260_099, 33_292_600)]
    inputs += [Fraction(65_535 * 8 + k, 1 << 19) for k in range(4)]
    assert all(has_two_pairs(ratio) for ratio in inputs)
    expected = [golden.multiplier(ratio) for ratio in inputs]
    assert_rung("multiplier", inputs, expected, [isa.multiplier(ratio) for ratio in inputs])


def test_multiplier_of_zero_and_negative():
    assert_rung("multiplier", [0], [golden.multiplier(127, 0)], [isa.multiplier(Fraction(0))])
    for multiplier in (golden.multiplier, isa.multiplier):
        with pytest.raises(ValueError, match="must not be negative"):
            multiplier(Fraction(-1, 2))


@pytest.mark.parametrize("low,high", [(-127, 127), (golden.INT32_MIN, golden.INT32_MAX), (-5, 3)])
def test_requantise_seed_3(low, high):
    inputs = cases(3, 5000)
    expected = golden.requantise(*columns(inputs), low, high)[0].tolist()
    assert_rung("requantise", inputs, expected, [isa.requantise(*c, low, high) for c in inputs])


def test_requantise8_seed_4():
    inputs = cases(4, 5000)
    expected = golden.requantise8(*columns(inputs))[0].tolist()
    assert_rung("requantise8", inputs, expected, [isa.requantise8(*case) for case in inputs])


def test_requantise32_seed_5():
    inputs = cases(5, 5000)
    expected = golden.requantise(*columns(inputs))[0].tolist()
    assert_rung("requantise32", inputs, expected, [isa.requantise32(*case) for case in inputs])


def test_scale_accumulate_seed_6():
    inputs = cases(6, 5000)
    rng = random.Random(66)
    totals = [rng.choice(EXTREME_SUMS) if rng.random() < 0.3 else t
              for t in sums(rng, len(inputs))]  # fmt: skip
    total = torch.tensor([totals], dtype=torch.int32)
    expected = golden.scale_accumulate(total, *columns(inputs))[0].tolist()
    actual = [isa.scale_accumulate(t, *case) for t, case in zip(totals, inputs, strict=True)]
    assert golden.INT32_MAX in expected and golden.INT32_MIN in expected
    assert_rung("scale_accumulate", list(zip(totals, inputs, strict=True)), expected, actual)


def test_scale_entries_lose_nothing_seed_7():
    """A multiplier through the hardware's 32-bit entry gives what its unclamped shift gives."""
    rng = random.Random(7)
    inputs = [
        (acc, rng.randint(1 << 15, (1 << 16) - 1), s)
        for s in range(-200, 200)
        for acc in [*EXTREME_SUMS, *sums(rng, 10)]
    ]
    expected = golden.requantise(*columns(inputs))[0].tolist()
    entries = [isa.decode_scale(isa.encode_scale(m, s)) for _, m, s in inputs]
    actual = [isa.requantise32(acc, *e) for (acc, _, _), e in zip(inputs, entries, strict=True)]
    assert_rung("encode_scale, decode_scale", inputs, expected, actual)


SEEDS = [0, 1, 0xFFFF, 1 << 16, 0xDEAD_BEEF, (1 << 32) - 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_seed_8(seed):
    rng = random.Random(8)
    places = [(r, c) for r in (0, 1, 65_535, 65_536) for c in (0, 2, 65_535, 65_537)]
    places += [(rng.getrandbits(16), rng.getrandbits(16)) for _ in range(2000)]
    rows, columns = torch.tensor(places).unbind(1)
    expected = golden.noise(seed, rows, columns).tolist()
    assert_rung("noise", places, expected, [isa.noise(seed, *place) for place in places])


def test_stochastic8_seed_9():
    rng = random.Random(9)
    inputs = [
        (acc, m, s, bits)
        for acc, m, s in cases(9, 5000)
        if isa.SHIFT_MIN <= s <= isa.SHIFT_MAX
        for bits in (0, 1 << 31, (1 << 32) - 1, rng.getrandbits(32))
    ]
    acc, m, s, bits = torch.tensor(inputs).unbind(1)
    expected = golden.stochastic8(acc.to(torch.int32), m, s, bits).tolist()
    actual = [isa.stochastic8(*case) for case in inputs]
    assert_rung("stochastic8", inputs, expected, actual)


def maxima(seed: int) -> list[int]:
    """Return extremes, ones of two pairs, and maxima spread evenly over all bit lengths."""
    rng = random.Random(seed)
    spread = [rng.getrandbits(rng.randint(1, 31)) for _ in range(4000)]
    return [0, 1, 127, 128, 130_049, 260_098, 260_099, 33_292_600, 1 << 31, *spread]


def test_fresh_entry_seed_10():
    inputs = maxima(10)
    expected = golden.fresh_entry(torch.tensor(inputs)).tolist()
    assert_rung("fresh_entry", inputs, expected, [isa.fresh_entry(each) for each in inputs])


def test_update_entry_seed_11():
    rng = random.Random(11)
    entries = [0, 1 << 15, (1 << 16) - 1, 1 << 15 | 0x7F << 16, (1 << 16) - 1 | 0x80 << 16]
    entries += [rng.randint(1 << 15, (1 << 16) - 1) | rng.getrandbits(8) << 16 for _ in range(30)]
    for entry in entries:
        inputs = [(each, entry) for each in maxima(entry)[:300]]
        expected = golden.update_entry(torch.tensor([each for each, _ in inputs]), entry).tolist()
        assert_rung("update_entry", inputs, expected, [isa.update_entry(*i) for i in inputs])


def test_encode_factor_seed_12():
    inputs = [ratio for ratio in ratios(12) if ratio]
    expected = [golden.factor_entry(ratio) for ratio in inputs]
    assert_rung("encode_factor", inputs, expected, [isa.encode_factor(ratio) for ratio in inputs])
    for ratio in (Fraction(2) ** -113, Fraction(2) ** 144):
        with pytest.raises(ValueError, match=r"must be 0 or from 2\^-112 to 2\^143"):
            isa.encode_factor(ratio)
        with pytest.raises(ValueError, match="must fit a signed byte"):
            golden.factor_entry(ratio)
