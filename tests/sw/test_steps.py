"""Steps of a product: loads that go ahead, groups of tiles that share maxima, tables that stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow, Memory
from sw.gemm import draft_gemm
from sw.job import Copy, Job, Maxima, Output, Sums, swapped
from sw.lora import Gemm, View
from sw.step import Emit, Fetch, Measure, Multiply
from sw.steps import Stager
from sw.tile import Tiling

CONFIG = Config()
GEMM = Gemm("C", View("A", 24, 16), View("B", 16, 32))


def job(
    tile: tuple[int, int, int],
    outputs: tuple[Output, ...] = (Sums("C"),),
    late: tuple[Output, ...] = (),
    **fields,
) -> Job:
    """Return a job of C = A.B in WS, in tiles of these sizes."""
    found, _ = draft_gemm(CONFIG, GEMM, outputs, late, Dataflow.WS)
    return replace(found, tiling=Tiling(Dataflow.WS, 24, 16, 32, *tile, **fields))


def words(steps: list, kind: type) -> list[int]:
    """Return where the steps of a kind are in the list."""
    return [index for index, step in enumerate(steps) if isinstance(step, kind)]


def test_each_operand_is_fetched_once_and_each_tile_stored():
    steps = Stager(CONFIG).steps(job((8, 16, 8)))
    assert [len(words(steps, kind)) for kind in (Fetch, Multiply, Emit)] == [3 + 4, 12, 12]
    assert not any(step.held for step in steps if isinstance(step, Multiply))


@pytest.mark.parametrize("ahead", [3, 5, 7])
def test_loads_go_ahead_and_the_first_product_waits_for_them(ahead):
    plain = Stager(CONFIG).steps(job((8, 16, 8)))
    steps = Stager(CONFIG).steps(job((8, 16, 8), ahead=ahead))
    first, *others = words(steps, Multiply)
    assert all(isinstance(step, Fetch) for step in steps[:first]) and first == ahead
    assert steps[first].held and not any(steps[index].held for index in others)
    steps[first] = steps[first]._replace(held=False)
    for kind in (Fetch, Multiply):
        assert [s for s in plain if isinstance(s, kind)] == [
            s for s in steps if isinstance(s, kind)
        ]


def test_a_load_does_not_go_ahead_of_what_reads_its_place():
    """Sixteen tiles of B and three of A in memories that hold eight: later ones take old places."""
    wide = Gemm("C", View("A", 24, 16), View("B", 16, 128))
    config = CONFIG.replace(weight_depth=64)
    found, _ = draft_gemm(config, wide, (Sums("C"),), (), Dataflow.WS)
    tiling = Tiling(Dataflow.WS, 24, 16, 128, 24, 16, 8, ahead=100)
    steps = Stager(config).steps(replace(found, tiling=tiling))
    taken: dict[Memory, dict[int, int]] = {Memory.INPUT: {}, Memory.WEIGHT: {}}
    for index, step in enumerate(steps):
        if isinstance(step, Fetch):
            taken[step.memory] |= dict.fromkeys(range(step.base, step.base + step.words), index)
        if isinstance(step, Multiply):
            (column,) = {taken[Memory.WEIGHT][step.right + word] for word in range(16 * 2)}
            assert steps[column].columns.start == 8 * words(steps, Multiply).index(index)
    assert 4 <= words(steps, Multiply)[0] - 1 < 16


def strides(config: Config, rows: int = 24, *, transposed: bool = False) -> dict[Memory, set[int]]:
    """Return the strides from block to block of each operand, in tiles of so many rows of A."""
    tiled = job((rows, 16, 24))
    tiled = replace(tiled, left=replace(tiled.left, transposed=transposed))
    found: dict[Memory, set[int]] = {Memory.INPUT: set(), Memory.WEIGHT: set()}
    for step in Stager(config.replace(output_depth=128)).steps(tiled):
        if isinstance(step, Fetch):
            found[step.memory].add(step.block_stride)
            assert step.words == step.rows.size + (step.blocks - 1) * step.block_stride
        if isinstance(step, Multiply):
            assert step.left_stride in found[Memory.INPUT]
            assert step.right_stride in found[Memory.WEIGHT]
    return found


def test_blocks_lie_in_the_banks_by_turns_where_that_costs_no_room():
    """A of 24 x 4 words takes 99 of 128 so, a tile of B of 16 x 6 words 101."""
    both = strides(CONFIG)
    assert both[Memory.INPUT] == {25}
    assert both[Memory.WEIGHT] == {17, 16}, "two blocks are written no faster"
    assert strides(CONFIG, 9)[Memory.INPUT] == {9, 7}, "odd rows need no gap"
    assert strides(CONFIG, transposed=True)[Memory.INPUT] == {24}, "written row after row"
    assert strides(CONFIG, 8)[Memory.INPUT] == {8}, "a half of 64 holds two of 32 words, one of 35"
    assert strides(CONFIG.replace(input_depth=128), 8)[Memory.INPUT] == {9}


MAXIMA = Maxima(Axis.TENSOR, "maxima", "scales")
LATE = Copy("C", Axis.TENSOR, "scales")


def test_sums_stay_where_they_fit_and_are_made_again_where_not():
    """24 x 32 sums are 192 words, and both halves hold 128."""
    for depth, products in ((128, 12), (64, 24)):
        config = CONFIG.replace(output_depth=depth)
        steps = Stager(config).steps(job((8, 16, 8), (MAXIMA,), (LATE,)))
        assert len(words(steps, Multiply)) == products
        assert max(words(steps, Measure)) < min(words(steps, Emit))
        merged = [(step.first, step.last) for step in steps if isinstance(step, Measure)]
        assert merged == [(True, False), *[(False, False)] * 10, (False, True)]
        assert len({step.place for step in steps if isinstance(step, Measure)}) == 1


def test_groups_of_rows_follow_one_another():
    rows = (Maxima(Axis.ROW, "maxima", "scales"),), (Copy("C", Axis.ROW, "scales"),)
    steps = Stager(CONFIG).steps(replace(job((8, 16, 8), *rows), group=Axis.ROW))
    kinds = [type(step) for step in steps if isinstance(step, (Measure, Emit))]
    assert kinds == ([Measure] * 4 + [Emit] * 4) * 3
    for each in (step for step in steps if isinstance(step, Measure)):
        assert each.first is (each.tile.n.start == 0) and each.last is (each.tile.n.start == 24)


def test_what_has_no_transpose_is_refused():
    assert swapped(LATE) == LATE
    assert swapped(Copy("C", Axis.ROW, "s")) == Copy("C", Axis.COLUMN, "s")
    for output in (
        Copy("C", Axis.ROW, "s", stochastic=True),
        Copy("C", Axis.COLUMN, "s", unit="u"),
    ):
        with pytest.raises(ValueError, match=r"^C cannot be made by the transposed product$"):
            swapped(output)
