"""Scenarios of requantisation, scale-and-accumulate and quantisation: ties, shifts, saturation."""

from __future__ import annotations

import random
from fractions import Fraction
from math import floor

import pytest
import torch

from .numerics import (
    INT32_MAX,
    INT32_MIN,
    absmax,
    multiplier,
    multipliers,
    quantise,
    requantise,
    requantise8,
    scale_accumulate,
)


def half_away(value: Fraction) -> int:
    """Round half away from zero."""
    return floor(value + Fraction(1, 2)) if value >= 0 else -floor(-value + Fraction(1, 2))


def exact_requantise(acc: int, m: int, s: int, low: int, high: int) -> int:
    """Requantise in rationals."""
    return max(low, min(high, half_away(Fraction(acc * m) / Fraction(2) ** s)))


def int32(*values: int) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.int32)


class TestRequantise:
    def test_equals_rationals_seed_5(self):
        rng = random.Random(5)
        acc = [rng.choice([-1, 1]) * rng.getrandbits(rng.randint(0, 31)) for _ in range(4000)]
        m = [rng.getrandbits(16) for _ in acc]
        s = [rng.randint(-40, 80) for _ in acc]
        for low, high in [(-127, 127), (INT32_MIN, INT32_MAX), (-7, 3)]:
            result = requantise(int32(*acc), torch.tensor(m), torch.tensor(s), low, high)
            columns = zip(acc, m, s, strict=True)
            assert result[0].tolist() == [exact_requantise(*c, low, high) for c in columns]

    def test_equals_the_shift_formula_of_the_page_seed_6(self):
        rng = random.Random(6)
        acc = [rng.randint(INT32_MIN, INT32_MAX) for _ in range(2000)]
        m, s = rng.getrandbits(16), 31
        formula = [(p + (1 << (s - 1)) - (p < 0)) >> s for p in (a * m for a in acc)]
        assert requantise(int32(*acc), m, s)[0].tolist() == formula

    @pytest.mark.parametrize("s", range(1, 47))
    @pytest.mark.parametrize("k", [1, 3, 5, 251, 253])
    def test_ties_go_away_from_zero_and_neighbours_do_not(self, k, s):
        # acc * m = k / 2 * 2^s; from s = 17 on, the next sum towards zero is no tie any more
        acc, m = (k, 1 << (s - 1)) if s <= 16 else (k << (s - 16), 1 << 15)
        if acc > INT32_MAX:
            acc, k = 1 << (s - 16), 1
        away, towards = (k + 1) // 2, (k - 1) // 2
        assert requantise8(int32(acc, -acc), m, s).tolist() == [[away, -away]]
        if s >= 17:
            assert requantise8(int32(acc - 1, 1 - acc), m, s).tolist() == [[towards, -towards]]

    def test_half_is_not_rounded_to_even(self):
        acc = int32(1, -1, 3, -3, 5, -5)
        assert requantise(acc, 1 << 15, 16).tolist() == [[1, -1, 2, -2, 3, -3]]

    def test_clamp_is_symmetric(self):
        acc = int32(127, -127, 128, -128, 1000, -1000, INT32_MAX, INT32_MIN)
        expected = [[127, -127, 127, -127, 127, -127, 127, -127]]
        assert requantise8(acc, 1 << 15, 15).tolist() == expected

    @pytest.mark.parametrize("s", [0, -1, -16, -31, -32, -33, -63, -64, -1000])
    def test_shift_to_the_left(self, s):
        acc = [0, 1, -1, 3, -3, 1 << 20, -(1 << 20), INT32_MAX, INT32_MIN]
        for m in (0, 1, 2, 65_535):
            expected = [exact_requantise(a, m, s, INT32_MIN, INT32_MAX) for a in acc]
            assert requantise(int32(*acc), m, s)[0].tolist() == expected

    @pytest.mark.parametrize("s", [46, 47, 48, 49, 62, 63, 64, 65, 1000])
    def test_shift_past_the_product(self, s):
        acc = [0, 1, -1, INT32_MAX, INT32_MIN, INT32_MIN + 1]
        expected = [exact_requantise(a, 65_535, s, -127, 127) for a in acc]
        assert requantise8(int32(*acc), 65_535, s)[0].tolist() == expected
        assert expected == [0] * 6 if s >= 48 else any(expected)

    def test_rows_and_columns_broadcast(self):
        acc = torch.tensor([[256, 512, 768], [256, 512, 768]], dtype=torch.int32)
        m = torch.tensor([1 << 15, 1 << 15])
        by_row = requantise8(acc, m[:, None], torch.tensor([[23], [24]]))
        assert by_row.tolist() == [[1, 2, 3], [1, 1, 2]]
        by_column = requantise8(acc, 1 << 15, torch.tensor([[23, 24, 25]]))
        assert by_column.tolist() == [[1, 1, 1], [1, 1, 1]]

    def test_fresh_quantisation_reaches_127_and_never_clips_seed_7(self):
        rng = random.Random(7)
        for a in [1, 127, 130_049, INT32_MAX, *(rng.getrandbits(30) + 1 for _ in range(500))]:
            m, s = multiplier(127, a)
            free = requantise(int32(a, -a), m, s)
            assert free.tolist() == [[127, -127]], a

    def test_quotient_differs_rarely_and_by_one_seed_8(self):
        g = torch.Generator().manual_seed(8)
        acc = (torch.randn(20, 10_000, generator=g) * 200_000).to(torch.int32)
        largest = absmax(acc, "row")
        m, s = multipliers([127] * 20, largest.flatten().tolist())
        scaled = 2 * 127 * acc.long()
        exact = scaled.sign() * ((scaled.abs() + largest) // (2 * largest))
        difference = (requantise8(acc, m[:, None], s[:, None]).long() - exact).abs()
        assert difference.max() == 1
        assert 0 < difference.double().mean() < 0.001  # measured 0.00012 here

    def test_zero_multiplier_gives_zero(self):
        assert requantise8(int32(0, 5, INT32_MIN), 0, 0).tolist() == [[0, 0, 0]]

    def test_arguments_are_checked(self):
        with pytest.raises(TypeError, match=r"sums must be int32, not torch\.int64"):
            requantise(torch.zeros(1, 1, dtype=torch.int64), 1, 1)
        with pytest.raises(ValueError, match=r"multipliers must be 0 to 65535"):
            requantise(int32(1), 1 << 16, 1)
        with pytest.raises(ValueError, match=r"multipliers must be 0 to 65535"):
            requantise(int32(1), -1, 1)
        with pytest.raises(ValueError, match=r"bounds must be inside int32: 0, 2147483648"):
            requantise(int32(1), 1, 1, 0, 1 << 31)


class TestScaleAccumulate:
    def test_one_rounding_then_the_sum(self):
        result = scale_accumulate(int32(10, 10, -10), int32(1, -1, 3), 1 << 15, 16)
        assert result.tolist() == [[11, 9, -8]]
        assert result.dtype == torch.int32

    @pytest.mark.parametrize(
        "total,acc,s,expected",
        [
            (INT32_MAX, 1, 15, INT32_MAX),
            (INT32_MIN, -1, 15, INT32_MIN),
            (INT32_MAX, -1, 15, INT32_MAX - 1),
            (0, INT32_MAX, 14, INT32_MAX),
            (0, INT32_MIN, 14, INT32_MIN),
            (-1, INT32_MAX, 14, INT32_MAX - 1),  # the scaled sum saturates before it is added
            (1, INT32_MIN, 14, INT32_MIN + 1),
        ],
    )
    def test_saturation(self, total, acc, s, expected):
        assert scale_accumulate(int32(total), int32(acc), 1 << 15, s).tolist() == [[expected]]

    def test_rows_have_their_own_scale(self):
        total = torch.zeros(2, 3, dtype=torch.int32)
        acc = torch.full((2, 3), 100, dtype=torch.int32)
        m = torch.tensor([[1 << 15], [0]])
        result = scale_accumulate(total, acc, m, torch.tensor([[16], [0]]))
        assert result.tolist() == [[50] * 3, [0] * 3]

    def test_total_must_be_int32(self):
        with pytest.raises(TypeError, match=r"total must be int32, not torch\.int64"):
            scale_accumulate(torch.zeros(1, 1, dtype=torch.int64), int32(1), 1, 1)


class TestQuantise:
    @pytest.mark.parametrize("axis", ["row", "column", "tensor"])
    @pytest.mark.parametrize("spread", [1e-38, 1e-3, 1.0, 1e30])
    def test_equals_rationals_seed_9(self, axis, spread):
        g = torch.Generator().manual_seed(9)
        x = torch.randn(13, 17, generator=g) * spread
        values, scales = quantise(x, axis)
        largest = absmax(x, axis).expand(13, 17)
        exact = [
            [half_away(Fraction(v) * 127 / Fraction(a)) for v, a in zip(row, maxima, strict=True)]
            for row, maxima in zip(x.tolist(), largest.tolist(), strict=True)
        ]
        assert values.dtype == torch.int8
        assert values.tolist() == exact
        assert torch.equal(scales, absmax(x, axis) / 127)
        assert scales.dtype == torch.float64
        assert int(absmax(values, "tensor")) == 127

    def test_ties_go_away_from_zero(self):
        x = torch.tensor([[127.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 126.5, -126.5]])
        assert quantise(x, "row")[0].tolist() == [[127, 1, -1, 2, -2, 3, -3, 127, -127]]

    def test_just_below_a_tie_goes_down(self):
        below = 0.49999999999999994  # floor(x + 0.5) would give 1
        x = torch.tensor([[127.0, below, -below]], dtype=torch.float64)
        assert quantise(x, "row")[0].tolist() == [[127, 0, 0]]

    def test_no_float32_lands_on_a_tie_it_is_not_seed_10(self):
        rng = random.Random(10)
        for _ in range(2000):
            a = torch.tensor(rng.uniform(1, 2), dtype=torch.float32)
            tie = torch.tensor((rng.randint(0, 126) + 0.5) / 127 * a.item(), dtype=torch.float32)
            x = torch.stack([a, tie, tie.nextafter(a), tie.nextafter(-a)])[None]
            exact = [half_away(Fraction(v) * 127 / Fraction(a.item())) for v in x[0].tolist()]
            assert quantise(x, "row")[0][0].tolist() == exact

    @pytest.mark.parametrize("axis", ["row", "column", "tensor"])
    def test_an_all_zero_group_has_scale_zero(self, axis):
        values, scales = quantise(torch.zeros(2, 3), axis)
        assert not values.any()
        assert not scales.any()

    def test_one_zero_row_leaves_the_others_alone(self):
        values, scales = quantise(torch.tensor([[0.0, 0.0], [1.0, -0.5]]), "row")
        assert values.tolist() == [[0, 0], [127, -64]]
        assert scales.tolist() == [[0.0], [1 / 127]]

    def test_minus_128_never_appears_seed_11(self):
        g = torch.Generator().manual_seed(11)
        values, _ = quantise(-torch.rand(50, 50, generator=g), "column")
        assert int(values.min()) == -127

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_only_finite_values(self, bad):
        with pytest.raises(ValueError, match=r"values to quantise must be finite"):
            quantise(torch.tensor([[1.0, bad]]), "tensor")
