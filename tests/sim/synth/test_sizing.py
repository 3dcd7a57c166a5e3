"""Sizing: faster, no less right, and timed as the whole is."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from sim.synth import sizing
from sim.synth.flat import flatten
from sim.synth.netlist import parse_modules
from sim.synth.sizing import strengthen
from sim.synth.slack import Slack
from sim.synth.sta import analyse, chosen_wire_load
from sim.synth.strength import families, stronger

from .small import module
from .strong import LIBRARY, tree
from .test_buffers import outputs


def flat_of(modules: dict):
    return flatten(parse_modules(modules, LIBRARY))


def period(modules: dict) -> float:
    return analyse(flat_of(modules), None).period_ns


def area(modules: dict) -> float:
    flat = flat_of(modules)
    return sum(flat.kinds[kind].cell.area_um2 for kind in flat.kind.tolist())


def test_cells_of_one_function_stand_for_one_another() -> None:
    assert stronger(LIBRARY)["INV"] == ("INV2",)
    assert stronger(LIBRARY)["NAND_2"] == ()
    by_name = {tuple(cell.name for cell in cells) for cells in families(LIBRARY)}
    assert {("NAND", "NAND_2"), ("DFF", "DFF2"), ("BUF", "BUF2"), ("XOR",)} <= by_name
    assert not any("LATCH" in names for names in by_name)


@pytest.mark.parametrize("wires", ["none", "default"])
@pytest.mark.parametrize("seed", range(4))
def test_exchanged_cells_are_timed_as_if_they_had_been_there_from_the_start(
    seed: int, wires: str
) -> None:
    rng = np.random.default_rng(seed)
    modules, wire_load = tree(seed), chosen_wire_load(LIBRARY, wires)
    timed = Slack(flat_of(modules), LIBRARY, wire_load, 1.0)
    for _ in range(60):
        place = int(rng.integers(len(timed.places)))
        kind = int(timed.kinds[place])
        other = int(rng.choice(timed.family.get(kind, (kind,))))
        timed.exchange(place, other)
        name, cell = timed.places[place]
        modules[name]["cells"][cell]["type"] = timed.flat.kinds[other].name
    timed.update()
    fresh = analyse(flat_of(modules), wire_load)
    np.testing.assert_allclose(timed.arrival, fresh.arrival_ns, atol=1e-9)
    assert 1.0 + timed.late_ns.max() == pytest.approx(fresh.period_ns)
    worst = timed.slack_ns.min()
    assert worst == pytest.approx(1.0 - fresh.period_ns), "what is needed agrees with what comes"


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5, 6])
def test_a_strengthened_design_is_faster_larger_and_does_the_same(seed: int) -> None:
    modules = tree(seed)
    before, slow, small = outputs(modules), period(modules), area(modules)
    timed = Slack(flat_of(modules), LIBRARY, None, 0.8 * slow)
    sized = strengthen(modules, timed)
    assert sized.exchanged and area(modules) > small
    assert period(modules) < slow
    assert sized.period_ns == pytest.approx(period(modules))
    after = outputs(modules)
    assert all((after[name] == before[name]).all() for name in before)


def test_a_design_that_is_fast_enough_is_left_alone() -> None:
    modules = {"top": module({"clk": 2, "x": 3}, {"y": 5}, {
        "a": ("DFF", {"D": 3, "CK": 2, "Q": 4}), "b": ("INV", {"A": 4, "ZN": 5}),
    })}  # fmt: skip
    before = copy.deepcopy(modules)
    assert strengthen(modules, Slack(flat_of(modules), LIBRARY, None, 9.0)).exchanged == 0
    assert modules == before


def test_a_cell_that_drives_more_than_it_may_is_exchanged_without_haste() -> None:
    cells = {f"r{k}": ("DFF", {"D": 4, "CK": 2, "Q": 10 + k}) for k in range(30)}
    cells["b"] = ("BUF", {"A": 3, "Z": 4})
    modules = {"top": module({"clk": 2, "x": 3}, {"y": 10}, cells)}
    strengthen(modules, Slack(flat_of(modules), LIBRARY, None, 99.0))
    assert modules["top"]["cells"]["b"]["type"] == "BUF2"


def test_equal_copies_are_timed_once_and_the_ends_are_the_same() -> None:
    stage = {
        "a": ("DFF", {"D": 3, "CK": 2, "Q": 4}),
        "b": ("INV", {"A": 4, "ZN": 5}),
        "c": ("NAND", {"A": 4, "B": 5, "ZN": 6}),
        "d": ("DFF", {"D": 6, "CK": 2, "Q": 7}),
    }
    chain = {
        f"s{k}": ("stage", {"clk": 2, "x": 3 + k, "y": 4 + k}) for k in range(20)
    }  # fmt: skip
    modules = {
        "top": module({"clk": 2, "x": 3}, {"y": 23}, chain),
        "stage": module({"clk": 2, "x": 3}, {"y": 7}, stage),
    }
    modules["top"]["attributes"]["top"] = "1"
    whole = Slack(flat_of(modules), LIBRARY, None, 1.0)
    part = Slack(flat_of(modules), LIBRARY, None, 1.0, ["stage"])
    assert part.active.sum() == 4 * 3, "the first, the last, and one between"
    np.testing.assert_allclose(part.late_ns, whole.late_ns)
    assert strengthen(copy.deepcopy(modules), part) == strengthen(modules, whole)
    assert {cell["type"] for cell in modules["stage"]["cells"].values()} & {"NAND_2", "DFF2"}


@pytest.mark.parametrize("seed", [3, 5, 6])
def test_cells_that_are_strong_for_nothing_are_weak_again(seed: int, monkeypatch) -> None:
    relaxed, strong = tree(seed), tree(seed)
    goal = 0.9 * period(relaxed)
    quick = strengthen(relaxed, Slack(flat_of(relaxed), LIBRARY, None, goal))
    monkeypatch.setattr(sizing, "_ROUNDS", 0)
    other = strengthen(strong, Slack(flat_of(strong), LIBRARY, None, goal))
    assert max(quick.period_ns, goal) == pytest.approx(max(other.period_ns, goal))
    assert area(relaxed) <= area(strong) and quick.exchanged <= other.exchanged


@pytest.mark.parametrize("goal, stays", [(9.0, False), (0.97, True)])
def test_a_strong_cell_is_weak_again_only_if_its_path_is_early(goal: float, stays: bool) -> None:
    modules = {"top": module({"clk": 2, "x": 3}, {"y": 5}, {
        "a": ("DFF", {"D": 3, "CK": 2, "Q": 4}), "b": ("INV", {"A": 4, "ZN": 5}),
        "c": ("DFF", {"D": 5, "CK": 2, "Q": 6}),
    })}  # fmt: skip
    timed = Slack(flat_of(modules), LIBRARY, None, goal * period(modules))
    weak = timed.kinds.copy()
    a = timed.places.index(("top", "a"))
    timed.exchange(a, timed.family[int(weak[a])][1])
    timed.update()
    strong = timed.kinds.copy()
    kinds = sizing._relaxed(timed, weak, strong)
    assert (kinds == (strong if stays else weak)).all() and (timed.kinds == kinds).all()
