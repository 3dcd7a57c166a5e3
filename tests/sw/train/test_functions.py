"""Layers forward and backward: real values against the golden model, and against float."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hw.isa.config import PRESETS, Config
from sw.driver import Device
from sw.train.adapt import adapt
from sw.train.context import Context
from sw.train.device import DeviceEngine
from sw.train.functions import integer_matmul
from sw.train.monitor import snr_db
from sw.train.operand import NotFinite
from sw.train.precision import METHODS, Method, Precision
from tests.golden.lora import lora_site

from .sites import make

TENSORS = ("y", "dx", "da", "db")


def layer(site, method, **options):
    """Return a LoRA layer that holds the weights of a site."""
    real = site.real
    (d1, d2), r = real["w"].shape, real["a"].shape[1]
    model = nn.Sequential(nn.Linear(d1, d2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(real["w"].T)
    adapt(model, "0", method, rank=r, **options)
    with torch.no_grad():
        if model[0].trains == "lora":
            model[0].lora_A.copy_(real["a"].T)
            model[0].lora_B.copy_(real["b"].T)
    return model[0]


def step(one, site):
    """Return Y and the gradients, by name."""
    one.zero_grad()
    x = site.real["x"].clone().requires_grad_()
    y = one(x)
    y.backward(site.real["dy"])
    found = {"y": y.detach(), "dx": x.grad}
    if one.trains == "full":
        return found | {"dw": one.weight.grad.T}
    return found | {"da": one.lora_A.grad.T, "db": one.lora_B.grad}


@pytest.mark.parametrize("copies", ["weighted", "rescaled"])
def test_real_values_are_those_of_the_golden_model(copies):
    site = make(9, 13, 11, 3)
    method = Method(precision=Precision(column_copies=copies))
    found = step(layer(site, method, alpha=6), site)
    golden = lora_site(**site.real, scaling=2, column_copies=copies)
    for name in TENSORS:
        expected = getattr(golden, name).real.float()
        torch.testing.assert_close(found[name], expected, rtol=3e-7, atol=0, msg=name)


@pytest.mark.parametrize(
    "method,least", [("int8", 28), ("int8-tensor", 12), ("int8-stochastic", 25)]
)
def test_integers_are_near_float(method, least):
    site = make(77, 128, 64, 4)
    exact, found = (step(layer(site, name), site) for name in ("fp32", method))
    for name in TENSORS:
        assert snr_db(found[name], exact[name]) > least, name


def test_scales_by_channel_are_better_than_by_tensor():
    site = make(77, 128, 64, 4)
    exact, channel, tensor = (
        step(layer(site, name), site) for name in ("fp32", "int8", "int8-tensor")
    )
    for name in TENSORS:
        better, worse = (snr_db(found[name], exact[name]) for found in (channel, tensor))
        assert better > worse + 3, name


def test_fewer_bits_are_noisier():
    site, found = make(33, 64, 48, 4), []
    exact = step(layer(site, "fp32"), site)
    for bits in (8, 6, 4):
        precision = Precision(weight_bits=bits, activation_bits=bits, gradient_bits=bits)
        seen = step(layer(site, Method(precision=precision)), site)
        found.append([snr_db(seen[name], exact[name]) for name in TENSORS])
    # A bit is worth 6 dB.
    assert (np.diff(found, axis=0) < -8).all() and (np.diff(found, axis=0) > -16).all()


def test_a_trained_weight():
    site = make(33, 64, 48, 4)
    exact, found = (step(layer(site, name), site) for name in ("fp32-full", "int8-full"))
    for name in ("y", "dx", "dw"):
        assert snr_db(found[name], exact[name]) > 30, name


@pytest.mark.parametrize(
    "method",
    [
        name
        for name, each in METHODS.items()
        if each.precision and each.trains != "tuneqdm" and not each.schedule
    ],
)
def test_a_device_computes_the_same_bits(method):
    site = make(9, 13, 11, 3)
    engine = DeviceEngine(Device(Config(rows=4, columns=3)))
    found, expected = (step(layer(site, method, engine=each), site) for each in (engine, None))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("scales", ["channel", "tensor"])
@pytest.mark.parametrize("backend", ["functional", "rtl"])
def test_products_of_attention(backend, scales):
    """Each is three products: what it is, and the gradients of both operands."""
    config = Config(rows=4, columns=3) if backend == "functional" else PRESETS["tiny"]
    device = DeviceEngine(Device(config, backend))
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(2, 9, 5, generator=generator, requires_grad=True)
    right = torch.randn(2, 5, 7, generator=generator, requires_grad=True)
    gradient = torch.randn(2, 9, 7, generator=generator)
    exact = left @ right
    expected = (exact.detach(), *torch.autograd.grad(exact, (left, right), gradient))
    results = []
    for engine in (None, device):
        context = Context(Precision(scales=scales), engine).ranges[0]
        product = integer_matmul(left, right, "QK", context)
        found = (product.detach(), *torch.autograd.grad(product, (left, right), gradient))
        least = 36 if scales == "channel" else 30
        assert all(snr_db(*pair) > least for pair in zip(found, expected, strict=True))
        results.append(found)
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
    assert device.runs == 3 * len(left)


def test_only_the_gradients_that_are_wanted():
    site = make(9, 13, 11, 3)
    one = layer(site, "int8")
    loss = one(site.real["x"]).sum()
    loss.backward()
    assert one.weight.grad is None and one.lora_A.grad is not None


@pytest.mark.parametrize(
    "what,match", [("x", "^0: X is not finite"), ("dy", "^0: dY is not finite")]
)
def test_what_is_not_finite_names_the_tensor(what, match):
    site = make(9, 13, 11, 3)
    site.real[what][2, 3] = float("nan")
    with pytest.raises(NotFinite, match=match):
        step(layer(site, "int8"), site)


def test_measures():
    site = make(33, 64, 48, 4)
    one = layer(site, "int8")
    step(one, site)
    assert one.context.monitor.take() == []
    one.context.monitor.listening = True
    exact, found = step(layer(site, "fp32"), site), step(one, site)
    measures = {(m.kind, m.tensor): m.value for m in one.context.monitor.take()}
    assert measures["absmax", "X"] == site.real["x"].abs().max().item()
    assert measures["absmax", "dY"] == site.real["dy"].abs().max().item()
    for name, short in zip(("Y", "dX", "dA", "dB"), TENSORS, strict=True):
        assert measures["snr_db", name] == pytest.approx(snr_db(found[short], exact[short]), 1e-3)
    assert one.context.monitor.take() == []


@pytest.mark.parametrize("wanted", [True, False])
def test_measures_of_full_training(wanted):
    """W changes, and dY is quantised whether or not X has a gradient."""
    site = make(9, 13, 11, 3)
    one = layer(site, "int8-full")
    one.context.monitor.listening = True
    one(site.real["x"].clone().requires_grad_(wanted)).backward(site.real["dy"])
    listed = [(m.tensor, m.value) for m in one.context.monitor.take() if m.kind == "absmax"]
    names = {"W": "w", "X": "x", "dY": "dy"}
    assert dict(listed) == {name: site.real[key].abs().max().item() for name, key in names.items()}
    assert len(listed) == 3


def test_noise_differs_by_layer_direction_and_step():
    context = Context(Precision(rounding="stochastic"), seed=3)
    seeds = {context.noise_seed(layer, way) for layer in "ab" for way in ("forward", "backward")}
    context.step += 1
    seeds.add(context.noise_seed("a", "forward"))
    seeds.add(Context(Precision(), seed=4).noise_seed("a", "forward"))
    assert len(seeds) == 6 and all(0 <= seed < 1 << 32 for seed in seeds)
