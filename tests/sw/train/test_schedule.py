"""Precision by the noise of each sample: who takes which, and that each is computed as if alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hw.isa.config import Config
from sw.driver import Device
from sw.train.adapt import adapt
from sw.train.device import DeviceEngine
from sw.train.precision import METHODS, Method, Precision

FINE, COARSE = Precision(), Precision(weight_bits=4, activation_bits=4, gradient_bits=6)
SCHEDULED = Method(precision=COARSE, schedule=((0.3, FINE),))
TIMES = torch.tensor([0, 299, 300, 999])


class Denoiser(nn.Module):
    """A model with attention that may be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.to_k, self.attend = nn.Linear(5, 6), nn.functional.scaled_dot_product_attention

    def forward(self, images, times, text):
        keys = self.to_k(text)
        return self.attend(images, keys, keys)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


IMAGES, TEXT = drawn(4, 7, 6, seed=0), drawn(4, 3, 5, seed=1)


def run(method, images=IMAGES, times=TIMES, text=TEXT, **options):
    """Return the output, and the gradients of A and B."""
    torch.manual_seed(0)
    model = Denoiser()
    adapt(model, "to_k", method, rank=2, **options)
    with torch.no_grad():
        model.to_k.lora_B.copy_(drawn(6, 2, seed=2))
    out = model(images, times, text)
    out.square().sum().backward()
    return out.detach(), model.to_k.lora_A.grad, model.to_k.lora_B.grad


def test_samples_take_the_precision_of_their_time():
    out, *gradients = run(SCHEDULED)
    low, high = slice(0, 2), slice(2, 4)
    fine, *fine_gradients = run(Method(precision=FINE), IMAGES[low], TIMES[low], TEXT[low])
    coarse, *coarse_gradients = run(Method(precision=COARSE), IMAGES[high], TIMES[high], TEXT[high])
    assert torch.equal(out[low], fine) and torch.equal(out[high], coarse)
    sums = map(torch.add, fine_gradients, coarse_gradients)
    for found, expected in zip(gradients, sums, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_device_computes_the_same_bits():
    found = run(SCHEDULED, engine=DeviceEngine(Device(Config(rows=4, columns=3))))
    for value, expected in zip(found, run(SCHEDULED), strict=True):
        assert torch.equal(value, expected)


def test_attention_has_the_precision_of_its_time():
    """The module attends by itself, so the whole model can be named."""

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Denoiser()

        def forward(self, images, times, text):
            return self.inner(images, times, text)

    def attended(method, part=slice(None)):
        torch.manual_seed(0)
        model = Outer()
        adapt(model, "*to_k", method, attention="inner")
        return model(IMAGES[part], TIMES[part], TEXT[part]).detach()

    whole, low, high = attended(SCHEDULED), slice(0, 2), slice(2, 4)
    assert torch.equal(whole[low], attended(Method(precision=FINE), low))
    assert torch.equal(whole[high], attended(Method(precision=COARSE), high))
    assert not torch.equal(whole[low], attended(Method(precision=COARSE), low))


@pytest.mark.parametrize(
    "times,total,found",
    [
        ([0, 999, 1000, 5], 1000, "whole numbers from 0 to 999, not 1000"),
        ([0, -1, 3, 5], 1000, "whole numbers from 0 to 999, not -1"),
        ([0.0, 0.7, 1.0, 0.2], 1000, "whole numbers from 0 to 999, not 0.7"),
        ([0.0, float("nan"), 1.0, 0.2], 1000, "whole numbers from 0 to 999, not nan"),
        ([0, 3, 4, 1], 4, "whole numbers from 0 to 3, not 4"),
    ],
    ids=str,
)
def test_times_that_are_none(times, total, found):
    message = f"^to_k: times must be {found}; `total` says how many there are$"
    for method in (SCHEDULED, METHODS["int8-tuneqdm"], METHODS["fp32-tuneqdm"]):
        torch.manual_seed(0)
        model = Denoiser()
        adapt(model, "to_k", method, rank=2, total=total)
        with pytest.raises(ValueError, match=message):
            model(IMAGES, torch.tensor(times), TEXT)


def test_samplers_may_go_through_fractions():
    model = Denoiser()
    adapt(model, "to_k", METHODS["int8-tuneqdm"])
    with torch.no_grad():
        model(IMAGES, torch.tensor(946.42), TEXT)
        with pytest.raises(ValueError, match="^to_k: times must be from 0 to 999, not 999.5; "):
            model(IMAGES, torch.tensor(999.5), TEXT)


def test_times_of_another_total():
    """The same share of the noise has the same precision, and the same expert."""
    for method in (SCHEDULED, METHODS["int8-tuneqdm"]):
        outputs = []
        for total in (1000, 4000):
            torch.manual_seed(0)
            model = Denoiser()
            adapted = adapt(model, "to_k", method, rank=2, total=total)
            assert adapted.total == total
            with torch.no_grad():
                for value in adapted.parameters():
                    value.copy_(drawn(*value.shape, seed=2))
            outputs.append(model(IMAGES, TIMES * (total // 1000), TEXT))
        assert torch.equal(*outputs)


@pytest.mark.parametrize("total", [0, 2.5, "many"])
def test_totals_are_checked(total):
    with pytest.raises(ValueError, match="^total must be a whole number of at least 1, not "):
        adapt(Denoiser(), "to_k", SCHEDULED, total=total)


@pytest.mark.parametrize("limits", [(0.0,), (1.0,), (0.5, 0.5), (0.6, 0.4), (-1.0,)], ids=str)
def test_limits_ascend(limits):
    with pytest.raises(ValueError, match="^limits of a schedule must ascend between 0 and 1"):
        Method(precision=FINE, schedule=tuple((limit, COARSE) for limit in limits))


def test_a_schedule_needs_the_rest():
    with pytest.raises(ValueError, match="^a schedule of integers needs a precision"):
        Method(schedule=((0.5, FINE),))


def test_a_model_without_times():
    with pytest.raises(ValueError, match="^experts and schedules need a model that is called"):
        adapt(nn.Sequential(nn.Linear(5, 6)), "0", SCHEDULED)
