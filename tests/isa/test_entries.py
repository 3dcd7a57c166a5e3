"""Entries made on the chip, the noise and rounding by chance: extremes, against exact rationals."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from hw.isa.numerics import (
    INT32_MAX,
    INT32_MIN,
    decode_scale,
    encode_factor,
    encode_scale,
    fresh_entry,
    multiplier,
    noise,
    requantise8,
    stochastic8,
    update_entry,
)

LARGEST = 1 << 31
MAXIMA = [0, 1, 2, 126, 127, 128, 130_049, (1 << 16) - 1, 1 << 16, 65_537, INT32_MAX, LARGEST]


def value(entry: int) -> Fraction:
    """Return the ratio of a factor entry, its shift a signed byte."""
    s = (entry >> 16) & 0xFF
    return (entry & 0xFFFF) / Fraction(2) ** (s - 256 * (s >= 128))


class TestFreshEntry:
    def test_a_maximum_of_zero_has_the_entry_zero(self):
        assert fresh_entry(0) == 0

    @pytest.mark.parametrize(
        "absmax,m,s",
        [(1, 127 << 9, 9), (127, 1 << 15, 15), (130_049, 65_535, 26), (LARGEST, 127 << 9, 40)],
    )
    def test_known_entries(self, absmax, m, s):
        assert decode_scale(fresh_entry(absmax)) == (m, s)

    def test_every_maximum_becomes_127_seed_1(self):
        rng = random.Random(1)
        for absmax in MAXIMA[1:-1] + [rng.getrandbits(rng.randint(1, 31)) or 1 for _ in range(999)]:
            m, s = decode_scale(fresh_entry(absmax))
            assert requantise8(absmax, m, s) == 127 == -requantise8(-absmax, m, s), absmax
        assert requantise8(INT32_MIN, *decode_scale(fresh_entry(LARGEST))) == -127

    def test_no_fresh_shift_needs_its_limit(self):
        assert (9, 40) == (decode_scale(fresh_entry(1))[1], decode_scale(fresh_entry(LARGEST))[1])
        assert all(9 <= decode_scale(fresh_entry(1 << n))[1] <= 40 for n in range(32))


class TestFactor:
    @pytest.mark.parametrize("exponent", range(-112, 144, 15))
    def test_powers_of_two_are_exact(self, exponent):
        assert value(encode_factor(Fraction(2) ** exponent)) == Fraction(2) ** exponent

    def test_zero(self):
        assert encode_factor(Fraction(0)) == 0

    def test_any_ratio_is_near_its_entry_seed_2(self):
        rng = random.Random(2)
        for _ in range(2000):
            ratio = (rng.getrandbits(40) + 1) * Fraction(2) ** rng.randint(-112, 100)
            entry = encode_factor(ratio)
            assert 0 < entry < 1 << 24
            assert abs(value(entry) / ratio - 1) <= Fraction(1, 1 << 16)

    @pytest.mark.parametrize(
        "ratio,shown",
        [(Fraction(1, 1 << 113), "9.63e-35"), (Fraction(1 << 144), "2.23e+43")],
    )
    def test_ratios_that_no_entry_holds(self, ratio, shown):
        message = rf"^a factor must be 0 or from 2\^-112 to 2\^143, not {shown.replace('+', '.')}$"
        with pytest.raises(ValueError, match=message):
            encode_factor(ratio)

    def test_a_negative_ratio(self):
        with pytest.raises(ValueError, match="^a scale ratio must not be negative, but is -1/3$"):
            encode_factor(Fraction(-1, 3))


class TestUpdateEntry:
    @pytest.mark.parametrize("s", [-128, -127, -100, -16, -1, 0, 1, 15, 31, 63, 64, 100, 126, 127])
    @pytest.mark.parametrize("m", [1 << 15, (1 << 15) + 1, 40_503, (1 << 16) - 1])
    def test_the_product_is_rounded_once_whatever_the_sign_of_the_shift(self, m, s):
        factor = m | (s & 0xFF) << 16
        for absmax in MAXIMA:
            expected = encode_scale(*multiplier(absmax * m / Fraction(2) ** s))
            assert update_entry(absmax, factor) == expected, absmax

    @pytest.mark.parametrize("s,kept", [(-128, -16), (-31, -16), (93, 63), (127, 63)])
    def test_only_the_result_is_limited(self, s, kept):
        """The factor's shift counts as it is: 78, limited to 63 first, would give 32, not 47."""
        entry = update_entry(1, (1 << 15) | (s & 0xFF) << 16)
        assert decode_scale(entry) == (1 << 15, kept)
        assert decode_scale(update_entry(LARGEST, (1 << 15) | 78 << 16)) == (1 << 15, 47)

    def test_products_that_round_up_to_the_next_power_of_two(self):
        assert decode_scale(update_entry(65_537, (1 << 16) - 1)) == (1 << 15, -16)
        assert decode_scale(update_entry(65_537, (1 << 16) - 1 | 20 << 16)) == (1 << 15, 3)

    @pytest.mark.parametrize("absmax", MAXIMA)
    def test_a_factor_of_zero(self, absmax):
        assert update_entry(absmax, 0) == 0

    def test_a_maximum_of_zero(self):
        assert update_entry(0, encode_factor(Fraction(3, 7))) == 0


class TestNoise:
    @pytest.mark.parametrize("seed", [0, 1, 0x8000_0000, 0xFFFF_FFFF])
    def test_it_is_a_permutation_of_places(self, seed):
        """On a grid of corners and powers of two, all bits differ."""
        lines = sorted({0, 1, 2, 65_534, 65_535, *(1 << n for n in range(16)), *range(100, 140)})
        found = {noise(seed, row, column) for row in lines for column in lines}
        assert len(found) == len(lines) ** 2
        assert all(0 <= bits < 1 << 32 for bits in found)

    def test_row_and_column_are_not_interchangeable(self):
        assert all(noise(0, n, n + 1) != noise(0, n + 1, n) for n in range(100))

    def test_places_count_modulo_65536_and_seeds_modulo_2_to_the_32(self):
        assert noise(5, 65_536 + 3, 3 * 65_536 + 4) == noise(5, 3, 4) == noise(5 + (1 << 32), 3, 4)

    def test_both_halves_of_the_seed_count(self):
        assert len({noise(seed, 0, 0) for seed in (0, 1, 1 << 15, 1 << 16, 1 << 31)}) == 5


def rational(acc: int, m: int, s: int, bits: int) -> int:
    """Round up with the probability of the rest, in rationals."""
    size = Fraction(abs(acc) * m) / Fraction(2) ** s
    whole = size.numerator // size.denominator
    steps = 1 << max(s, 0)
    if size - whole + Fraction(bits * steps // (1 << 32), steps) >= 1:
        whole += 1
    return (-1 if acc < 0 else 1) * min(127, whole)


class TestStochastic:
    ACCS = (0, 1, -1, 77, -77, 130_049, INT32_MAX, INT32_MIN)
    BITS = (0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)

    @pytest.mark.parametrize("s", range(-16, 64))
    def test_equals_rationals_over_all_shifts(self, s):
        rng = random.Random(s + 16)
        accs = [*self.ACCS, *(rng.randint(INT32_MIN, INT32_MAX) >> rng.randint(0, 31)
                              for _ in range(20))]  # fmt: skip
        for acc in accs:
            for m in (0, 1, 1 << 15, 51_234, (1 << 16) - 1):
                for bits in (*self.BITS, rng.getrandbits(32)):
                    expected = rational(acc, m, s, bits)
                    assert stochastic8(acc, m, s, bits) == expected, (acc, m, bits)

    @pytest.mark.parametrize("s", range(1, 9))
    def test_over_all_draws_the_mean_is_the_value(self, s):
        draws = [draw << (32 - s) for draw in range(1 << s)]
        for acc in (*range(-40, 41), (100 << s) - 1):
            assert sum(stochastic8(acc, 1, s, bits) for bits in draws) == acc

    def test_whole_results_are_never_moved(self):
        for bits in self.BITS:
            assert [stochastic8(k << 10, 1 << 15, 25, bits) for k in (-127, -1, 0, 1, 127)] == [
                -127, -1, 0, 1, 127
            ]  # fmt: skip

    def test_signs_are_alike(self):
        rng = random.Random(4)
        for _ in range(500):
            acc, bits = rng.getrandbits(20), rng.getrandbits(32)
            assert stochastic8(-acc, 40_503, 30, bits) == -stochastic8(acc, 40_503, 30, bits)
