"""The execute engine in every variant of its array: one dataflow or both, drains and registers."""

from __future__ import annotations

import itertools
import random

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from tests.marks import nightly

from .execution import World, plain, run, run_with_gaps, small
from .test_execute import random_chain

VARIANTS = {
    "overlap": {"drain_overlap": 1},
    "no_overlap": {"drain_overlap": 0},
    "ws": {"output_stationary": 0},
    "os": {"weight_stationary": 0, "drain_overlap": 1},
    "os_no_overlap": {"weight_stationary": 0, "drain_overlap": 0},
}


def variant(name: str, register: int, rows: int, columns: int) -> Config:
    return small(rows, columns).replace(**VARIANTS[name], product_register=register)


CASES = list(itertools.product(VARIANTS, (0, 1)))


@pytest.mark.parametrize("rows, columns", [(5, 4), *nightly((2, 3))])
@pytest.mark.parametrize("name, register", CASES)
def test_random_chains(name: str, register: int, rows: int, columns: int) -> None:
    config = variant(name, register, rows, columns)
    rng = random.Random(rows)
    world = World(config, seed=rows)
    chain = random_chain(world, rng, 8, config.dataflows)
    run_with_gaps(world, chain, lambda: rng.choice((1, 1, 1, 2, 9)))


@pytest.mark.parametrize("streamed", [1, 9, *nightly(4)])
@pytest.mark.parametrize("name, register", CASES)
def test_what_a_fold_costs(name: str, register: int, streamed: int) -> None:
    """A drain that is not overlapped follows its fold; a register costs a cycle in all."""
    config, folds = variant(name, register, 4, 3), 5
    rows = config.rows
    for dataflow in config.dataflows:
        world = World(config, seed=streamed)
        if dataflow == Dataflow.WS:
            shape = streamed, folds * rows, config.columns
        else:
            shape = rows, streamed, folds * config.columns
        run(world, [plain(dataflow, *shape, config)])
        once = streamed + 2 * rows + config.columns + 6 + register
        fold = max(streamed, rows)
        if dataflow == Dataflow.OS and not config.drain_overlap:
            fold = streamed + rows - 1
        assert world.array_cycles == (folds - 1) * fold + once


@pytest.mark.parametrize("name", ["overlap", "no_overlap"])
@pytest.mark.parametrize("streamed", [2, 7])
def test_switching_dataflow(name: str, streamed: int) -> None:
    """WS to OS costs nothing, and OS to WS the drain, which a WS tile needs to load anyway."""
    config = variant(name, 0, 4, 3)
    rows, columns = config.rows, config.columns
    ws = plain(Dataflow.WS, streamed, rows, columns, config, out_base=0)
    os = plain(Dataflow.OS, rows, streamed, columns, config, out_base=64)
    world = World(config, seed=1)
    run(world, [ws, os])
    assert world.array_cycles == (rows - 1) + 2 * streamed + 2 * rows + columns + 6
    world = World(config, seed=2)
    run(world, [os, ws])
    assert world.array_cycles == 2 * streamed + (rows - 1) + rows + columns + 7
