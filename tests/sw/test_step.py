"""Whole training steps on the functional model: every bit that of the golden model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hw.isa.config import Config
from sw.driver import Device
from sw.graph.compile import compile_step
from sw.graph.fusions import Fusions
from sw.graph.session import StepResult, shape_in
from sw.graph.shape import Shape
from sw.graph.tensors import frozen_shapes, lora_names, random_tensors
from sw.models.layers import Dense, Model, Reading
from sw.place import PlacementError

from .golden_step import GoldenStep, assert_bits, assert_near, loss, modules_model

DEPTHS = {"input_depth": 256, "weight_depth": 256, "output_depth": 256}
SMALL = Config(rows=4, columns=4, bus_bytes=4, **DEPTHS)
SQUARE = Config(rows=8, columns=8, bus_bytes=8, **DEPTHS)
OBLONG = Config(rows=2, columns=3, bus_bytes=4, **DEPTHS)
SCALING = 2

SITES = modules_model([(1, 10, 5), (1, 6, 1), (1, 17, 1)], text_tokens=7, text_width=19)
MODULE = modules_model([(8, 16, 2)], text_tokens=5, text_width=12)


def run(
    config: Config,
    model: Model,
    reading: str,
    rank: int,
    *,
    batch: int = 2,
    fusions: Fusions | None = None,
    steps: int = 1,
) -> tuple[Shape, list[StepResult]]:
    """Run steps of a model, new inputs in each, and hold them against golden."""
    step = compile_step(config, model, reading=reading, batch=batch, rank=rank, fusions=fusions)
    shape = shape_in(step)
    session = Device(config).session(step, loss=loss, scaling=SCALING)
    first = random_tensors(shape, 0)
    frozen = {name: first[name] for name in frozen_shapes(shape)}
    golden, results = None, []
    for seed in range(steps):
        tensors = random_tensors(shape, seed, frozen)
        given = {n: t for n, t in tensors.items() if not seed or n not in frozen}
        results.append(session.run(given))
        assert_bits(shape, results[-1], f"functional model = golden, step {seed}")
        golden = GoldenStep(shape, tensors, SCALING, golden)
        assert_near(golden, results[-1], f"host of the step ~ golden, step {seed}")
    return shape, results


@pytest.mark.parametrize("rank", [1, 3, 4, 5, 6])
@pytest.mark.parametrize("config", [SMALL, SQUARE, OBLONG], ids=["4x4", "8x8", "2x3"])
def test_sites_of_a_text(config: Config, rank: int) -> None:
    """Odd sizes; ranks that divide the array, do not, and are larger."""
    shape, _ = run(config, SITES, "kv", rank)
    assert len(shape.sites) == 6


@pytest.mark.parametrize("config", [SMALL, SQUARE], ids=["4x4", "8x8"])
def test_a_module(config: Config) -> None:
    """Two steps of one program: the second with scales of the first one's maxima."""
    run(config, MODULE, "xattn", 2, steps=2)


def test_modules_one_behind_the_other() -> None:
    model = modules_model([(16, 16, 2), (8, 24, 1)], text_tokens=7, text_width=19)
    shape, _ = run(SQUARE, model, "xattn", 3, steps=2)
    assert len(shape.modules) == 2


def test_sizes_that_fill_no_tile() -> None:
    model = modules_model([(6, 15, 3)], text_tokens=5, text_width=9)
    run(SMALL, model, "xattn", 3, batch=1)


def test_other_layers_are_products_that_stand_for_themselves() -> None:
    """Feed-forward around a module: forward, and the gradient of its input."""
    around = (
        Dense("down.0.ff.0", 8, 16, 24, Reading.TRANSFORMER),
        Dense("down.0.ff.2", 8, 24, 16, Reading.TRANSFORMER),
    )
    model = Model("transformer", (*MODULE.layers, *around))
    _, (result,) = run(SQUARE, model, "transformer", 2)
    sums = [name for name in result.values if name.startswith("plain.") and name.endswith(".out")]
    assert len(sums) == 4


@pytest.mark.parametrize("off", [*Fusions.names(), "all"])
@pytest.mark.parametrize("model, reading", [(SITES, "kv"), (MODULE, "xattn")], ids=["kv", "xattn"])
def test_every_fusion_off_gives_equal_bits(model: Model, reading: str, off: str) -> None:
    fusions = Fusions.parse("none" if off == "all" else f"-{off}")
    assert fusions != Fusions()
    _, (fused,) = run(SQUARE, model, reading, 3)
    _, (unfused,) = run(SQUARE, model, reading, 3, fusions=fusions)
    assert len(unfused.results) >= len(fused.results)
    gaps = {"text.Y", "text.dBt"}  # between the sites
    for name in fused.values.keys() & unfused.values.keys() - gaps:
        assert np.array_equal(fused.values[name], unfused.values[name]), name
    for found, wanted in (
        (unfused.outputs, fused.outputs), (unfused.gradients, fused.gradients)
    ):  # fmt: skip
        assert found.keys() == wanted.keys() and found
        for name, array in wanted.items():
            assert np.array_equal(found[name], array), name


def test_the_first_step_of_training() -> None:
    """B is zero, as LoRA begins: no updates, no gradient of A."""
    step = compile_step(SQUARE, MODULE, reading="xattn", batch=2, rank=2)
    shape = shape_in(step)
    tensors = random_tensors(shape, 0)
    for site in shape.sites:
        tensors[lora_names(site.path)[1]][:] = 0
    result = Device(SQUARE).session(step, loss=loss).run(tensors)
    assert_bits(shape, result, "functional model = golden")
    for site in shape.sites:
        down, up = (result.gradients[name] for name in lora_names(site.path))
        assert not down.any() and up.any()


def test_what_finds_no_room_in_dram_is_named() -> None:
    sites = modules_model([(1, 300, 1), (1, 200, 1)], text_tokens=7, text_width=90)
    message = (
        r"^text.W of 90720 bytes does not fit DRAM: 0 of the 65536 bytes that address_bits 16 "
        r"reach are taken while it is needed$"
    )
    with pytest.raises(PlacementError, match=message):
        compile_step(SQUARE.replace(address_bits=16), sites, reading="kv", rank=2)


def test_a_wrong_bit_is_seen() -> None:
    shape, (result,) = run(SMALL, MODULE, "xattn", 1)
    for name in ("text.dX", "down.0.attn2.S", "down.0.attn2.Q.maxima"):
        right = result.values[name]
        wrong = replace(result, values=result.values | {name: right ^ (right == right.max())})
        with pytest.raises(AssertionError, match=f"a rung: {name} at"):
            assert_bits(shape, wrong, "a rung")
    short = {name: value for name, value in result.values.items() if name != "text.dA"}
    with pytest.raises(AssertionError, match=r"a rung: the device does not give \['text.dA'\]"):
        assert_bits(shape, replace(result, values=short), "a rung")
