"""Entries made on the chip, merged maxima and delayed scaling, against exact rationals."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import torch

from .numerics import (
    INT32_MAX,
    INT32_MIN,
    absmax,
    delayed_entry,
    factor_entry,
    fresh_entry,
    limited,
    merged,
    multiplier,
    noise,
    requantise,
    requantise8,
    stochastic8,
    update_entry,
)
from .scales import entry, parts

LARGEST = 1 << 31
MAXIMA = [0, 1, 2, 3, 126, 127, 128, 130_049, (1 << 30) + 1, LARGEST - 1, LARGEST]


def word(m: int, s: int) -> int:
    """Return an entry as the page writes it, its shift limited."""
    return m | (max(-16, min(63, s)) & 0xFF) << 16


def ratio_of(factor: int) -> Fraction:
    """Return the value of an entry."""
    m, s = (int(part) for part in parts(torch.tensor(factor)))
    return Fraction(m) / Fraction(2) ** s


class TestEntries:
    def test_words_come_apart_again(self):
        s = torch.arange(-16, 64)
        for m in (0, 1, 1 << 15, (1 << 16) - 1):
            words = entry(torch.full_like(s, m), s)
            assert words.tolist() == [word(m, value) for value in s.tolist()]
            found = parts(words)
            assert torch.equal(found[1], s) and found[0].unique().tolist() == [m]

    def test_shifts_are_limited_in_entries_only(self):
        assert entry(torch.tensor(5), torch.tensor([64, 500, -17, -500])).tolist() == [
            word(5, 63), word(5, 63), word(5, -16), word(5, -16)
        ]  # fmt: skip
        assert [int(part) for part in parts(torch.tensor(0x80_1234))] == [0x1234, -128]

    def test_fresh_entries_are_the_rational_seed_1(self):
        rng = random.Random(1)
        largest = MAXIMA + [rng.getrandbits(rng.randint(1, 31)) for _ in range(500)]
        expected = [word(*multiplier(127, a)) for a in largest]
        assert fresh_entry(torch.tensor(largest)).tolist() == expected
        assert fresh_entry(torch.tensor([largest]).T).shape == (len(largest), 1)

    def test_fresh_entries_at_the_ends(self):
        assert int(fresh_entry(0)) == 0
        assert int(fresh_entry(1)) == word(127 << 9, 9)
        assert int(fresh_entry(LARGEST)) == word(127 << 9, 40)


class TestUpdates:
    @pytest.mark.parametrize("s", [-128, -127, -64, -17, -16, -1, 0, 1, 15, 62, 63, 64, 100, 127])
    @pytest.mark.parametrize("m", [1 << 15, (1 << 15) + 1, 40_503, (1 << 16) - 1])
    def test_the_product_is_rounded_once_more_seed_2(self, m, s):
        rng = random.Random(2)
        largest = MAXIMA + [rng.getrandbits(rng.randint(1, 31)) for _ in range(100)]
        factor = m | (s & 0xFF) << 16
        expected = [word(*multiplier(a * ratio_of(factor))) for a in largest]
        assert update_entry(torch.tensor(largest), factor).tolist() == expected

    def test_products_that_round_up_to_the_next_power_of_two(self):
        """All ones in the leading 17 bits: m is 2^15, and the shift one less."""
        m = (1 << 16) - 1
        for a in (65_537, 131_074):  # (2^16 - 1)(2^16 + 1) = 2^32 - 1
            assert int(update_entry(a, m)) == word(*multiplier(a * m))
            assert int(update_entry(a, m)) & 0xFFFF == 1 << 15

    def test_a_factor_of_zero_or_a_maximum_of_zero_is_no_scale(self):
        assert factor_entry(0) == 0
        assert int(update_entry(LARGEST, 0)) == int(update_entry(0, factor_entry(1))) == 0

    def test_two_roundings_are_near_the_exact_ratio_seed_3(self):
        rng = random.Random(3)
        for _ in range(2000):
            exact = Fraction(rng.getrandbits(50) + 1, 1 << 60)
            a = rng.getrandbits(31) + 1
            found = ratio_of(int(update_entry(a, factor_entry(exact))))
            assert abs(found / (a * exact) - 1) < Fraction(1, 1 << 15) + Fraction(1, 1 << 31)

    @pytest.mark.parametrize("exponent", [-112, 0, 143])
    def test_factors_that_a_signed_byte_holds(self, exponent):
        assert ratio_of(factor_entry(Fraction(2) ** exponent)) == Fraction(2) ** exponent

    @pytest.mark.parametrize("exponent,shift", [(-113, 128), (144, -129), (-1000, 1015)])
    def test_factors_that_it_does_not_hold(self, exponent, shift):
        message = f"^the shift of a factor must fit a signed byte, but is {shift}$"
        with pytest.raises(ValueError, match=message):
            factor_entry(Fraction(2) ** exponent)


class TestMerging:
    @pytest.mark.parametrize("axis", ["row", "column", "tensor"])
    @pytest.mark.parametrize("height,width", [(1, 1), (3, 2), (4, 4), (7, 13)])
    def test_tiles_give_what_the_matrix_gives_seed_4(self, axis, height, width):
        g = torch.Generator().manual_seed(4)
        values = torch.randint(INT32_MIN, INT32_MAX, (7, 13), generator=g, dtype=torch.int32)
        values[3, 5] = INT32_MIN
        found: dict[tuple[int, int], torch.Tensor] = {}
        for row in range(0, 7, height):
            for column in range(0, 13, width):
                group = {"row": (row, 0), "column": (0, column), "tensor": (0, 0)}[axis]
                tile = values[row : row + height, column : column + width]
                found[group] = merged(found.get(group), tile, axis)
        whole = torch.cat([found[key].flatten() for key in sorted(found)])
        assert whole.tolist() == absmax(values, axis).flatten().tolist()
        assert int(whole.max()) == LARGEST

    def test_a_maximum_never_falls(self):
        before = torch.tensor([[9], [1]])
        assert merged(before, torch.tensor([[-5], [-6]]), "row").tolist() == [[9], [6]]


class TestDelayedScaling:
    def test_entries_are_the_rational(self):
        for margin in (1, 2, Fraction(5, 4), 1.1):
            expected = [word(*multiplier(127, Fraction(margin) * a)) if a else 0 for a in MAXIMA]
            assert delayed_entry(torch.tensor(MAXIMA), margin).tolist() == expected

    def test_a_margin_of_one_on_this_step_is_a_fresh_quantisation(self):
        largest = torch.tensor(MAXIMA)
        assert torch.equal(delayed_entry(largest, 1), fresh_entry(largest))

    def test_sums_inside_the_margin_are_not_limited_and_those_outside_are_counted_seed_5(self):
        g = torch.Generator().manual_seed(5)
        sums = torch.randint(-100_000, 100_001, (8, 500), generator=g, dtype=torch.int32)
        sums[:, 0] = 100_000
        roomy, tight = (
            parts(delayed_entry(torch.full((8, 1), a), Fraction(5, 4))) for a in (80_000, 40_000)
        )
        assert limited(sums, *roomy) == 0
        exact = sums.double() * 127 / 50_000
        counted = limited(sums, *tight)
        assert counted == int((exact.abs() >= 127.5).sum()) > 1000
        assert int((requantise8(sums, *tight).abs() == 127).sum()) > counted, "127 is no limit"

    @pytest.mark.parametrize("margin", [0, -1, Fraction(0)])
    def test_margins_are_above_zero(self, margin):
        with pytest.raises(ValueError, match=f"^a margin must be above 0, not {margin}$"):
            delayed_entry(1, margin)


class TestLimited:
    def test_only_what_the_limit_changes_counts(self):
        acc = torch.tensor([[0, 127, -127, 128, -128, INT32_MAX, INT32_MIN]], dtype=torch.int32)
        assert limited(acc, 1 << 15, 15) == 4
        assert limited(acc, 0, 0) == 0
        assert limited(acc, 1 << 15, -16) == 6

    def test_rounding_decides_at_the_edge(self):
        """127 and a half rounds to 128, which is limited; by chance only where the noise says."""
        acc = torch.full((16, 16), 255, dtype=torch.int32)
        assert limited(acc, 1 << 15, 16) == 256
        bits = noise(0, torch.arange(16)[:, None], torch.arange(16))
        assert limited(acc, 1 << 15, 16, bits) == int((bits >= 1 << 31).sum())
        assert limited(acc - 1, 1 << 15, 16, bits) == 0

    def test_fresh_scales_never_limit_seed_6(self):
        rng = random.Random(6)
        for a in [*MAXIMA[1:-1], *(rng.getrandbits(30) + 1 for _ in range(300))]:
            acc = torch.tensor([[min(a, INT32_MAX), -a]], dtype=torch.int32)
            assert limited(acc, *parts(fresh_entry(a))) == 0, a


class TestStochastic:
    @pytest.mark.parametrize("s", range(-20, 64))
    def test_equals_rationals_seed_7(self, s):
        rng = random.Random(s + 100)
        acc = [rng.choice([-1, 1]) * rng.getrandbits(rng.randint(0, 31)) for _ in range(60)]
        acc += [0, 1, -1, INT32_MAX, INT32_MIN]
        m = [rng.choice([0, 1, 1 << 15, (1 << 16) - 1, rng.getrandbits(16)]) for _ in acc]
        bits = [rng.choice([0, (1 << 32) - 1, 1 << 31, rng.getrandbits(32)]) for _ in acc]
        found = stochastic8(
            torch.tensor([acc], dtype=torch.int32), torch.tensor(m), s, torch.tensor(bits)
        )
        assert found[0].tolist() == [
            rational(a, mm, s, b) for a, mm, b in zip(acc, m, bits, strict=True)
        ]

    @pytest.mark.parametrize("s", range(1, 11))
    def test_of_all_draws_exactly_the_rest_round_up(self, s):
        """Unbiased to the last bit: the mean over all u is the value itself."""
        bits = torch.arange(1 << s) << (32 - s)
        for product in (0, 1, (1 << s) - 1, 1 << s, 3 * (1 << s) // 2, 77):
            acc = torch.full((1, 1 << s), product, dtype=torch.int32)
            assert int(stochastic8(acc, 1, s, bits).long().sum()) == product
            assert int(stochastic8(-acc, 1, s, bits).long().sum()) == -product

    def test_a_rest_of_a_half_is_rounding_to_nearest_with_the_draw_of_a_half_seed_8(self):
        """u = 2^(s-1) for all is rounding half away from zero."""
        rng = random.Random(8)
        acc = torch.tensor([[rng.randint(-(1 << 20), 1 << 20) for _ in range(1000)]])
        acc, half = acc.to(torch.int32), torch.tensor(1 << 31)
        for s in range(1, 48):
            nearest = requantise(acc, 51_234, s).clamp(-127, 127)
            assert torch.equal(stochastic8(acc, 51_234, s, half).int(), nearest)

    def test_shifts_end_where_entries_do(self):
        with pytest.raises(ValueError, match="^shifts of stochastic rounding must be at most 63$"):
            stochastic8(torch.zeros(1, 1, dtype=torch.int32), 1, 64, torch.tensor(0))


def rational(acc: int, m: int, s: int, bits: int) -> int:
    """Round by chance in rationals: down to a whole number of steps after u is added."""
    size = Fraction(abs(acc) * m) / Fraction(2) ** s
    if s > 0:
        size += Fraction((bits << s) // (1 << 32), 1 << s)
    magnitude = min(127, size.numerator // size.denominator)
    return -magnitude if acc < 0 else magnitude
