"""Closed forms of tilings against the programs that they become: events, bounds of time."""

from __future__ import annotations

import random
from dataclasses import asdict

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sim.activity import Activity
from sim.energy import energy
from sw.gemm import _outputs, draft_gemm
from sw.lora import Gemm, View
from sw.quantise import Group
from sw.tile import TileError
from sw.tile_counts import Counts
from sw.tile_events import DRAM_CLASS, events, rates
from sw.tile_search import Space
from sw.trial import Trial

CONFIGS = {
    "4x4": Config(),
    "6x4": Config(rows=6, columns=4, input_depth=16, weight_depth=16, output_depth=8,
                  bus_bytes=16, row_scale_depth=64, burst_beats=4, write_outstanding=2),
    "3x8": Config(rows=3, columns=8, bus_bytes=4, dram_latency=9, dram_gbps=1.0),
    "16x16": Config.preset("small"),
    "4x4, drains overlapped": Config(drain_overlap=1),
    "6x4, drains alone": Config(rows=6, columns=4, drain_overlap=0, input_depth=64,
                                weight_depth=64, dram_latency=3),
    "4x4 of 2, drains alone": Config(macs_per_element=2, drain_overlap=0, dram_latency=5),
    "4x8 of 4, drains overlapped": Config(columns=8, macs_per_element=4, drain_overlap=1),
    # A bus much wider than words, and much faster than the DRAM behind it.
    "2x2": Config(rows=2, columns=2, input_depth=1024, weight_depth=1024, output_depth=256,
                  bus_bytes=64, dram_latency=1, dram_gbps=1.6),
    "4x2": Config(rows=4, columns=2, input_depth=1024, weight_depth=1024, output_depth=256,
                  bus_bytes=64, dram_gbps=1.6, burst_beats=1, write_outstanding=2),
    # Answers that take longer than anything else, a few at a time.
    "2x4": Config(rows=2, columns=4, input_depth=1024, weight_depth=1024, output_depth=1024,
                  bus_bytes=16, dram_latency=300, burst_beats=4, write_outstanding=4),
}  # fmt: skip
RESULTS = (None, Group.ROW, Group.COLUMN, Group.TENSOR)
LOADS = {"input_writes", "weight_writes", "transposer_writes", "transposer_reads"}
FETCHED = {"instructions", "dram_read_bytes"}
"""Events that depend on how often operands are loaded."""


def drafts(config, m, k, n, group=None, transposed=(False, False)):
    """Return jobs and problems of a product in both dataflows, as it is and transposed."""
    gemm = Gemm("C", View("A", m, k, transposed[0]), View("B", k, n, transposed[1]))
    outputs = _outputs(group, "fresh", False)
    return [
        draft_gemm(config, gemm, *outputs, flow, swap=swap)
        for flow in Dataflow
        for swap in (False, True)
    ]


def some(seed: int, count: int):
    """Return a configuration, the space of a random product on it, and some of its candidates."""
    rng = random.Random(seed)
    config = CONFIGS[rng.choice(list(CONFIGS))]
    group = rng.choice(RESULTS)
    sizes = [rng.choice((1, 2, 5, 8, 13, 24, 40, 65)) for _ in range(3)]
    lies = rng.random() < 0.5, rng.random() < 0.5
    space = Space.of(drafts(config, *sizes, group, lies), "latency")
    picked = rng.sample(range(space.size), min(count, space.size))
    return config, space, picked


def counted(space: Space, index: int, *, least: bool = False) -> dict[str, float]:
    """Return the events of one candidate in closed form."""
    job, problem = space.drafts[space.draft[index]]
    one = [each[index : index + 1] for each in (space.tm, space.tk, space.tn, space.rows_outer)]
    found = events(Counts(problem, *one), job, least=least)
    return {name: float(np.ravel(value)[0]) for name, value in found.items()}


def trials(seeds: range, count: int):
    """Yield candidates that can be compiled, with their space and place."""
    for seed in seeds:
        config, space, picked = some(seed, count)
        for index in picked:
            trial = Trial(config, space.job(index))
            try:
                found = trial.activity
            except TileError:
                continue
            yield space, index, trial, found


def test_events_are_those_of_the_program():
    """All that does not depend on what stays on the chip is exact; loads are, but for a few."""
    checked = exact = 0
    for space, index, trial, found in trials(range(120), 6):
        closed = counted(space, index)
        for name, value in asdict(found).items():
            if name not in LOADS | FETCHED:
                assert closed.get(name, 0) == value, (name, trial.job)
        checked += 1
        exact += all(closed.get(name, 0) == asdict(found)[name] for name in LOADS | FETCHED)
    assert checked > 400
    assert exact / checked > 0.9


def test_no_program_has_fewer_events_than_the_least():
    for space, index, trial, found in trials(range(200, 280), 6):
        closed = counted(space, index, least=True)
        for name in LOADS | FETCHED:
            assert closed.get(name, 0) <= asdict(found)[name] + 1e-6, (name, trial.job)


def test_no_run_is_shorter_than_its_bound_and_few_much_longer_than_estimated():
    ratios = []
    for space, index, trial, _ in trials(range(300, 420), 5):
        cycles = trial.counters["cycles"]
        assert space.bound[index] <= cycles, trial.job
        ratios.append(cycles / space.estimate[index])
    low, middle, high = np.percentile(ratios, (5, 50, 95))
    assert 0.6 < low and 0.9 < middle < 1.25 and high < 2


@pytest.mark.parametrize("goal", ["energy", "edp"])
def test_no_program_is_worth_less_than_its_bound(goal):
    for seed in range(500, 530):
        config, space, picked = some(seed, 4)
        worth = Space.of(space.drafts, goal)
        for index in picked:
            trial = Trial(config, worth.job(index))
            try:
                cycles = trial.counters["cycles"]
            except TileError:
                continue
            joules = energy(config, trial.activity, cycles)
            spent = joules.chip + joules.dram[DRAM_CLASS]
            if goal == "edp":
                spent *= joules.seconds
            assert worth.bound[index] <= spent * (1 + 1e-9)


@pytest.mark.parametrize("name", CONFIGS)
def test_rates_charge_what_the_table_does(name):
    config = CONFIGS[name]
    rng = random.Random(0)
    done = Activity(**{name: rng.randrange(1 << 20) for name in asdict(Activity())})
    for cycles in (1, 12_345_678):
        joules = energy(config, done, cycles)
        spent = joules.chip + joules.dram[DRAM_CLASS]
        assert rates(config).joules(done, cycles) == pytest.approx(spent, rel=1e-9)


def test_partial_sums_in_ws_are_read_and_written_for_each_fold():
    """K = 24 on four rows is six folds: five of them add to old sums, in one tile or in many."""
    for tk in (8, 24):
        job, problem = drafts(Config(), 8, 24, 4)[0]
        space = Space.of([(job, problem)], "latency")
        index = next(i for i in range(space.size) if (space.tm[i], space.tk[i]) == (8, tk))
        found = counted(space, index)
        inside = 5 if tk == 24 else 3  # the first sums of a fold are at hand, unless it is a tile's
        assert found["output_forwards"] == inside
        assert found["output_accumulations"] == 5 * 8 - inside
        assert found["output_first_writes"] == 8


def test_sums_that_do_not_stay_are_counted_twice():
    config = Config(output_depth=4, row_scale_depth=64)
    space = Space.of(drafts(config, 8, 4, 64, Group.ROW)[:1], "latency")
    index = int(np.flatnonzero((space.tm == 2) & (space.tn == 8))[0])
    trial = Trial(config, space.job(index))
    assert counted(space, index)["macs_ws"] == trial.activity.macs_ws == 2 * 8 * 4 * 64


def test_the_space_has_every_number_of_equal_tiles_in_both_orders():
    space = Space.of(drafts(Config(), 16, 16, 16)[:1], "latency")
    found = set(zip(space.tm, space.tk, space.tn, space.rows_outer, strict=True))
    assert len(found) == space.size
    assert {(16, 16, 16, True), (8, 8, 8, True), (8, 8, 8, False)} <= found
    assert (16, 8, 8, False) not in found, "with one tile of rows both orders are the same"


def test_maxima_of_rows_need_the_tiles_of_a_row_one_after_the_other():
    for group, outer in ((Group.ROW, True), (Group.COLUMN, False)):
        space = Space.of(drafts(Config(), 16, 8, 16, group)[:1], "latency")
        assert set(space.rows_outer) == {outer}
