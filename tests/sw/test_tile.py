"""Tiles cover everything once, fit the memories, and start where DRAM rows can be read."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sw.gemm import compile_gemm, draft_gemm
from sw.job import Sums
from sw.lora import Gemm, View
from sw.tile import TileError, Tiling
from sw.tile_problem import Demand, Problem
from sw.tile_search import Space

CONFIGS = [
    Config(rows=2, columns=3), Config(rows=3, columns=2), Config(), Config(rows=5, columns=8),
    Config(rows=16, columns=5, bus_bytes=32, weight_depth=256, output_depth=128),
    Config.preset("small"), Config.preset("paper"),
]  # fmt: skip
SIZES = [1, 2, 3, 7, 8, 13, 31, 64, 65, 77, 127, 200, 320, 769, 1031, 4099]


def tile(
    config: Config, dataflow: Dataflow, m: int, k: int, n: int, demand: Demand | None = None
) -> Tiling:
    """Return the tiling that the search puts first."""
    problem = Problem(config, dataflow, m, k, n, demand or Demand())
    gemm = Gemm("C", View("A", m, k), View("B", k, n))
    job, _ = draft_gemm(config, gemm, (Sums("C"),), (), dataflow)
    space = Space.of([(job, problem)], "latency")
    if not space.size:
        raise TileError(problem.complaint())
    return space.job(space.order()[0]).tiling


def words(config: Config, dataflow: Dataflow, m: int, k: int, n: int) -> dict[str, int]:
    """Return the words of a tile's operands and result, counted word by word."""
    along, across = (m, k) if dataflow is Dataflow.WS else (k, m)
    return {
        "input": along * len(range(0, across, config.rows)),
        "weight": k * len(range(0, n, config.columns)),
        "output": m * len(range(0, n, config.columns)),
    }


def check(config: Config, dataflow: Dataflow, m: int, k: int, n: int, demand: Demand) -> None:
    """Assert everything that must hold of a tiling."""
    tiling = tile(config, dataflow, m, k, n, demand)
    covered = np.zeros((m, n), int)
    for each in tiling.tiles():
        rows = slice(each.m.start, each.m.start + each.m.size)
        columns = slice(each.n.start, each.n.start + each.n.size)
        covered[rows, columns] += 1
        assert each.n.start * demand.narrowest % config.bus_bytes == 0
        if demand.row_vectors:
            assert 4 * each.m.start % config.bus_bytes == 0
        starts = [piece.start for piece in each.reduction]
        sizes = [piece.size for piece in each.reduction]
        assert starts == [0, *np.cumsum(sizes)[:-1]] and sum(sizes) == k
        left = (dataflow is Dataflow.WS) is not demand.left_transposed
        along_dram = list(each.reduction) if left else [each.m]
        along_dram += each.reduction if demand.right_transposed else [each.n]
        assert all(piece.start % config.bus_bytes == 0 for piece in along_dram)
    assert (covered == 1).all()
    biggest = words(config, dataflow, tiling.tile_m, tiling.tile_k, tiling.tile_n)
    if demand.update_reduction:
        sizes = tiling.tile_m, demand.update_reduction, tiling.tile_n
        update = words(config, demand.update_dataflow, *sizes)
        biggest = {name: biggest[name] + (name != "output") * update[name] for name in biggest}
    for name, count in biggest.items():
        assert count <= 2 * getattr(config, f"{name}_depth"), name
    if demand.row_tables:
        assert demand.row_tables * tiling.tile_m <= config.row_scale_depth
    assert max(tiling.tile_m, tiling.tile_k, tiling.tile_n) < 1 << 16


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
@pytest.mark.parametrize("seed", range(12))
def test_tiles_cover_everything_once(config, seed):
    rng = random.Random(seed)
    m, k, n = (rng.choice(SIZES) for _ in range(3))
    m = min(m, 1031)
    for dataflow in Dataflow:
        demands = [
            Demand(),
            Demand(left_transposed=True, right_transposed=True),
            Demand(row_tables=1, column_tables=1, row_vectors=True, column_vectors=True,
                   out_bytes=1, narrowest=1),
        ]  # fmt: skip
        if dataflow is Dataflow.WS:
            demands.append(Demand(update_reduction=min(2, config.rows)))
        for demand in demands:
            check(config, dataflow, m, k, n, demand)


def test_a_product_that_fits_is_loaded_once():
    tiling = tile(Config.preset("paper"), Dataflow.WS, 77, 768, 320)
    m, k, n = tiling.counts
    assert m == 1, "W would be loaded again for each tile of rows"
    assert k * -(-77 * tiling.tile_k // 64) <= 8192, "all of X can stay"
    assert str(tiling) == (
        f"WS 77x768x320 in {m}x{k}x{n} tiles of "
        f"{tiling.tile_m}x{tiling.tile_k}x{tiling.tile_n}, rows outer, "
        "0 loads ahead"
    )


def test_half_a_memory_is_left_for_the_next_tile():
    config = Config.preset("small")
    tiling = tile(config, Dataflow.OS, 300, 4000, 300)
    for name, count in words(
        config, Dataflow.OS, tiling.tile_m, tiling.tile_k, tiling.tile_n
    ).items():
        assert count <= getattr(config, f"{name}_depth"), name


def test_a_whole_memory_is_used_where_half_is_too_small():
    config = Config(rows=2, columns=2, bus_bytes=8, input_depth=4)
    tiling = tile(config, Dataflow.OS, 100, 1, 4, Demand(update_reduction=1,
                  update_dataflow=Dataflow.OS))  # fmt: skip
    used = words(config, Dataflow.OS, tiling.tile_m, tiling.tile_k, 4)["input"]
    assert 4 < 2 * used <= 8


def test_words_are_cut_where_whole_ones_do_not_fit():
    """Three rows and a bus of 8: multiples of 24 do not fit, so lanes are left empty."""
    config = Config(rows=3, columns=2, input_depth=32)
    tiling = tile(config, Dataflow.WS, 33, 40, 70, Demand(update_reduction=7,
                  update_dataflow=Dataflow.OS))  # fmt: skip
    assert tiling.tile_k % 8 == 0 and tiling.tile_k % 3


def test_what_cannot_be_tiled_is_refused_with_its_sizes():
    config = Config(rows=2, columns=2, bus_bytes=128, weight_depth=4)
    message = (
        r"^the OS product 100x100x100 does not fit: its smallest tile 100x1x100 takes 50 words of "
        r"the weight memory, which has 8$"
    )
    with pytest.raises(TileError, match=message):
        tile(config, Dataflow.OS, 100, 100, 100)
    with pytest.raises(TileError, match=r"^a reduction of 131072 could leave int32: it must be at"):
        compile_gemm(Config(), 1, 131_072, 1)


def test_the_longest_reduction_is_cut():
    for config in CONFIGS:
        for dataflow in Dataflow:
            tiling = tile(config, dataflow, 3, 131_071, 5)
            assert tiling.counts[1] >= 3
