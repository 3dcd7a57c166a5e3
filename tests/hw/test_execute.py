"""The execute engine: chains of both dataflows, every sum and every cycle."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow, Execute
from tests.marks import nightly

from .bench import simulate, unpack
from .execution import (
    LEFT_WORDS,
    OUT_WORDS,
    RIGHT_WORDS,
    SCALES,
    World,
    plain,
    run,
    run_with_gaps,
    small,
)

SHAPES = [(2, 3), (3, 2), (4, 4), (5, 8)]
Array = Callable[[int, int], Config]


@pytest.fixture(params=[0, 1], ids=["drains alone", "drains overlapped"])
def array(request: pytest.FixtureRequest) -> Array:
    """Return what makes a configuration of a shape."""
    return partial(small, drain_overlap=request.param)


def fold_cycles(config: Config, dataflow: Dataflow, waves: int) -> int:
    """Return what a fold costs: the longer of stream and rows, or the drain behind the stream."""
    if dataflow == Dataflow.OS and not config.drain_overlap:
        return waves + config.rows - 1
    return max(waves, config.rows)


def random_chain(
    world: World, rng: random.Random, length: int, dataflows: Sequence[Dataflow] = tuple(Dataflow)
) -> list[Execute]:
    """Return random instructions that fit the memories; later ones accumulate on earlier ones."""
    config, chain = world.config, []
    while len(chain) < length:
        dataflow = rng.choice(dataflows)
        rows, reduction = rng.randint(1, 3 * config.rows), rng.randint(1, 3 * config.rows)
        columns = rng.randint(1, 2 * config.columns)
        draft = plain(dataflow, rows, reduction, columns, config)
        blocks = draft.right_row_stride
        streamed = reduction if dataflow == Dataflow.OS else rows
        words = streamed * draft.left_row_stride, reduction * blocks, rows * blocks
        room = LEFT_WORDS - words[0], RIGHT_WORDS - words[1], OUT_WORDS - words[2]
        if min(room) < 0:
            continue
        out_base = rng.randint(0, room[2])
        full = all(out_base + word in world.out for word in range(words[2]))
        instruction = plain(
            dataflow,
            rows,
            reduction,
            columns,
            config,
            left_base=rng.randint(0, room[0]),
            right_base=rng.randint(0, room[1]),
            out_base=out_base,
            accumulate=int(full and rng.random() < 0.6),
            scale=int(rng.random() < 0.3),
            scale_base=rng.randint(0, SCALES - rows),
        )
        world.expect(instruction)
        chain.append(instruction)
    return chain


@pytest.mark.parametrize("seed", [0, 1, *nightly(2, 3)])
@pytest.mark.parametrize("rows, columns", SHAPES)
def test_random_chains_of_both_dataflows(array: Array, rows: int, columns: int, seed: int) -> None:
    rng = random.Random(seed)
    world = World(array(rows, columns), seed)
    chain = random_chain(world, rng, 8)
    run_with_gaps(world, chain, lambda: rng.choice((1, 1, 1, 2, 9)))


@pytest.mark.parametrize("dataflow", list(Dataflow))
@pytest.mark.parametrize("streamed", [1, 9, *nightly(3, 4)])
def test_what_a_fold_costs(array: Array, dataflow: Dataflow, streamed: int) -> None:
    """Fill and tile load are paid once a chain, and so are drains that hide under folds."""
    config, folds = array(4, 3), 5
    world = World(config, seed=streamed)
    if dataflow == Dataflow.WS:
        instruction = plain(dataflow, streamed, folds * config.rows, config.columns, config)
    else:
        instruction = plain(dataflow, config.rows, streamed, folds * config.columns, config)
    run(world, [instruction])
    once = streamed + 2 * config.rows + config.columns + 6
    assert world.array_cycles == (folds - 1) * fold_cycles(config, dataflow, streamed) + once
    assert world.waves == folds * streamed


@pytest.mark.parametrize("scale", [0, 1])
@pytest.mark.parametrize("dataflow", list(Dataflow))
@pytest.mark.parametrize(
    "rows, columns, streamed",
    [(4, 3, 1), (4, 3, 9), *nightly((4, 3, 4), (2, 12, 1), (2, 40, 1), (2, 40, 3))],
)
def test_instructions_of_a_fold_cost_no_more_than_folds(
    array: Array, rows: int, columns: int, streamed: int, dataflow: Dataflow, scale: int
) -> None:
    """Instructions that are there early make one chain, also if each scales and lasts long."""
    config, folds = array(rows, columns), 24
    world = World(config, seed=streamed)
    shape = (streamed, rows) if dataflow == Dataflow.WS else (rows, streamed)
    chain = [
        plain(
            dataflow,
            *shape,
            columns,
            config,
            left_base=n,
            right_base=n,
            out_base=n * shape[0],
            scale=scale,
        )  # fmt: skip
        for n in range(folds)
    ]
    run(world, chain)
    once = streamed + 2 * rows + columns + 6
    assert world.array_cycles == (folds - 1) * fold_cycles(config, dataflow, streamed) + once


@pytest.mark.parametrize("streamed", [2, 4, 7])
def test_switching_dataflow_costs_at_most_the_drain(array: Array, streamed: int) -> None:
    """WS to OS costs nothing; OS to WS waits rows - 1 cycles, while the tile loads."""
    config = array(4, 3)
    rows, columns = config.rows, config.columns
    ws = plain(Dataflow.WS, streamed, rows, columns, config, out_base=0)
    os = plain(Dataflow.OS, rows, streamed, columns, config, out_base=64)
    after = 2 * rows + columns + 6

    world = World(config, seed=1)
    run(world, [ws, os])
    assert world.array_cycles == (rows - 1) + 2 * streamed + after

    world = World(config, seed=2)
    run(world, [os, ws])
    assert world.array_cycles == 2 * streamed + (rows - 1) + rows + columns + 7


@pytest.mark.parametrize("dataflow", list(Dataflow))
def test_all_minus_128(dataflow: Dataflow) -> None:
    config = small(4, 4)
    world = World(config, seed=0, values=(-128, -127))
    run(world, [plain(dataflow, 7, 12, 8, config)])
    assert all(sums == [12 * 128 * 128] * 4 for sums in world.out.values())


@pytest.mark.parametrize("scale", [0, 1])
@pytest.mark.parametrize("high", [1, *nightly(2, 3)])
@pytest.mark.parametrize("rows, columns", SHAPES)
def test_sums_added_to_one_row_lose_no_write(
    array: Array, rows: int, columns: int, high: int, scale: int
) -> None:
    """Folds of few rows, and instructions right behind one another, add to the same few words."""
    config = array(rows, columns)
    world = World(config, seed=rows)
    first = plain(Dataflow.WS, high, 4 * rows + 1, columns, config)
    again = plain(Dataflow.WS, high, rows, columns, config, accumulate=1, scale=scale)
    other = plain(Dataflow.OS, high, 1, columns, config, accumulate=1, scale=scale)
    run(world, [first, again, again, other, other, again, first])


def test_scaled_sums_saturate_both_ways() -> None:
    config = small(2, 2)
    world = World(config, seed=0)
    world.left[:] = 127
    world.right[:, 0], world.right[:, 1] = 127, -127
    world.scales = [(1 << 15, -2)] * SCALES
    chain = [plain(Dataflow.OS, 2, 2, 2, config, scale=1)]
    chain += [plain(Dataflow.OS, 2, 2, 2, config, scale=1, accumulate=1)] * 2
    run(world, chain)
    assert world.out[0] == [(1 << 31) - 1, -(1 << 31)]
    assert world.limited == 3 * 2 * 2, "each element once, whether its addend, its sum or both"


@pytest.mark.parametrize("dataflow", list(Dataflow))
@pytest.mark.parametrize("columns", [1, 3, 4, 5, 7])
def test_padding_lanes_that_saturate_do_not_count(columns: int, dataflow: Dataflow) -> None:
    """Every lane is limited each time; only those of the matrix are elements."""
    config = small(2, 4)
    world = World(config, seed=columns)
    world.left[:], world.right[:] = 127, 127
    world.scales = [(1 << 15, -2)] * SCALES
    shape = 2, 2, columns
    run(world, [plain(dataflow, *shape, config, scale=1, accumulate=n) for n in range(2)])
    assert all(sums == [(1 << 31) - 1] * 4 for sums in world.out.values()), "padding as well"
    assert world.limited == 2 * 2 * columns


def test_sums_of_both_signs_that_their_addend_limits() -> None:
    """An addend that was limited counts, also where the sum then fits; sums that wrap do not."""
    config = small(2, 2)
    world = World(config, seed=0)
    world.left[:], world.right[:] = 127, -127
    world.right[8:] = 127
    world.scales = [(1 << 15, -2)] * SCALES
    down = plain(Dataflow.WS, 3, 2, 2, config, scale=1)
    up = plain(Dataflow.WS, 3, 2, 2, config, scale=1, accumulate=1, right_base=8)
    unscaled = plain(Dataflow.WS, 3, 2, 2, config, accumulate=1)
    run(world, [down, unscaled, down, up])
    assert world.out[0] == [-1, -1]
    assert world.limited == 3 * 3 * 2


def test_updates_of_the_store_engine_go_first() -> None:
    """Neither writer of the accumulate-scale memory loses anything; only the load engine waits."""
    config = small(2, 2)
    world = World(config, seed=3)
    dut = world.dut
    loaded = {address: 1 << 15 | 14 << 16 | address for address in range(0, 40)}
    updated = {address: 1 << 15 | 15 << 16 | address for address in range(40, SCALES)}
    filled, done, refused = False, 0, 0

    def offer(port, address: int, entry: int, ctx) -> None:
        ctx.set(port.p, {"address": address, "data": entry})
        ctx.set(port.valid, 1)

    async def load(ctx):
        nonlocal done, refused
        while not filled:
            await ctx.tick()
        for address, entry in loaded.items():
            offer(dut.write_scale, address, entry, ctx)
            while not (await ctx.tick().sample(dut.write_scale.ready))[2]:
                refused += 1
            ctx.set(dut.write_scale.valid, 0)
        done += 1

    async def update(ctx):
        nonlocal done
        while not filled:
            await ctx.tick()
        for address, entry in updated.items():
            offer(dut.write_update, address, entry, ctx)
            assert (await ctx.tick().sample(dut.write_update.ready))[2]
            ctx.set(dut.write_update.valid, 0)
            if address % 3:
                await ctx.tick().repeat(address % 3)
        done += 1

    async def bench(ctx):
        nonlocal filled
        await world.fill(ctx)
        filled = True
        while done < 2:
            await ctx.tick()
        entries = loaded | updated
        world.scales = [(entries[n] & 0xFFFF, entries[n] >> 16) for n in range(SCALES)]
        sums = plain(Dataflow.WS, SCALES, 2, 2, config, scale=1)
        world.expect(sums)
        await world.issue(ctx, sums)
        await world.settle(ctx)
        await world.check(ctx, 3)

    simulate(dut, bench, load, update, background=[world.watch])
    assert refused > 0


def halves(value: int, index: int) -> int:
    return value >> index & 1


@pytest.mark.parametrize("dataflow", list(Dataflow))
@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("half", [0, 1])
def test_only_old_sums_keep_the_store_engine_out(
    half: int, accumulate: int, dataflow: Dataflow
) -> None:
    """What overwrites a half lets every word be read meanwhile, and still loses none."""
    config = small(2, 3)
    world = World(config, seed=half)
    dut, base = world.dut, half * config.output_depth
    before = plain(Dataflow.WS, 60, 2, 3, config, out_base=base)
    during = plain(dataflow, 40, 2, 3, config, left_base=40, out_base=base)
    during = dataclasses.replace(during, accumulate=accumulate)
    busy, refused, reads = [0, 0], 0, 0

    async def bench(ctx):
        nonlocal refused, reads
        await world.fill(ctx)
        world.expect(before)
        await world.issue(ctx, before)
        await world.settle(ctx)
        await world.issue(ctx, during)
        # By turns two even and two odd addresses: each other word is in the bank of the last one.
        words, bank = itertools.cycle((40, 42, 43, 45, 46, 48, 49, 51)), None
        word = next(words)
        while ctx.get(dut.busy):
            stops, late = ctx.get(dut.half_busy), ctx.get(dut.half_used)
            for index in range(2):
                busy[index] += halves(stops, index)
            closed = halves(stops, half) or (halves(late, half) and bank == word % 2)
            ctx.set(dut.read_address, base + word)
            ctx.set(dut.read_enable, not closed)
            await ctx.tick()
            refused += bool(closed)
            bank = None if closed else word % 2
            if not closed:
                seen = unpack(ctx.get(dut.read_data), 32, config.columns)
                assert seen == world.out[base + word], f"output word {base + word}"
                word, reads = next(words), reads + 1
        world.expect(during)
        await world.check(ctx, accumulate)

    simulate(dut, bench)
    assert busy[1 - half] == 0
    if accumulate:
        assert busy[half] >= during.rows and reads
    else:
        assert busy[half] == 0 and 3 * refused > reads > refused > 10


@pytest.mark.parametrize("rows, columns", SHAPES)
def test_random_reads_under_chains_in_the_same_half(array: Array, rows: int, columns: int) -> None:
    """The store's port reads finished words whenever it may; nothing is lost on either side."""
    rng = random.Random(rows)
    config = array(rows, columns)
    world = World(config, seed=rows)
    kept = {}

    async def bench(ctx):
        await world.fill(ctx)
        for half in range(2):
            words = plain(Dataflow.WS, 24, 1, 1, config, out_base=half * config.output_depth)
            world.expect(words)
            await world.issue(ctx, words)
        await world.settle(ctx)
        kept.update(world.out)
        for _ in range(12):
            flow, high = rng.choice(list(Dataflow)), rng.randint(1, 2 * rows)
            half, deep = rng.randrange(2), rng.randint(1, 3 * rows)
            sums = plain(
                flow, high, deep, columns, config, accumulate=int(rng.random() < 0.3),
                out_base=half * config.output_depth + 24 + rng.choice((0, 1, 7)),
            )  # fmt: skip
            if any(sums.out_base + row not in world.out for row in range(high)):
                sums = dataclasses.replace(sums, accumulate=0)
            world.expect(sums)
            await world.issue(ctx, sums)
        await world.settle(ctx)
        kept.clear()
        await ctx.tick().repeat(2)
        await world.check(ctx, rows)

    async def read(ctx):
        bank = None
        while not seen or kept:
            address = rng.choice(list(kept)) if kept else 0
            half = address // config.output_depth
            busy = ctx.get(dut.half_busy) | ctx.get(dut.half_used) * (bank == (half, address % 2))
            reads = bool(kept) and ctx.get(dut.busy) and not halves(busy, half)
            ctx.set(dut.read_enable, reads)
            if reads:
                ctx.set(dut.read_address, address)
            await ctx.tick()
            bank = (half, address % 2) if reads else None
            if reads:
                seen.append(unpack(ctx.get(dut.read_data), 32, columns))
                assert seen[-1] == world.out[address], f"output word {address}"

    dut, seen = world.dut, []
    simulate(dut, bench, background=[world.watch, read])
    assert len(seen) > 40


def test_an_instruction_that_meets_the_one_before_in_a_bank_starts_a_cycle_later() -> None:
    """Right behind a row of the same half, whose address is even or odd like its own first."""
    config = small(4, 3, drain_overlap=1)

    def cycles(flows: tuple[Dataflow, Dataflow], base: int, **more: int) -> int:
        world = World(config, seed=base)
        shapes = {Dataflow.WS: (6, 4), Dataflow.OS: (4, 4)}
        first, second = (plain(flow, *shapes[flow], 3, config, **more) for flow in flows)
        run(world, [first, dataclasses.replace(second, out_base=base)])
        return world.array_cycles

    ws, os = Dataflow.WS, Dataflow.OS
    other = config.output_depth
    for flows in ((ws, ws), (os, os), (os, ws)):
        last = 5 if flows[0] is ws else 3
        early = cycles(flows, last + 1)
        assert cycles(flows, last + 2) == cycles(flows, last + 4) == early + 1, flows
        late = 0 if flows[0] is ws else 1
        assert cycles(flows, other + 1) == early + late, "another half is looked at after WS only"
    # The first wave of OS is far from its first row of results.
    assert cycles((ws, os), 6) == cycles((ws, os), 7)


def test_scales_are_held_until_the_last_result_however_many_instructions_are_ahead() -> None:
    """A wide flat array has many short instructions between their last read and last write."""
    config = small(2, 96)
    world = World(config, seed=0)
    chain = [plain(Dataflow.WS, 1, 2, 1, config, out_base=index) for index in range(60)]
    chain.append(plain(Dataflow.WS, 1, 2, 1, config, out_base=60, scale=1))
    run(world, chain)
    assert world.load_tokens == len(chain)
    assert world.last_load_token >= world.written, "the scale was free before its last use"
