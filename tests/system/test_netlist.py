"""RTL and mapped netlist of elements and arrays, in Verilator and Icarus, under one bench.

The bench holds them to the specification that `tests/hw/test_pe.py` holds the RTL to in Amaranth's
simulator. A netlist is what ``cdmqta synth --netlist`` writes, its models of cells included.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sim.synth.design import verilog_of
from sim.synth.library import LibraryError, fetch
from sim.synth.stimulus import normal_int8, record
from sim.synth.synthesis import synthesise
from tests.sim.synth.powered import TEXT
from tests.sim.tools import needs_icarus, needs_verilator

from .units import SimulatedUnits, UnitText

SIMULATORS = [
    pytest.param("verilator", marks=needs_verilator),
    pytest.param("icarus", marks=needs_icarus),
]
FORMS = ("rtl", "netlist")
ELEMENTS = {
    "overlap": {"drain_overlap": 1},
    "no overlap": {"drain_overlap": 0},
    "overlap, register": {"drain_overlap": 1, "product_register": 1},
    "no overlap, register": {"drain_overlap": 0, "product_register": 1},
    "four products": {"macs_per_element": 4, "drain_overlap": 1},
}
MORE_ELEMENTS = {
    "WS": {"output_stationary": 0},
    "OS": {"weight_stationary": 0, "drain_overlap": 1},
    "OS, no overlap, register": {
        "weight_stationary": 0, "drain_overlap": 0, "product_register": 1,
    },
    "two products, register": {
        "macs_per_element": 2, "drain_overlap": 1, "product_register": 1,
    },
    "four products, no overlap, register": {
        "macs_per_element": 4, "drain_overlap": 0, "product_register": 1,
    },
}  # fmt: skip
ARRAYS = {
    "verilator": {"overlap": {"drain_overlap": 1}, "no overlap": {"drain_overlap": 0}},
    "icarus": {"no overlap": {"drain_overlap": 0}},  # it is slow
}


@pytest.fixture(scope="module")
def liberty(tmp_path_factory) -> Path:
    """Return a library of a few cells."""
    file = tmp_path_factory.mktemp("library") / "round.lib"
    file.write_text(TEXT)
    return file


class Forms:
    """RTL and netlist of variants of a unit in one simulation, and what comes of their tests."""

    def __init__(
        self, unit: str, variants: dict[str, dict[str, int]], liberty: Path | None, simulator: str
    ) -> None:
        self.unit = unit
        self.cases = {
            (variant, form): Config().replace(**change)
            for variant, change in variants.items()
            for form in FORMS
        }
        texts = [
            UnitText(unit, _verilog(config, unit, form, liberty))
            for (_, form), config in self.cases.items()
        ]
        self.simulated = SimulatedUnits(texts, simulator)

    def follow(self, cycles: int, folder: Path) -> dict[tuple[str, str], str]:
        """Return what came of the specification, by variant and form."""
        what = {"pe": "element", "array": "array"}[self.unit]
        orders = [
            {"unit": number, "what": what, "config": config.to_mapping(), "seeds": [0, 1],
             "cycles": cycles}
            for number, config in enumerate(self.cases.values())
        ]  # fmt: skip
        return dict(zip(self.cases, self.simulated.run(orders, folder), strict=True))


@cache
def _verilog(config: Config, unit: str, form: str, liberty: Path | None) -> str:
    if form == "rtl":
        return verilog_of(config, unit)[0]
    return synthesise(config, unit, liberty=liberty).netlist_verilog()


@pytest.fixture(scope="module")
def forms(liberty: Path) -> Callable[..., Forms]:
    """Build what is asked for, once."""
    made: dict[tuple[str, str], Forms] = {}

    def forms(unit: str, simulator: str) -> Forms:
        if (unit, simulator) not in made:
            variants = {"pe": ELEMENTS, "array": ARRAYS[simulator]}[unit]
            made[unit, simulator] = Forms(unit, variants, liberty, simulator)
        return made[unit, simulator]

    return forms


@pytest.mark.parametrize(
    ("unit", "cycles", "simulator"),
    [
        pytest.param("pe", 150, "icarus", marks=needs_icarus),
        pytest.param("pe", 150, "verilator", marks=[needs_verilator, pytest.mark.nightly]),
        pytest.param("array", 40, "icarus", marks=needs_icarus),
        pytest.param("array", 40, "verilator", marks=needs_verilator),
    ],
)
def test_both_forms_follow_the_specification(
    forms: Callable[..., Forms], unit: str, cycles: int, simulator: str, tmp_path: Path
) -> None:
    came = forms(unit, simulator).follow(cycles, tmp_path)
    assert {form for _, form in came} == set(FORMS)
    assert {name: text for name, text in came.items() if text} == {}


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_an_array_multiplies_matrices(
    forms: Callable[..., Forms], simulator: str, tmp_path: Path
) -> None:
    """What the execute engine drives its array with gives the sums that the product has."""
    rng = np.random.default_rng(3)
    left, right = normal_int8(rng, 5, 6), normal_int8(rng, 4, 6).T
    orders: list[dict[str, Any]] = []
    seen = []
    found = forms("array", simulator)
    for number, config in enumerate(found.cases.values()):
        for dataflow in Dataflow:
            recording = record(config, left, right, dataflow, ["array"])["array"]
            files = [tmp_path / f"{part}{len(seen)}.npz" for part in ("inputs", "outputs")]
            inputs = {port: bits for port, bits in recording.inputs.items() if port != "rst"}
            np.savez(files[0], **inputs)
            np.savez(files[1], **recording.outputs)
            names = {"inputs": str(files[0]), "outputs": str(files[1])}
            orders.append({"unit": number, "what": "replay", **names})
            seen.append((recording, files[1]))
    assert set(found.simulated.run(orders, tmp_path)) == {""}
    for recording, outputs in seen:
        assert recording.difference(np.load(outputs)) is None


@needs_icarus
def test_a_netlist_of_something_else_is_noticed(liberty: Path, tmp_path: Path) -> None:
    """A full adder with its outputs exchanged."""
    netlist = synthesise(Config(), "pe", liberty=liberty).netlist_verilog()
    adder = re.search(r"^  FA .*?;", netlist, re.MULTILINE | re.DOTALL)[0]
    other = adder.replace(".CO(", ".T(").replace(".S(", ".CO(").replace(".T(", ".S(")
    changed = netlist.replace(adder, other)
    assert changed != netlist
    units = [UnitText("pe", text) for text in (netlist, changed)]
    order = {"what": "element", "config": {}, "seeds": [0, 1], "cycles": 200}
    simulated = SimulatedUnits(units, "icarus")
    came = simulated.run([{"unit": n, **order} for n in range(2)], tmp_path)
    assert came[0] == "" and "Error" in came[1]


@pytest.mark.nightly
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_elements_in_cells_of_the_default_library(simulator: str, tmp_path: Path) -> None:
    try:
        fetch()
    except LibraryError as error:
        pytest.skip(str(error))
    variants = ELEMENTS | MORE_ELEMENTS
    came = Forms("pe", variants, None, simulator).follow(1000, tmp_path)
    assert {name: text for name, text in came.items() if text} == {}
