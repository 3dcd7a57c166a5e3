"""Quantisation on the host = torch golden, bit for bit, and the exact scale entries."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from hw.isa.numerics import encode_factor, encode_scale, multiplier
from sw.quantise import Group, Quantised, fresh_scales, quantise, unit_scales, update_factor
from tests.golden import numerics as golden


@pytest.mark.parametrize("group", Group)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_quantise_is_the_golden_seed_1(group, kind):
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(37, 29)) * np.exp(rng.normal(size=(37, 1)) * 3)).astype(kind)
    x[3], x[:, 5] = 0, 0
    values, scale = golden.quantise(torch.tensor(x), str(group))
    actual = quantise(x, group)
    assert actual.values.dtype == np.int8
    assert np.array_equal(actual.values, values.numpy())
    assert np.array_equal(actual.scale, scale.numpy())
    assert np.array_equal(actual.absmax, golden.absmax(torch.tensor(x), str(group)).numpy())


def test_ties_round_away_from_zero():
    x = np.array([[127, 0.5, -0.5, 1.5, -1.5, 2.5, 126.5, 0.49999999999999994]])
    assert quantise(x, Group.ROW).values.tolist() == [[127, 1, -1, 2, -2, 3, 127, 0]]


def test_groups_of_zeros_have_scale_zero():
    for group in Group:
        made = quantise(np.zeros((2, 3)), group)
        assert not made.values.any() and not made.scale.any()


def test_values_are_checked():
    with pytest.raises(ValueError, match=r"^values to quantise must be finite$"):
        quantise(np.array([[1.0, np.inf]]), Group.TENSOR)
    with pytest.raises(ValueError, match=r"^a matrix has two axes, not 1$"):
        quantise(np.ones(3), Group.TENSOR)


def test_fresh_scales_are_127_over_the_maximum():
    maxima = np.array([0, 1, 2, 127, 128, 130_049, (1 << 31) - 1, 1 << 31], np.uint32)
    expected = [encode_scale(*multiplier(Fraction(127, a))) if a else 0 for a in maxima.tolist()]
    assert fresh_scales(maxima).tolist() == expected
    assert fresh_scales(maxima).dtype == np.uint32


def tensor(absmax: float) -> Quantised:
    """Return a tensor of which only the absolute maximum matters."""
    return Quantised(np.zeros((1, 1), np.int8), np.array([[absmax]]), Group.TENSOR)


def test_fresh_scales_with_a_margin_are_exact_rationals():
    maxima, margin = np.array([0, 1, 99, (1 << 32) - 1], np.uint32), Fraction(10, 7)
    expected = [
        encode_scale(*multiplier(Fraction(127 * 7, 10 * a))) if a else 0 for a in maxima.tolist()
    ]
    assert fresh_scales(maxima, margin).tolist() == expected


def test_the_update_factor_is_an_exact_rational():
    a, b, w = 0.1, 1e-7, 3.3
    s_a, s_b, s_w = (Fraction(v) / 127 for v in (a, b, w))
    expected = encode_factor(Fraction(1, 3) * s_a * s_b / (127 * s_w))
    actual = update_factor(tensor(a), tensor(b), tensor(w), Fraction(1, 3))
    assert actual.dtype == np.uint32 and actual.tolist() == [[expected]]


def test_an_update_factor_of_no_weight_no_scaling_or_out_of_reach():
    one = tensor(1.0)
    with pytest.raises(ValueError, match=r"^the weight must not be all zero"):
        update_factor(one, one, tensor(0.0))
    with pytest.raises(ValueError, match=r"^scaling must be above 0, not 0$"):
        update_factor(one, one, one, 0)
    with pytest.raises(ValueError, match=r"^a factor must be 0 or from 2\^-112 to 2\^143, not"):
        update_factor(tensor(2.0**-140), one, one)


def test_unit_scales_bring_rows_to_the_largest():
    rows = Quantised(np.zeros((3, 1), np.int8), np.array([[0.25], [0.0], [0.75]]), Group.ROW)
    expected = [encode_scale(*multiplier(Fraction(1, 3))), 0, encode_scale(1 << 15, 15)]
    assert unit_scales(rows).tolist() == expected
    zeros = Quantised(np.zeros((2, 1), np.int8), np.zeros((2, 1)), Group.ROW)
    assert unit_scales(zeros).tolist() == [0, 0]


def test_a_quantised_tensor_describes_itself():
    assert str(quantise(np.ones((2, 3)), Group.COLUMN)) == "int8 2x3, a scale for each column"
