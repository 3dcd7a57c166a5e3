"""The main job: all training products of a LoRA site, RTL = functional model = torch golden."""

from __future__ import annotations

import numpy as np
import pytest

from hw.isa.config import Config
from sim.axi import Stalls
from sw.demo import SHAPE, compare, golden, make_site
from sw.driver import Device
from sw.layer import compile_layer
from sw.layer_run import LayerResult, quantise_site, run_layer

from .random_programs.case import CONFIGS

TENSORS = ("x", "w", "a", "b", "dy")
TINY = Config.preset("tiny")
WATCHED = {"stalls": Stalls.everywhere(0.2), "seed": 3, "check_protocol": True}
"""Options of the RTL: every channel stalls at random, every AXI rule is checked."""
OBLONG = CONFIGS["7x8"]


def run(
    device: Device, sizes: dict[str, int], tensors: dict[str, np.ndarray], dataflow: str
) -> LayerResult:
    """Compile and run a site."""
    layer = compile_layer(device.config, **sizes, dataflow=dataflow, column_copies="rescaled")
    inputs = quantise_site(*(tensors[name] for name in TENSORS), column_copies="rescaled")
    return run_layer(device, layer.program, inputs)


def assert_exact(result: LayerResult, expected: dict[str, np.ndarray], rung: str) -> None:
    for name, array in expected.items():
        difference = compare(result.arrays[name], array)
        assert difference is None, f"{rung}: {name} at {difference}"


@pytest.mark.parametrize("dataflow", ["auto", "ws", "os"])
@pytest.mark.parametrize(
    "config, sizes",
    [
        (TINY, {"n": 7, "d1": 19, "d2": 13, "r": 2}),
        (TINY, {"n": 5, "d1": 8, "d2": 9, "r": 1}),
        (OBLONG, {"n": 11, "d1": 17, "d2": 23, "r": 4}),
    ],
)
def test_small_sites(config: Config, sizes: dict[str, int], dataflow: str) -> None:
    tensors = make_site(**sizes, seed=sum(sizes.values()))
    expected = golden(tensors)
    model = run(Device(config), sizes, tensors, dataflow)
    assert_exact(model, expected, "functional model = golden")
    result = run(Device(config, "rtl", options=WATCHED), sizes, tensors, dataflow)
    assert_exact(result, expected, "RTL = golden")


def test_first_step_of_training() -> None:
    """B is zero: dH, its copies, dX's update and dA are zero, by the rules for absmax 0 alone."""
    sizes = {"n": 6, "d1": 10, "d2": 9, "r": 2}
    tensors = make_site(**sizes, seed=1)
    tensors["b"][:] = 0
    expected = golden(tensors)
    result = run(Device(TINY, "rtl", options=WATCHED), sizes, tensors, "auto")
    assert_exact(result, expected, "RTL = golden")
    assert not result.arrays["dA"].any() and result.arrays["dB"].any()


def test_both_dataflows_in_one_program() -> None:
    layer = compile_layer(TINY, n=7, d1=19, d2=13, r=2, column_copies="rescaled")
    assert {product.dataflow for product in layer.program.products} >= {"ws", "os"}


@pytest.mark.nightly
def test_the_real_site_on_the_64x64_rtl() -> None:
    """What `cdmqta demo` runs: 77x768 -> 320, rank 4, every output of every product."""
    tensors = make_site(**SHAPE, seed=0)
    expected = golden(tensors)
    result = run(Device(Config.preset("paper"), "rtl", options=WATCHED), SHAPE, tensors, "auto")
    assert_exact(result, expected, "RTL = golden")
    assert set(expected) >= {"H", "Y", "dH", "dX", "dA", "dB"}
