"""A whole cross-attention module on RTL: LoRA on K and V, forward and backward, bit by bit.

Softmax and loss are the host's, between two programs.
"""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from hw.isa.registers import COUNTERS, DATA_COUNTERS
from sim.axi import Stalls
from sw.driver import Device
from sw.graph.compile import compile_step
from sw.graph.fusions import Fusions
from sw.graph.session import StepResult, shape_in
from sw.graph.shape import module_model
from sw.graph.tensors import random_tensors
from sw.graph.timing import time_step
from sw.models.layers import Model

from ..marks import nightly
from ..sw.golden_step import GoldenStep, assert_bits, assert_near, loss, modules_model
from .random_programs.case import CONFIGS

SCALING = 2
TINY = CONFIGS["4x4"]
SMALL_ARRAY = Config.preset("small")
MEDIUM = Config(
    rows=16, columns=16, bus_bytes=16, input_depth=256, weight_depth=256, output_depth=512,
    drain_overlap=1,
)  # fmt: skip
WATCHED = {"stalls": Stalls.everywhere(0.1), "seed": 5, "check_protocol": True}
"""Options of the RTL: every channel stalls at random, every AXI rule is checked."""
COMPARED = tuple(each.name for each in COUNTERS if each.name not in DATA_COUNTERS)
"""Counters that the timing model knows without data."""


def run(
    device: Device,
    model: Model,
    *,
    reading: str = "xattn",
    rank: int = 4,
    batch: int = 1,
    fusions: Fusions | None = None,
    steps: int = 1,
    timed: bool = False,
) -> StepResult:
    """Run steps on new LoRA weights, text and latents, and hold them against golden.

    With `timed`, every counter of the last step is that of the timing model, too.
    """
    step = compile_step(
        device.config, model, reading=reading, batch=batch, rank=rank, fusions=fusions
    )
    shape = shape_in(step)
    session = device.session(step, loss=loss, scaling=SCALING)
    tensors, golden = random_tensors(shape, 0), None
    for number in range(steps):
        result = session.run(tensors if not number else {})
        assert_bits(shape, result, f"{device.backend} = golden, step {number}")
        golden = GoldenStep(shape, tensors, SCALING, golden)
        assert_near(golden, result, f"host of the step ~ golden, step {number}")
    if timed:
        expected = time_step(step)
        for program, seen, modelled in zip(step.programs, result.results, expected, strict=True):
            counters = {name: seen.counters[name] for name in COMPARED}
            assert counters == {name: modelled.counters[name] for name in COMPARED}, program.name
    return result


SMALL = module_model(tokens=64, channels=64, heads=4, text_tokens=77, text_width=96)


ARRAYS = pytest.mark.parametrize("config", [SMALL_ARRAY, *nightly(MEDIUM)])


@ARRAYS
def test_a_small_module_on_16x16(config: Config) -> None:
    run(Device(config, "rtl", options=WATCHED), SMALL)


@ARRAYS
def test_a_small_module_takes_the_cycles_of_the_timing_model(config: Config) -> None:
    run(Device(config, "rtl"), SMALL, timed=True)


@pytest.mark.parametrize(
    ("reading", "off"),
    [
        *(("xattn", off) for off in ("", *Fusions.names(), "all")),
        ("kv", ""),
        *nightly(*(("kv", off) for off in Fusions.names())),
        ("kv", "all"),
    ],
)
def test_every_fusion_on_a_tiny_array(reading: str, off: str) -> None:
    """The same program on both: RTL = functional model = golden, with every fusion off in turn."""
    fusions = Fusions.parse({"": "all", "all": "none"}.get(off, f"-{off}"))
    if reading == "kv":
        model = modules_model([(1, 12, 1), (1, 8, 1)], text_tokens=5, text_width=9)
    else:
        model = modules_model([(4, 8, 2)], text_tokens=5, text_width=9)
    run(Device(TINY, "rtl", options=WATCHED), model, reading=reading, rank=2, fusions=fusions)


@pytest.mark.nightly
def test_the_real_module_on_64x64() -> None:
    """The 16x16 latent level of Stable Diffusion 1.5: about a million cycles."""
    model = module_model(tokens=256, channels=1280, heads=8, text_tokens=77, text_width=768)
    run(Device(Config.preset("paper"), "rtl"), model, timed=True)
