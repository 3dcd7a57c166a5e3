"""Scenarios of the golden sums, maxima and multipliers: extremes, long sums, zero groups."""

from __future__ import annotations

import random
from fractions import Fraction
from math import floor

import pytest
import torch

from .numerics import INT32_MAX, INT32_MIN, absmax, gemm, multiplier, multipliers

LONGEST = 131_071  # the longest reduction whose sums of -128 * -128 stay in int32


def int32(*values: int) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.int32)


class TestGemm:
    @pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (3, 2, 1), (1, 7, 4), (17, 33, 9)])
    def test_equals_python_integers_seed_1(self, shape):
        m, k, n = shape
        rng = random.Random(1)
        left = [[rng.randint(-128, 127) for _ in range(k)] for _ in range(m)]
        right = [[rng.randint(-128, 127) for _ in range(n)] for _ in range(k)]
        expected = [[sum(a * b for a, b in zip(row, column, strict=True))
                     for column in zip(*right, strict=True)] for row in left]  # fmt: skip
        result = gemm(torch.tensor(left, dtype=torch.int8), torch.tensor(right, dtype=torch.int8))
        assert result.dtype == torch.int32
        assert result.tolist() == expected

    def test_equals_int64_matmul_on_a_real_shape_seed_2(self):
        g = torch.Generator().manual_seed(2)
        left = torch.randint(-128, 128, (256, 1280), generator=g, dtype=torch.int8)
        right = torch.randint(-128, 128, (1280, 1280), generator=g, dtype=torch.int8)
        columns = slice(300, 340)  # int64 matmul is slow: a slab of the columns is enough
        expected = left.long() @ right[:, columns].long()
        assert torch.equal(gemm(left, right)[:, columns].long(), expected)

    @pytest.mark.parametrize("k", [1, 64, 23_040, LONGEST])
    @pytest.mark.parametrize("a,b", [(-127, 127), (127, 127), (-128, -128), (-128, 127)])
    def test_sums_of_extremes_are_exact(self, k, a, b):
        left = torch.full((1, k), a, dtype=torch.int8)
        right = torch.full((k, 2), b, dtype=torch.int8)
        assert gemm(left, right).tolist() == [[k * a * b] * 2]

    def test_the_widths_the_page_states(self):
        assert (64 * 127 * 127).bit_length() + 1 <= (64 * 128 * 128).bit_length() + 1 == 22
        assert (23_040 * 127 * 127).bit_length() + 1 == 30
        assert 133_144 * 127 * 127 <= INT32_MAX < 133_145 * 127 * 127
        assert LONGEST * 128 * 128 <= INT32_MAX < (LONGEST + 1) * 128 * 128

    def test_a_sum_past_int32_is_refused(self):
        left = torch.full((1, LONGEST + 1), -128, dtype=torch.int8)
        with pytest.raises(OverflowError, match=r"a sum over K = 131072 leaves int32"):
            gemm(left, left.T)

    def test_order_of_the_reduction_is_free_seed_3(self):
        g = torch.Generator().manual_seed(3)
        left = torch.randint(-128, 128, (3, 500), generator=g, dtype=torch.int8)
        right = torch.randint(-128, 128, (500, 2), generator=g, dtype=torch.int8)
        order = torch.randperm(500, generator=g)
        assert torch.equal(gemm(left, right), gemm(left[:, order], right[order]))

    def test_operands_must_be_int8(self):
        good, bad = torch.zeros(1, 1, dtype=torch.int8), torch.zeros(1, 1, dtype=torch.int32)
        with pytest.raises(TypeError, match=r"left operand must be int8, not torch\.int32"):
            gemm(bad, good)
        with pytest.raises(TypeError, match=r"right operand must be int8, not torch\.int32"):
            gemm(good, bad)


class TestAbsmax:
    MATRIX = torch.tensor([[1, -5, 3], [-7, 2, 0]], dtype=torch.int32)

    @pytest.mark.parametrize(
        "axis,expected",
        [("row", [[5], [7]]), ("column", [[7, 5, 3]]), ("tensor", [[7]])],
    )
    def test_groups_keep_their_dimension(self, axis, expected):
        result = absmax(self.MATRIX, axis)
        assert result.dtype == torch.int64
        assert result.tolist() == expected

    def test_the_most_negative_sum_has_an_absolute_value(self):
        assert absmax(int32(INT32_MIN, INT32_MAX), "tensor").tolist() == [[1 << 31]]

    def test_zero_padding_changes_nothing(self):
        padded = torch.nn.functional.pad(self.MATRIX, (0, 2))
        assert torch.equal(absmax(padded, "row"), absmax(self.MATRIX, "row"))

    def test_floats_stay_exact(self):
        x = torch.tensor([[0.1, -0.3]], dtype=torch.float32)
        result = absmax(x, "row")
        assert result.dtype == torch.float64
        assert result.item() == -x[0, 1].item()


class TestMultiplier:
    def check(self, m: int, s: int, ratio: Fraction) -> None:
        """Assert the page's formula and range, and that no larger shift meets them too."""
        formula = floor(ratio * Fraction(2) ** s + Fraction(1, 2))
        assert m == formula
        assert 1 << 15 <= m < 1 << 16
        assert floor(ratio * Fraction(2) ** (s + 1) + Fraction(1, 2)) >= 1 << 16
        assert abs(Fraction(m) / Fraction(2) ** s / ratio - 1) <= Fraction(1, 1 << 16)

    def test_invariant_over_seeded_ratios_seed_4(self):
        rng = random.Random(4)
        for _ in range(3000):
            num = rng.getrandbits(rng.randint(1, 60)) + 1
            den = rng.getrandbits(rng.randint(1, 60)) + 1
            self.check(*multiplier(num, den), Fraction(num, den))

    def test_invariant_over_fresh_quantisations(self):
        largest = [1 << 31, INT32_MAX, 1 << 30, 127, 128, 254, 255, 130_048, 130_049, 130_050]
        for a in [*range(1, 2000), *largest]:
            self.check(*multiplier(127, a), Fraction(127, a))

    def test_at_most_two_shifts_are_in_range_and_the_closer_is_taken(self):
        ratio = Fraction(127, 130_049)
        found = [
            (m, s)
            for s in range(20, 32)
            if 1 << 15 <= (m := floor(ratio * 2**s + Fraction(1, 2))) < 1 << 16
        ]
        assert found == [(32_768, 25), (65_535, 26)]
        assert multiplier(127, 130_049) == (65_535, 26)

    @pytest.mark.parametrize(
        "num,den,expected",
        [
            (1, 1, (1 << 15, 15)),
            (127, 127, (1 << 15, 15)),
            (127, 1, (127 << 9, 9)),
            (1 << 15, 1, (1 << 15, 0)),
            (1 << 16, 1, (1 << 15, -1)),
            (3 << 40, 1, (3 << 14, -26)),
            (1, 1 << 31, (1 << 15, 46)),
            (1, 1 << 60, (1 << 15, 75)),
            ((1 << 17) - 1, 1 << 17, (1 << 15, 15)),  # rounds up to 2^16, hence one shift less
            ((1 << 18) - 1, 1 << 18, (1 << 15, 15)),
            ((1 << 17) + 1, 1 << 17, (1 << 15, 15)),
            ((1 << 16) + 1, 1 << 16, ((1 << 15) + 1, 15)),  # a tie rounds up
        ],
    )
    def test_known_pairs(self, num, den, expected):
        assert multiplier(num, den) == expected

    def test_an_empty_group_has_no_scale(self):
        assert multiplier(127, 0) == (0, 0)
        assert multiplier(0, 5) == (0, 0)
        assert multiplier(0.0) == (0, 0)

    def test_only_the_ratio_counts(self):
        assert multiplier(127, 1000) == multiplier(127 * 77, 77_000)
        assert multiplier(127, 1000) == multiplier(Fraction(127, 1000))

    def test_a_float_counts_as_the_rational_it_holds(self):
        assert multiplier(0.1) == multiplier(3602879701896397, 1 << 55)
        assert multiplier(5e-324) == (1 << 15, 1074 + 15)

    def test_vector_form(self):
        m, s = multipliers([127, 127, 0], [127, 0, 4])
        assert (m.tolist(), s.tolist()) == ([1 << 15, 0, 0], [15, 0, 0])
        assert m.dtype == s.dtype == torch.int64
        assert multipliers([], [])[0].shape == (0,)

    def test_negative_ratios_are_refused(self):
        with pytest.raises(ValueError, match=r"ratio must not be negative: -1 / 3"):
            multiplier(-1, 3)
        with pytest.raises(ValueError, match=r"ratio must not be negative: 1 / -3"):
            multiplier(1, -3)
