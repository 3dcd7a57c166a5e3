"""Equal inputs give equal bits: the torch engine, the functional model, and the golden model."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from hw.isa.config import Config
from sw.driver import Device
from sw.quantise import Group
from sw.train.arithmetic import column_entries, unit_entries
from sw.train.device import DeviceEngine
from sw.train.engine import TorchEngine
from tests.golden.lora import lora_site
from tests.golden.tune import column_copy, prescaled

from .sites import make

SMALL = Config(rows=4, columns=3)
SHAPES = [(1, 1, 1, 1), (9, 13, 11, 3), (33, 20, 17, 5)]


def assert_equal(found, expected) -> None:
    """Compare dataclasses of tensors, member by member."""
    for name, value in vars(expected).items():
        other = getattr(found, name)
        if hasattr(value, "__dataclass_fields__"):
            assert_equal(other, value)
        else:
            assert other.dtype == value.dtype, name
            assert torch.equal(other, value), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("copies", ["weighted", "rescaled"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_functional_model(shape, copies, rounding):
    site = make(*shape, copies=copies, rounding=rounding)
    device, reference = DeviceEngine(Device(SMALL)), TorchEngine()
    for found, expected in zip(site.run(device), site.run(reference), strict=True):
        assert_equal(found, expected)
    assert device.saturations == reference.saturations
    assert device.runs == 2
    n, d1, d2, r = shape
    assert device.macs == n * (2 * d1 * d2 + 4 * d1 * r + 4 * d2 * r) - n * r * (d1 + d2)


@pytest.mark.parametrize("group", list(Group))
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_copies_of_products(group, rounding):
    site = make(9, 13, 11, 3)
    left, right = site.copies["X.row"].values, site.copies["W"].values
    device, reference = DeviceEngine(Device(SMALL)), TorchEngine()
    expected = reference.copy(left, right, group, rounding, 77)
    assert_equal(device.copy(left, right, group, rounding, 77), expected)
    assert torch.equal(device.product(left, right), reference.product(left, right))


def test_many_products_at_once():
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randint(-127, 128, (2, 3, *shape), generator=generator, dtype=torch.int8)
        for shape in ((5, 7), (7, 4))
    )
    device = DeviceEngine(Device(SMALL))
    assert torch.equal(device.product(left, right), TorchEngine().product(left, right))
    assert device.runs == 6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("copies", ["weighted", "rescaled"])
def test_golden_model(shape, copies):
    site = make(*shape, copies=copies)
    golden = lora_site(**site.real, column_copies=copies)
    forward, backward = site.run(TorchEngine())
    pairs = {
        "Y": (forward.y, golden.y.sums),
        "H.column": (forward.h_column.values, golden.h_column.values),
        "dX": (backward.dx, golden.dx.sums), "dA": (backward.da, golden.da.sums),
        "dB": (backward.db, golden.db.sums),
        "maxima of H": (forward.h_column.maxima, golden.h_column.absmax),
        "maxima of dH": (backward.dh_maxima, golden.dh_column.absmax),
    }  # fmt: skip
    for name, (found, expected) in pairs.items():
        assert torch.equal(found, expected), name


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 13, 11), (33, 20, 17)])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_products_with_a_copy_of_one_unit(shape, rounding):
    m, k, n = shape
    site = make(m, k, n, 1)
    left, right = site.copies["X.row"], site.copies["W"].values
    units = unit_entries(left.absmax)
    device, reference = DeviceEngine(Device(SMALL)), TorchEngine()
    sums, copy = reference.rescaled(left.values, right, units, rounding, 3)
    found, found_copy = device.rescaled(left.values, right, units, rounding, 3)
    assert torch.equal(found, sums)
    assert_equal(found_copy, copy)
    # What the copy stands for is the product, but for one step of its column.
    real = sums * left.scale
    step = left.scale.max() * copy.maxima / 127
    assert ((copy.values * step - real).abs() <= 1.01 * step).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 13, 11), (33, 20, 17)])
def test_packed_weights_are_the_same_weights(shape):
    """Those of four bits, read as they lie and as they multiply, beside the golden model."""
    m, k, n = shape
    generator = torch.Generator().manual_seed(m)
    left = torch.randint(-127, 128, (m, k), generator=generator, dtype=torch.int8)
    right = torch.randint(-8, 8, (k, n), generator=generator, dtype=torch.int8)
    weights = torch.rand(m, 1, generator=generator)
    device, reference = DeviceEngine(Device(SMALL)), TorchEngine()
    units = unit_entries(weights.double())
    sums, copy = reference.rescaled(left, right, units, weight_bits=4)
    for transposed in (False, True):
        found, found_copy = device.rescaled(
            left, right, units, weight_bits=4, transposed=transposed
        )
        assert torch.equal(found, sums)
        assert_equal(found_copy, copy)
    assert device.runs == 2
    golden, maxima = column_copy(sums, [Fraction(value) for value in weights.flatten().tolist()])
    assert torch.equal(copy.values, golden) and torch.equal(copy.maxima, maxima)


@pytest.mark.parametrize("expert", [0, 2])
@pytest.mark.parametrize("shape", [(1, 1), (9, 13), (70, 20)])
def test_columns_scaled_on_the_chip(shape, expert):
    generator = torch.Generator().manual_seed(expert)
    left = torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
    left[0] = 0
    scales = torch.randn(3, shape[1], generator=generator) ** 3
    scales[:, ::5] = 0
    signs = torch.where(scales[expert] < 0, -1, 1).to(torch.int8)
    device, reference = DeviceEngine(Device(SMALL)), TorchEngine()
    entries = column_entries(scales.abs())
    copy = reference.prescaled(left, signs, entries, expert)
    assert_equal(device.prescaled(left, signs, entries, expert), copy)
    golden = prescaled(left, scales[expert])
    assert torch.equal(copy.values, golden.values)
    assert torch.equal(copy.maxima, golden.maxima)


@pytest.mark.parametrize("shape", [(1, 1), (9, 7), (33, 12)])
def test_dot_products_of_columns(shape):
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8) for _ in range(2)
    )
    found = DeviceEngine(Device(SMALL)).column_dots(left, right)
    assert torch.equal(found, TorchEngine().column_dots(left, right))
    assert found.tolist() == (left.T.int() @ right.int()).diagonal().tolist()
