"""Trees of buffers: nothing drives too much afterwards, and everything does what it did."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from sim.synth.buffers import FANOUT, buffers_of, limit_loads
from sim.synth.circuit import Circuit
from sim.synth.flat import flatten
from sim.synth.gates import simulate
from sim.synth.graph import graph
from sim.synth.netlist import Macro, NetlistError, parse_modules

from .small import LIBRARY as SMALL
from .small import module
from .strong import LIBRARY, logic, tree


def outputs(modules: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Return what a design does with random inputs."""
    flat = flatten(parse_modules(modules, LIBRARY))
    rng = np.random.default_rng(seed)
    given = {
        name: rng.integers(0, 2, (200, len(port.nets))).astype(np.uint8)
        for name, port in flat.ports.items()
        if port.direction == "input" and name != "clk"
    }
    return simulate(Circuit(flat, LIBRARY), given).outputs


def worst_loads(modules: dict) -> tuple[float, int]:
    """Return the largest part of its utmost that an output drives, and the largest fanout."""
    flat = flatten(parse_modules(modules, LIBRARY))
    g = graph(flat, "clk", None)
    part, fanout = 0.0, 0
    for at, kind in enumerate(flat.kind.tolist()):
        for pin, name in enumerate(flat.kinds[kind].pins):
            net = flat.net[flat.first[at] + pin]
            if not flat.kinds[kind].inputs[pin] and net > 1:
                most = flat.kinds[kind].cell.pins[name].max_capacitance_ff
                part = max(part, g.load_ff[net].max() / most)
                fanout = max(fanout, int(g.fanout[net]))
    return part, fanout


def test_the_buffers_of_a_library_are_its_plain_ones_by_what_they_carry() -> None:
    assert [each.name for each in buffers_of(LIBRARY)] == ["BUF", "BUF2"]
    weak, strong = buffers_of(LIBRARY)
    assert (weak.input, weak.output, weak.input_ff) == ("A", "Z", 2.0)
    assert strong.carries_ff == pytest.approx(2 * weak.carries_ff)


@pytest.mark.parametrize("seed", range(12))
def test_no_output_of_a_design_drives_too_much_and_it_does_the_same(seed: int) -> None:
    modules = tree(seed)
    before = outputs(modules)
    assert worst_loads(modules)[0] > 0.6, "there is something to do"
    added = limit_loads(modules, LIBRARY)
    part, _ = worst_loads(modules)
    assert added and part <= 0.5 + 1e-9
    after = outputs(modules)
    assert all((after[name] == before[name]).all() for name in before)


def test_a_net_of_many_small_loads_is_split_by_their_number() -> None:
    cells = {f"r{k}": ("DFF", {"D": 3, "CK": 2, "Q": 10 + k}) for k in range(200)}
    design = {"top": module({"clk": 2, "x": 3}, {"y": [10, 11]}, cells)}
    before = outputs(design)
    limit_loads(design, LIBRARY)
    part, fanout = worst_loads(design)
    assert fanout <= FANOUT and part <= 0.5
    assert all((outputs(design)[name] == before[name]).all() for name in before)
    clocks = [cell["connections"]["CK"] for name, cell in design["top"]["cells"].items()
              if name.startswith("r")]  # fmt: skip
    assert clocks == [[2]] * 200, "the clock is left alone"


def test_a_port_that_drives_much_inside_gets_its_tree_inside_once() -> None:
    rng = np.random.default_rng(1)
    inside = logic(rng, 1, 4, 1)
    inside["cells"] = {
        f"r{k}": {
            "type": "DFF", "attributes": {},
            "connections": {"D": [3], "CK": [2], "Q": [20 + k]},
        }
        for k in range(100)
    }  # fmt: skip
    inside["ports"]["y"]["bits"] = [20]
    kept = copy.deepcopy(inside)
    top = module({"clk": 2, "x": [3, 4, 5, 6]}, {"y": [40, 41, 42]}, {})
    for k, of in enumerate(("inside", "inside", "kept")):
        top["cells"][f"u{k}"] = {
            "type": of, "attributes": {},
            "connections": {"clk": [2], "x": [3, 4, 5, 6], "y": [40 + k]},
        }  # fmt: skip
    top["attributes"]["top"] = "1"
    modules = {"top": top, "inside": inside, "kept": kept}
    limit_loads(modules, LIBRARY, kept=["kept"])
    types = [cell["type"] for cell in modules["inside"]["cells"].values()]
    assert 100 / 12 <= len([each for each in types if each.startswith("BUF")]) <= 20
    assert all(cell["type"] == "DFF" for cell in modules["kept"]["cells"].values())


def test_the_same_design_gets_the_same_buffers() -> None:
    first, second = tree(3), tree(3)
    limit_loads(first, LIBRARY)
    limit_loads(second, LIBRARY)
    assert first == second


def test_without_a_buffer_in_the_library_nothing_changes() -> None:
    from dataclasses import replace

    cells = {name: cell for name, cell in SMALL.cells.items() if name != "BUF"}
    modules = tree(0)
    before = copy.deepcopy(modules)
    assert limit_loads(modules, replace(SMALL, cells=cells)) == 0
    assert modules == before


def test_what_a_macro_gives_is_fanned_out_as_well_and_no_more_than_that() -> None:
    cells = {f"r{k}": ("DFF", {"D": 3, "CK": 2, "Q": 10 + k}) for k in range(200)}
    cells["small"] = ("INV", {"A": 4, "ZN": 300})
    cells["m"] = ("ram", {"clk": 2, "read_data": [3, 4], "data": 10})
    modules = {"top": module({"clk": 2}, {"y": 300}, cells)}
    limit_loads(modules, LIBRARY, (), {"ram": Macro(input_ff=1.0)})
    assert modules["top"]["cells"]["small"]["connections"]["A"] == [4]
    assert modules["top"]["cells"]["r0"]["connections"]["D"] != [3]
    with pytest.raises(NetlistError, match="unmappable cell: ram"):
        limit_loads(modules, LIBRARY)
