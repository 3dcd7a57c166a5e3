"""Energy of MACs by the bits of their operands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from sim.silicon import silicon
from sw.train.adapt import adapt
from sw.train.mac_energy import mac_pj, products
from sw.train.precision import METHODS, Method, Precision

from .test_schedule import Denoiser


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


def test_products_of_tuneqdm():
    method = replace(METHODS["int8-tuneqdm"], experts=1)
    found = products(linear(method)[1], Precision())
    assert found == {(8, 4): 120 + 64 * 16, (8, 8): 64 * 16}


def test_fewer_bits_take_less():
    spent = {name: mac_pj(linear(METHODS[name])[0]) for name in ("int8", "int6", "int4")}
    assert spent["int8"] == pytest.approx(silicon().narrow[8, 8].mac_ws.timed)
    assert spent["int8"] > spent["int6"] > spent["int4"]
    assert mac_pj(linear(METHODS["fp32"])[0]) is None


def test_a_schedule_is_the_mean_of_its_ranges():
    fine, coarse = METHODS["int8"], METHODS["int4"]
    both = replace(coarse, schedule=((0.25, fine.precision),))
    ends = [mac_pj(adapt(Denoiser(), "to_k", each, rank=3)) for each in (fine, coarse, both)]
    assert ends[2] == pytest.approx(0.25 * ends[0] + 0.75 * ends[1])
