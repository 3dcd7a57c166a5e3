"""Decisions by estimated time: the products of Stable Diffusion on the paper's array."""

from __future__ import annotations

from functools import partial

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sw.dataflow import array_cycles
from sw.decide import decide, predict
from sw.estimate import Traffic, matrix_traffic
from sw.gemm import compile_gemm, draft_gemm
from sw.job import Job, Sums
from sw.lora import Gemm, View

PAPER = Config.preset("paper")
SHAPES = {
    "X.W": (77, 768, 320), "dA": (768, 77, 4), "dB": (320, 77, 4), "to_q": (4096, 320, 320),
    "Q.K^T": (4096, 40, 77), "P.V": (4096, 77, 40), "16x16": (256, 1280, 1280),
    "32x32": (1024, 640, 640),
}  # fmt: skip


def decided(
    config: Config, shape: tuple[int, int, int], choice: str = "auto", objective: str = "array"
) -> Job:
    """Return the job chosen for a product of two matrices as they multiply."""
    m, k, n = shape
    gemm = Gemm("C", View("A", m, k), View("B", k, n))
    drafts = [partial(draft_gemm, config, gemm, (Sums("C"),), (), swap=s) for s in (False, True)]
    return decide(config, choice, *drafts, objective=objective)


@pytest.mark.parametrize("latency", [1, 60])
@pytest.mark.parametrize("name", SHAPES)
def test_the_array_waits_little(name, latency):
    config = PAPER.replace(dram_latency=latency)
    shape = SHAPES[name]
    timed = predict(config, decided(config, shape))
    best = min(array_cycles(config, dataflow, *shape) for dataflow in Dataflow)
    assert timed.array_cycles <= 1.05 * best + 300
    if name in ("16x16", "32x32"):
        assert timed.cycles <= 1.03 * 102_400


def test_what_a_dataflow_transposes_and_what_is_swapped():
    """P.V transposed needs its long operand in columns; so do its sums in longer rows of DRAM."""
    job = decided(PAPER, SHAPES["Q.K^T"])
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
        assert decided(PAPER, shape, choice).tiling.dataflow is Dataflow[choice.upper()]


def test_an_array_that_would_wait_starts_later():
    """Two beats bring a row of P, and 1.2 cycles use it."""
    job = decided(PAPER, SHAPES["P.V"])
    assert job.tiling.ahead > 2
    (program,) = compile_gemm(PAPER, *SHAPES["P.V"], objective="array")
    loads = [each.engine == 0 for each in program.instructions]
    assert loads.index(False) == job.tiling.ahead


@pytest.mark.parametrize("name", SHAPES)
def test_a_plan_for_latency_ends_no_later(name):
    short, busy = (
        predict(PAPER, decided(PAPER, SHAPES[name], objective=each))
        for each in ("latency", "array")
    )
    assert short.cycles <= busy.cycles
    assert decided(PAPER, SHAPES[name], objective="latency").tiling.ahead == 0


def test_an_objective_that_is_none():
    with pytest.raises(ValueError, match=r"must be one of latency\|array, not 'speed'"):
        decided(PAPER, SHAPES["dA"], objective="speed")


def test_traffic_counts_beats_and_bursts():
    config = Config(bus_bytes=8, burst_beats=4)
    assert matrix_traffic(config, 10, 24, 24) == Traffic(30, 8)
    assert matrix_traffic(config, 10, 32, 24) == Traffic(30, 10)
    assert matrix_traffic(config, 10, 80, 72) == Traffic(90, 30)
    assert matrix_traffic(config, 1, 0, 9) == Traffic(2, 1)


def test_a_product_of_one_tile_takes_load_fold_and_store():
    """Each term: operands, one fold of the array filled and drained, sums in DRAM."""
    config = PAPER.replace(dram_latency=1)
    timed = predict(config, decided(config, (64, 64, 64)))
    assert 64 + 2 * 64 < timed.array_cycles < 64 + 3 * 64 + 30
    assert 128 < timed.first < 128 + 80
    assert 256 < timed.cycles - timed.first - timed.array_cycles < 256 + 40
