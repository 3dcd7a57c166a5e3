"""TuneQDM: weights of few bits, gradients of their scales, experts, and one bit pattern on all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from hw.isa.config import PRESETS, Config
from sw.driver import Device
from sw.train.adapt import adapt
from sw.train.device import DeviceEngine
from sw.train.engine import TorchEngine
from sw.train.monitor import snr_db
from sw.train.operand import NotFinite
from sw.train.precision import METHODS, Method, Precision
from sw.train.tune import TuneLinear, quantise_channels
from tests.golden.tune import tune_site

from .sites import make


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_are_near_what_they_were(bits):
    weight = torch.randn(6, 200, generator=torch.Generator().manual_seed(0))
    weight[1] = weight[1].abs() + 3  # all of one sign
    weight[2] = 0
    values, scale = quantise_channels(weight, bits)
    least, most = (-8, 7) if bits == 4 else (-127, 127)
    assert values.dtype == torch.int8 and values.min() == least and values.max() == most
    error = (values * scale[:, None] - weight).abs()
    assert (error <= 0.5001 * scale[:, None]).all()
    assert not values[2].any() and scale[2] == 1


@pytest.mark.parametrize(
    "weight, scale, expected",
    [([-8.0, 0, 6, 2.5, -2.5], 1, [-8, 0, 6, 3, -3]), ([7.0, 3.5, -7.4, 1], 1, [7, 4, -7, 1])],
    ids=["down to -8", "up to 7"],
)
def test_four_bits_are_sixteen_steps(weight, scale, expected):
    """Half a step goes away from zero."""
    values, scales = quantise_channels(torch.tensor([weight]), 4)
    assert scales.item() == scale and values.tolist() == [expected]


def test_a_weight_that_is_not_finite_is_named():
    model = nn.Sequential(nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[0, 1] = torch.nan
    for method in (INTEGER, METHODS["int8-4bit"]):
        with pytest.raises(NotFinite, match="^0: W is not finite"):
            adapt(model, "0", method)


@pytest.mark.parametrize("bits", [3, 16])
def test_other_bits_are_refused(bits):
    with pytest.raises(ValueError, match=f"^weights have 4 or 8 bits, not {bits}$"):
        quantise_channels(torch.ones(2, 2), bits)


def layer(site, method, **options) -> TuneLinear:
    """Return a layer that holds the weight of a site, its gains off 1."""
    model = nn.Sequential(nn.Linear(*site.real["w"].shape, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(site.real["w"].T)
    adapt(model, "0", method, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for gain in gains(model[0]):
            gain.copy_(1 + 0.3 * torch.rand(gain.shape, generator=generator))
    return model[0]


def gains(one: TuneLinear) -> list[nn.Parameter]:
    """Return what trains: gains of inputs, if there are any, and of outputs."""
    return [gain for gain in (one.gain_in, one.gain_out) if gain is not None]


def step(one: TuneLinear, site) -> dict[str, torch.Tensor]:
    """Return Y and the gradients."""
    x = site.real["x"].clone().requires_grad_()
    one.zero_grad()
    y = one(x)
    y.backward(site.real["dy"])
    found = {"y": y.detach(), "dx": x.grad, "out": one.gain_out.grad}
    return found if one.gain_in is None else found | {"in": one.gain_in.grad}


FLOAT = Method("tuneqdm", weight_bits=4)
INTEGER = replace(FLOAT, precision=Precision())


def test_gradients_are_those_of_the_formula():
    site = make(9, 13, 11, 1)
    one = layer(site, FLOAT)
    d_in, d_out = (gain.detach().clone().requires_grad_() for gain in (one.gain_in, one.gain_out))
    x = site.real["x"].clone().requires_grad_()
    weight = one.values.float() * (d_out[0] * one.scale)[:, None] * d_in[0]
    y = x @ weight.T
    y.backward(site.real["dy"])
    expected = {"y": y.detach(), "dx": x.grad, "in": d_in.grad, "out": d_out.grad}
    for name, value in step(one, site).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("inputs", [True, False], ids=["both scales", "outputs only"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 13, 11), (33, 20, 17)])
def test_real_values_are_those_of_the_golden_model(shape, inputs, bits):
    site = make(*shape, 1)
    one = layer(site, replace(INTEGER, weight_bits=bits, input_scales=inputs))
    with torch.no_grad():
        if inputs:
            one.gain_in[0, ::3] *= -1  # what a column is scaled by may have either sign
        one.gain_out[0, ::4] *= -0.01
    d_in = one.gain_in[0].detach() if inputs else None
    d_out = one.gain_out[0].detach() * one.scale
    golden = tune_site(site.real["x"], one.values.T, d_in, d_out, site.real["dy"])
    found = step(one, site)
    expected = {"y": golden.y, "dx": golden.dx, "out": golden.d_out[None] * one.scale.double()}
    if inputs:
        expected["in"] = golden.d_in[None]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=3e-7, atol=1e-30, msg=name)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rounding,least", [("nearest", 26), ("stochastic", 22)])
def test_integers_are_near_float(bits, rounding, least):
    site = make(77, 128, 64, 1)
    method = replace(INTEGER, weight_bits=bits, precision=Precision(rounding=rounding))
    exact = step(layer(site, replace(FLOAT, weight_bits=bits)), site)
    found = step(layer(site, method), site)
    for name, value in exact.items():
        assert snr_db(found[name], value) > least, name


@pytest.mark.parametrize("backend", ["functional", "rtl"])
@pytest.mark.parametrize(
    "rounding,inputs", [("nearest", True), ("stochastic", True), ("nearest", False)]
)
def test_a_device_computes_the_same_bits(backend, rounding, inputs):
    site, config = make(9, 13, 11, 1), PRESETS["tiny"]
    if backend == "functional":
        config = Config(rows=4, columns=3)
    method = replace(INTEGER, precision=Precision(rounding=rounding), input_scales=inputs)
    engine = DeviceEngine(Device(config, backend))
    found, expected = (step(layer(site, method, engine=each), site) for each in (engine, None))
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert engine.runs > 4


@pytest.mark.parametrize("gain", ["gain_in", "gain_out"])
def test_scales_that_are_not_finite(gain):
    site = make(9, 13, 11, 1)
    one = layer(site, INTEGER)
    with torch.no_grad():
        getattr(one, gain)[0, 2] = torch.nan
    with pytest.raises(NotFinite, match=f"^0: {gain.replace('gain', 'd')} is not finite"):
        step(one, site)


@pytest.mark.parametrize("inputs,prescaled,dots", [(True, 2, 2), (False, 1, 1)])
def test_without_input_scales_nothing_of_theirs_is_computed(monkeypatch, inputs, prescaled, dots):
    calls = Counter()
    for name in ("prescaled", "column_dots"):
        honest = getattr(TorchEngine, name)

        def counting(self, *arguments, name=name, honest=honest):
            calls[name] += 1
            return honest(self, *arguments)

        monkeypatch.setattr(TorchEngine, name, counting)
    one = layer(make(9, 13, 11, 1), replace(INTEGER, input_scales=inputs))
    step(one, make(9, 13, 11, 1))
    assert calls == {"prescaled": prescaled, "column_dots": dots}
    assert len(list(one.parameters())) == 1 + inputs


def test_measures():
    """Maxima of P and G are those of the chip's integers, near 65536 steps of INT8 each."""
    site = make(9, 13, 11, 1)
    one = layer(site, INTEGER)
    one.context.monitor.listening = True
    step(one, site)
    found = {m.tensor: m.value for m in one.context.monitor.take() if m.kind == "absmax"}
    assert found.keys() == {"X", "P", "U", "dY", "G", "V"}
    for name in ("P", "G"):
        assert 127 * 65536 / 8 < found[name] <= 127 * 65536 and found[name].is_integer()


class Denoiser(nn.Module):
    """Something that is called as denoisers are."""

    def __init__(self) -> None:
        super().__init__()
        self.to_k = nn.Linear(5, 6)

    def forward(self, images, times, text):
        return images.sum((1, 2))[:, None, None] + self.to_k(text)


def denoiser(method) -> tuple[Denoiser, TuneLinear]:
    torch.manual_seed(0)
    model = Denoiser()
    adapt(model, "to_k", method)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.to_k.gain_out.copy_(1 + torch.rand(model.to_k.gain_out.shape, generator=generator))
    return model, model.to_k


IMAGES, TEXT = torch.zeros(5, 2, 2), torch.ones(5, 3, 5)


@pytest.mark.parametrize("method", ["fp32-tuneqdm", "int8-tuneqdm"])
def test_each_sample_has_the_expert_of_its_time(method):
    model, one = denoiser(method)
    times = torch.tensor([999, 0, 250, 749, 249])
    together = model(IMAGES, times, TEXT)
    for sample, (time, expert) in enumerate(zip(times.tolist(), (3, 0, 1, 2, 0), strict=True)):
        alone = model(IMAGES[:1], timestep := torch.tensor([time]), TEXT[:1])
        torch.testing.assert_close(together[sample : sample + 1], alone, rtol=1e-6, atol=1e-6)
        one.zero_grad()
        model(IMAGES[:1], times=timestep, text=TEXT[:1]).sum().backward()
        assert one.gain_out.grad.any(1).nonzero().tolist() == [[expert]]
    assert not torch.equal(together[0], together[1])
    # One time for all samples, as samplers give it.
    same = model(IMAGES, torch.tensor(999), TEXT)
    torch.testing.assert_close(same[:1], together[:1])


def test_experts_need_times():
    model, one = denoiser("int8-tuneqdm")
    with pytest.raises(ValueError, match="^experts and schedules need a model that is"):
        adapt(nn.Sequential(nn.Linear(5, 6)), "0", "int8-tuneqdm")
    model(IMAGES, torch.tensor(3), TEXT)
    with pytest.raises(ValueError, match="^to_k: times are needed, one for each of 4 samples$"):
        one(TEXT[:4])


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"weight_bits": None}, "^tuneqdm needs weight_bits"),
        ({"weight_bits": 5}, "^weight_bits must be 4 or 8, not 5$"),
        ({"precision": Precision(scales="tensor")}, "^tuneqdm needs scales by channel"),
        ({"trains": "lora", "experts": 2}, "^experts and input_scales are of tuneqdm, not of lora"),
        ({"trains": "full"}, "^weight_bits are of a frozen weight"),
    ],
)
def test_methods_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(INTEGER, **changes)


def test_lora_on_a_weight_of_four_bits():
    model = nn.Sequential(nn.Linear(20, 6))
    adapt(model, "0", METHODS["int8-4bit"])
    assert all(len(row.unique()) <= 16 for row in model[0].weight)
