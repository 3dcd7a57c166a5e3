"""Energy of MACs by the bits of their operands."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from sim.silicon import silicon
from sw.train.adapt import adapt
from sw.train.attention import AttentionSizes
from sw.train.mac_energy import attention_products, mac_energy, products
from sw.train.precision import METHODS, Method, Precision

from .test_schedule import IMAGES, TEXT, TIMES, Denoiser


def linear(method: Method):
    """Return a layer of 10 to 6 features."""
    model = nn.Sequential(nn.Linear(10, 6))
    return adapt(model, "0", method, rank=3), model[0]


def test_products_of_lora():
    precision = Precision(weight_bits=4, activation_bits=6, gradient_bits=8)
    found = products(linear(Method(precision=precision))[1], precision)
    assert found == {(6, 4): 60 + 30, (8, 4): 60 + 18 + 48, (6, 8): 30, (8, 8): 18}
    assert found.total() == 2 * 60 + 4 * 48 - 48


def test_products_of_full_training():
    found = products(linear(METHODS["int8-full"])[1], Precision())
    assert found == {(8, 8): 180}
    assert products(linear(METHODS["int8-full"])[1], Precision(), dx=False) == {(8, 8): 120}


def test_products_of_tuneqdm():
    method = replace(METHODS["int8-tuneqdm"], experts=1)
    found = products(linear(method)[1], Precision())
    assert found == {(8, 4): 120 + 64 * 16, (8, 8): 64 * 16}


def test_products_of_tuneqdm_without_input_scales():
    method = replace(METHODS["int8-tuneqdm"], experts=1, input_scales=False)
    precision = Precision(activation_bits=6)
    found = products(linear(method)[1], precision)
    assert found == {(6, 4): 60, (8, 4): 60 + 64 * 6, (8, 8): 64 * 6}


def test_products_of_attention():
    """Seven pairs of a softmax's neighbours: dP is needed for dQ or dK, dV for itself."""
    precision = Precision(activation_bits=6, gradient_bits=4)
    counts = {
        (True, True, True): {(6, 6): 20, (4, 6): 20, (6, 4): 20},
        (False, True, False): {(6, 6): 20, (4, 6): 10, (6, 4): 10},
        (False, False, True): {(6, 6): 20, (4, 6): 0, (6, 4): 10},
    }
    for wanted, expected in counts.items():
        assert attention_products(AttentionSizes(10, *wanted), precision) == expected


def spent(method: Method, rows: int = 5):
    """Return the energy of a layer of 10 to 6 features with so many rows."""
    adapted, layer = linear(method)
    return mac_energy(adapted, partial(layer, torch.zeros(rows, 10)))


def test_fewer_bits_take_less():
    found = {name: spent(METHODS[name]) for name in ("int8", "int6", "int4")}
    assert found["int8"].pj == pytest.approx(silicon().narrow[8, 8].mac_ws.timed)
    assert found["int8"].joules > found["int6"].joules > found["int4"].joules
    assert found["int8"].macs == 5 * (2 * 60 + 3 * 48)
    assert spent(METHODS["int8"], rows=10).joules == pytest.approx(2 * found["int8"].joules)
    assert spent(METHODS["fp32"]) is None


def test_more_macs_take_more_though_each_takes_less():
    lora, tune = (
        spent(method) for method in (METHODS["int8"], replace(METHODS["int8-tuneqdm"], experts=1))
    )
    assert tune.pj < lora.pj and tune.joules > lora.joules


def test_a_schedule_is_the_mean_of_its_ranges():
    fine, coarse = METHODS["int8"], METHODS["int4"]
    both = replace(coarse, schedule=((0.25, fine.precision),))
    ends = []
    for each in (fine, coarse, both):
        model = Denoiser()
        batch = partial(model, IMAGES, TIMES, TEXT)
        ends.append(mac_energy(adapt(model, "to_k", each, rank=3), batch))
    assert ends[2].joules == pytest.approx(0.25 * ends[0].joules + 0.75 * ends[1].joules)
    assert ends[2].macs == pytest.approx(ends[0].macs)


class Attention(nn.Module):
    """Two projections, of which one trains, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k = nn.Linear(4, 8, bias=False), nn.Linear(5, 8, bias=False)
        self.attend = scaled_dot_product_attention

    def forward(self, rows, text):
        k = self.to_k(text)
        return self.attend(self.to_q(rows), k, k)


@pytest.mark.parametrize("frozen,attention", [("to_q", ()), ("to_q", ""), ((), "")])
def test_all_that_is_quantised_counts(frozen, attention):
    """Seven rows of two samples and three of text: each layer by its own rows and gradients."""
    model, rows, text = Attention(), torch.zeros(2, 7, 4), torch.zeros(2, 3, 5)
    adapted = adapt(model, "to_k", "int8", rank=1, frozen=frozen, attention=attention)
    found = mac_energy(adapted, partial(model, rows, text))
    trained = 6 * (2 * 5 * 8 + 3 * (5 + 8))
    others = 14 * 4 * 8 if frozen else 0  # its input has no gradient
    attended = 2 * 7 * 3 * 8 * (2 + 3) if attention == "" else 0  # all gradients but Q's
    assert found.macs == trained + others + attended
    pj = silicon().narrow[8, 8].mac_ws.timed
    assert found.joules == pytest.approx(found.macs * pj * 1e-12)
    assert found.trained_joules == pytest.approx(trained * pj * 1e-12)
