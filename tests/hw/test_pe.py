"""Elements and arrays against their specification, register by register, in every variant."""

from __future__ import annotations

import itertools

import pytest

from hw.array import Array
from hw.isa.config import Config
from hw.pe import ProcessingElement, control_layout
from hw.shared import Builder

from .bench import run_unit
from .specification import follow_array, follow_element

VARIANTS = {
    f"{'ws' * ws}{'os' * os}-overlap{overlap}-register{register}": Config(
        weight_stationary=ws,
        output_stationary=os,
        drain_overlap=overlap,
        product_register=register,
    )
    for (ws, os), overlap, register in itertools.product(((1, 1), (1, 0), (0, 1)), (0, 1), (0, 1))
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", VARIANTS)
def test_registers_follow_the_specification(variant: str, seed: int) -> None:
    config = VARIANTS[variant]
    run_unit(ProcessingElement(config), follow_element, config, seed, 300)


@pytest.mark.parametrize("products", [2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_elements_of_several_products(variant: str, products: int) -> None:
    config = VARIANTS[variant].replace(macs_per_element=products)
    for seed in range(2):
        run_unit(ProcessingElement(config), follow_element, config, seed, 150)


@pytest.mark.parametrize("variant", VARIANTS)
def test_arrays_are_elements_side_by_side(variant: str) -> None:
    config = VARIANTS[variant].replace(rows=3, columns=2)
    for seed in range(2):
        run_unit(Array(config, Builder()), follow_array, config, seed, 120)


def test_an_element_has_the_control_it_needs() -> None:
    """Fewer bits are fewer flip-flops in every element."""
    found = {name: len(control_layout(config).members) for name, config in VARIANTS.items()}
    assert {name: size for name, size in found.items() if name.endswith("register0")} == {
        "wsos-overlap0-register0": 4,
        "wsos-overlap1-register0": 6,
        "ws-overlap0-register0": 3,
        "ws-overlap1-register0": 3,
        "os-overlap0-register0": 3,
        "os-overlap1-register0": 4,
    }
