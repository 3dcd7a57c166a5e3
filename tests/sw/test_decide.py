"""Decisions: products of Stable Diffusion on the paper's array, all tilings of small ones."""

from __future__ import annotations

from functools import cache, partial

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sim.energy import energy
from sw.dataflow import array_cycles
from sw.decide import Decision, decide
from sw.gemm import compile_gemm, draft_gemm
from sw.job import Sums
from sw.lora import Gemm, View
from sw.tile_events import DRAM_CLASS
from sw.tile_search import Space
from sw.trial import Trial

PAPER = Config.preset("paper")
SHAPES = {
    "X.W": (77, 768, 320), "dA": (768, 77, 4), "dB": (320, 77, 4), "to_q": (4096, 320, 320),
    "Q.K^T": (4096, 40, 77), "P.V": (4096, 77, 40), "16x16": (256, 1280, 1280),
    "32x32": (1024, 640, 640),
}  # fmt: skip


def decision(
    config: Config, shape: tuple[int, int, int], choice: str = "auto", objective: str = "latency"
) -> Decision:
    """Return what is decided for a product of two matrices as they multiply."""
    m, k, n = shape
    gemm = Gemm("C", View("A", m, k), View("B", k, n))
    drafts = [partial(draft_gemm, config, gemm, (Sums("C"),), (), swap=s) for s in (False, True)]
    return decide(config, choice, *drafts, objective=objective)


@cache
def run(name: str, objective: str, latency: int = 60, overlap: int = 0) -> dict[str, int]:
    """Return the counters of the job chosen for a product."""
    config = PAPER.replace(dram_latency=latency, drain_overlap=overlap)
    return Trial(config, decision(config, SHAPES[name], objective=objective).job).counters


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("latency", [1, 60])
@pytest.mark.parametrize("name", SHAPES)
def test_the_array_waits_little(name, latency, overlap):
    counters = run(name, "array", latency, overlap)
    config = PAPER.replace(drain_overlap=overlap)
    best = min(array_cycles(config, dataflow, *SHAPES[name]) for dataflow in Dataflow)
    assert counters["array_cycles"] <= 1.05 * best + 300
    if name in ("16x16", "32x32"):
        assert run(name, "latency", latency, overlap)["cycles"] <= 1.05 * best


def test_what_a_dataflow_transposes_and_what_is_swapped():
    """P.V transposed needs its long operand in columns; so do its sums in longer rows of DRAM."""
    job = decision(PAPER, SHAPES["Q.K^T"]).job
    assert job.swapped and (job.gemm.m, job.gemm.k, job.gemm.n) == (77, 40, 4096)
    assert (job.left.buffer, job.left.transposed) == ("B", True)
    assert (job.right.buffer, job.right.transposed) == ("A", True)
    (program,) = compile_gemm(PAPER, *SHAPES["Q.K^T"])
    assert program.layout["C"].transposed and program.outputs["C"].host_shape == (4096, 77)
    (product,) = program.products
    assert product.swapped and (product.m, product.k, product.n) == SHAPES["Q.K^T"]


@pytest.mark.parametrize("choice", ["ws", "os"])
def test_a_dataflow_that_is_asked_for_is_taken(choice):
    for shape in SHAPES.values():
        job = decision(PAPER, shape, choice).job
        assert job.tiling.dataflow is Dataflow[choice.upper()]


def test_an_array_that_would_wait_starts_later():
    """Two beats bring a row of P, and 1.2 cycles use it where drains are hidden."""
    config = PAPER.replace(drain_overlap=1)
    job = decision(config, SHAPES["P.V"], objective="array").job
    assert job.tiling.ahead > 2
    (program,) = compile_gemm(config, *SHAPES["P.V"], objective="array")
    loads = [each.engine == 0 for each in program.instructions]
    assert loads.index(False) == job.tiling.ahead


@pytest.mark.parametrize("name", SHAPES)
def test_a_plan_for_latency_ends_no_later(name):
    """But for the few hundredths that the search for it may leave out."""
    assert run(name, "latency")["cycles"] <= 1.05 * run(name, "array")["cycles"]
    assert decision(PAPER, SHAPES[name]).job.tiling.ahead == 0


SMALL = [(5, 9, 7), (24, 40, 16), (13, 13, 40), (64, 8, 4)]


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_what_is_called_the_best_is_the_best(shape, objective):
    """Every candidate compiled, timed and charged."""
    config = Config()
    found = decision(config, shape, objective=objective)
    gemm = Gemm("C", View("A", shape[0], shape[1]), View("B", shape[1], shape[2]))
    space = Space.of(
        [
            draft_gemm(config, gemm, (Sums("C"),), (), flow, swap=swap)
            for flow in Dataflow
            for swap in (False, True)
        ],
        objective,
    )
    assert space.size == found.candidates
    values = []
    for index in range(space.size):
        trial = Trial(config, space.job(index))
        joules = energy(config, trial.activity, trial.counters["cycles"])
        spent = joules.chip + joules.dram[DRAM_CLASS]
        values.append(
            {
                "latency": trial.counters["cycles"],
                "energy": spent,
                "edp": spent * joules.seconds,
            }[objective]
        )
    assert found.value >= min(values) * (1 - 1e-9)
    assert found.bound <= min(values) * (1 + 1e-9)
    assert found.value * (1 - found.gap) <= min(values) * (1 + 1e-9)
    if found.proven:
        assert found.value == pytest.approx(min(values), rel=1e-9)


def test_some_decisions_are_proven_and_the_others_say_how_far():
    proven = decision(Config(), (9, 40, 13), objective="energy")
    assert proven.proven and proven.gap == 0 and 0 < proven.timed < proven.candidates
    assert str(proven).startswith("the best of ")
    large = decision(PAPER, (4096, 2880, 320))
    assert not large.proven and large.timed == 0 and large.estimated and 0 < large.gap < 0.1
    much = f"about within {large.gap:.1%} of the best of {large.candidates} tilings, 0 timed"
    assert str(large) == large.job.choice == much


def test_energy_asks_for_less_energy_and_latency_for_less_time():
    costs = {}
    for objective in ("latency", "energy", "edp"):
        trial = Trial(PAPER, decision(PAPER, (200, 300, 200), objective=objective).job)
        cycles = trial.counters["cycles"]
        joules = energy(PAPER, trial.activity, cycles)
        costs[objective] = cycles, joules.chip + joules.dram[DRAM_CLASS]
    assert costs["latency"][0] == min(cost[0] for cost in costs.values())
    assert costs["energy"][1] == min(cost[1] for cost in costs.values())
    assert costs["latency"] != costs["energy"]


def test_the_same_is_decided_again():
    first, second = (decision(PAPER, (154, 320, 4)) for _ in range(2))
    assert first == second


def test_a_plan_for_slow_dram_is_no_worse_there():
    slow = PAPER.replace(dram_gbps=6.4)
    fast, spare = (decision(config, (154, 768, 640)).job for config in (PAPER, slow))
    assert Trial(slow, spare).counters["cycles"] <= Trial(slow, fast).counters["cycles"]


def test_an_objective_that_is_none():
    with pytest.raises(
        ValueError, match=r"must be one of latency\|energy\|edp\|array, not 'speed'"
    ):
        decision(PAPER, SHAPES["dA"], objective="speed")
