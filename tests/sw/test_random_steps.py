"""Random steps on random arrays, with random fusions: every bit that of the golden model."""

from __future__ import annotations

import random

import pytest

from hw.isa.config import Config
from sw.driver import Device
from sw.graph.compile import compile_step
from sw.graph.fusions import Fusions
from sw.graph.session import shape_in
from sw.graph.tensors import random_tensors

from .golden_step import GoldenStep, assert_bits, assert_near, loss, modules_model

ARRAYS = [(4, 4, 4), (8, 4, 8), (8, 8, 16)]
"""Rows, columns and bytes of the bus of the arrays that are built as RTL."""


def check(seed: int, backend: str = "functional", products: int = 1) -> None:
    """Run a step that a seed gives, on elements of so many products."""
    rng = random.Random(seed)
    if backend == "rtl":
        rows, columns, bus = rng.choice(ARRAYS)
    else:
        rows, bus = rng.choice((4, 8, 16)), rng.choice((4, 8, 16))
        columns = rng.choice((rows, 4, 8))
    depth = 512 if backend == "rtl" else rng.choice((512, 1024))
    config = Config(
        rows=rows, columns=columns, bus_bytes=bus,
        input_depth=depth, weight_depth=depth, output_depth=depth, macs_per_element=products,
    )  # fmt: skip
    batch, reading = rng.choice((1, 2)), rng.choice(("kv", "xattn"))
    modules = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        heads, tokens = rng.choice((1, 2, 3)), rng.randint(1, 20)
        if batch > 1:  # samples start at whole beats
            tokens = -(-tokens // bus) * bus
        modules.append((tokens, heads * rng.choice((1, 2, 4, 5, 8, 16)), heads))
    text_width = rng.randint(1, 30)
    rank = rng.randint(1, min(text_width, *(channels for _, channels, _ in modules)))
    model = modules_model(modules, text_tokens=rng.randint(2, 9), text_width=text_width)
    fusions = Fusions(*(rng.random() < 0.7 for _ in Fusions.names()))
    step = compile_step(config, model, reading=reading, batch=batch, rank=rank, fusions=fusions)
    shape = shape_in(step)
    tensors = random_tensors(shape, seed)
    result = Device(config, backend).session(step, loss=loss).run(tensors)
    what = f"seed {seed}, {backend}, {products} products, {fusions}"
    assert_bits(shape, result, what)
    assert_near(GoldenStep(shape, tensors), result, what)


@pytest.mark.parametrize("seed", range(8))
def test_random_steps(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("products", [2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_random_steps_of_several_products(seed: int, products: int) -> None:
    check(seed, products=products)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 1150))
def test_many_random_steps(seed: int) -> None:
    check(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2000, 2030))
def test_random_steps_on_rtl(seed: int) -> None:
    check(seed, "rtl")
