"""A GPU gives the bits of the CPU. Skipped where there is none."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn

from sw.train.adapt import adapt
from sw.train.arithmetic import column_entries
from sw.train.engine import TorchEngine
from sw.train.precision import METHODS

from .sites import make
from .small_task import timeless

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def moved(value, device):
    """Return tensors on a device, in whatever they lie."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(moved(each, device) for each in value)
    if isinstance(value, dict):
        return {name: moved(each, device) for name, each in value.items()}
    if is_dataclass(value):
        members = {each.name: getattr(value, each.name) for each in fields(value)}
        return replace(value, **moved(members, device))
    return value


def assert_same(found, expected):
    """Compare what lies on the GPU with what lies here, and check where it lies."""
    if isinstance(expected, torch.Tensor):
        assert found.device.type == DEVICE and torch.equal(found.cpu(), expected)
    elif isinstance(expected, tuple):
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    else:
        assert is_dataclass(expected)
        for each in fields(expected):
            assert_same(getattr(found, each.name), getattr(expected, each.name))


@pytest.mark.parametrize("copies", ["weighted", "rescaled"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_products_of_a_lora_layer(copies, rounding):
    """The reduction over tokens is longer than what a float32 holds at once."""
    site = make(1100, 40, 30, 4, copies=copies, rounding=rounding)
    here, there = TorchEngine(), TorchEngine()
    assert_same(moved(site, DEVICE).run(there), site.run(here))
    assert there.saturations == here.saturations


def test_products_of_tuneqdm():
    site = make(33, 40, 30, 4)
    draw = torch.Generator().manual_seed(0)
    scales = column_entries(torch.rand(3, 40, generator=draw))
    signs = torch.where(torch.rand(40, generator=draw) < 0.5, -1, 1).to(torch.int8)
    row, column = (site.copies[name].values for name in ("X.row", "X.column"))
    weight, units = site.copies["W"].values, make(33, 40, 30, 4, copies="rescaled").forward.units

    def products(device):
        engine, on = TorchEngine(), partial(moved, device=device)
        return (
            engine.prescaled(on(row), on(signs), on(scales), 2),
            engine.rescaled(on(row), on(weight), on(units), "stochastic", 5),
            engine.column_dots(on(row), on(column)),
            engine.product(on(row), on(weight)),
        )

    assert_same(products(DEVICE), products("cpu"))


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].precision])
def test_layers(method):
    """Given equal inputs and gradients, outputs and gradients are equal: floats, too."""

    def run(device):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 30))
        x, dy = torch.randn(77, 40), torch.randn(77, 30)
        model.to(device)
        adapted = adapt(model, "0", timeless(method), rank=4)
        with torch.no_grad():
            for value in adapted.parameters():
                value.add_(torch.randn(value.shape).to(device))
        x = x.to(device).requires_grad_()
        y = model(x)
        y.backward(dy.to(device))
        return y.detach(), x.grad, *(value.grad for value in adapted.parameters())

    assert_same(run(DEVICE), run("cpu"))
