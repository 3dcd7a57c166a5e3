"""The store engine: every byte, entry, count and the overlap of instructions."""

from __future__ import annotations

import itertools
import random

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Absmax, Axis, Format, Store
from hw.isa.pipeline import BLOCK_LEAD
from tests.marks import nightly

from .store_world import Manner, World

SHAPES = [(2, 3, 4), (4, 4, 8), (3, 5, 32)]
ROUGH = Manner(0.3, 0.3, 0.3, 0.2, (1, 40), half_used=0.5)
MANNERS = [
    pytest.param(Manner(), id="smooth", marks=pytest.mark.nightly),
    pytest.param(ROUGH, id="rough"),
]


def small(rows: int, columns: int, bus: int, **changes: int) -> Config:
    """Return a small configuration."""
    sizes = {
        "output_depth": 64,
        "row_scale_depth": 64,
        "accumulate_scale_depth": 32,
        "column_scale_depth": 8,
        "burst_beats": 4,
        "write_outstanding": 4,
    }
    return Config(rows=rows, columns=columns, bus_bytes=bus, **(sizes | changes))


def up(size: int, bus: int) -> int:
    """Return a size rounded up to beats."""
    return -(-size // bus) * bus


def matrix(config: Config, rows: int, columns: int, base: int = 0) -> dict[str, int]:
    """Return the fields of a matrix that lies row after row."""
    blocks = -(-columns // config.columns)
    return {
        "rows": rows, "columns": columns, "base": base, "row_stride": blocks, "block_stride": 1,
    }  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stochastic", [0, 1], ids=["nearest", "stochastic"])
@pytest.mark.parametrize("manner", MANNERS)
def test_every_format(shape, stochastic, manner) -> None:
    config = small(*shape)
    columns = 2 * config.columns + 1
    program, dram = [], 0
    for number, form in enumerate(Format):
        pitch = up(columns * (4 if form is Format.INT32 else 1), config.bus_bytes)
        pitch += (number % 2) * config.bus_bytes  # rows with and without gaps
        program.append(
            Store(
                format=form, stochastic=stochastic, dram=dram, pitch=pitch, row_scale=number,
                column_scale=7, origin_row=0xFFFE, origin_column=0xFFFD,
                signal_load=number & 1, signal_execute=number >> 1 & 1,
                **matrix(config, 9, columns, base=number),
            )
        )  # fmt: skip
        dram += 9 * pitch
    seen = World(config, seed=3, manner=manner).run(program)
    assert seen.saturations > 0
    if manner is ROUGH:
        assert seen.stalled_on_dram > 0 and seen.stalled_on_memory > 0


@pytest.mark.parametrize("manner", [Manner(), ROUGH], ids=["smooth", "rough"])
def test_words_that_are_multiplied_twice(manner) -> None:
    """Between others, which need the lanes' one multiplier at other times, they lose no product."""
    config = small(4, 4, 8)
    world = World(config, seed=6, manner=manner)
    rng = random.Random(6)
    # Scales of rows from a quarter to one: most of a sum is left for that of its column.
    places = range(config.row_scale_depth)
    world.model.row_scale = [
        rng.randrange(1 << 15, 1 << 16) | rng.choice((16, 17)) << 16 for _ in places
    ]
    once = {"format": Format.INT8_COLUMN, **matrix(config, 9, 4)}
    twice = {"format": Format.INT8_ROW_COLUMN, **matrix(config, 30, 4, base=9)}
    program = [
        Store(dram=256 * number, pitch=8, row_scale=7, column_scale=number, **fields)
        for number, fields in enumerate((once, twice, once, twice))
    ]
    scaled = Absmax(
        axis=Axis.ROW, scaled=1, to_dram=1, dram=2048, row_scale=3, **matrix(config, 9, 4)
    )
    seen = world.run([*program, scaled, program[1]])
    assert len({world.dram[256 + 8 * row + lane] for row in range(30) for lane in range(4)}) > 40
    if manner is not ROUGH:
        gaps = [later - earlier for earlier, later in itertools.pairwise(seen.reads[9:39])]
        assert gaps == [1, 1, 4] * 9 + [1, 1]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", Axis)
@pytest.mark.parametrize("scaled", [0, 1])
@pytest.mark.parametrize("manner", MANNERS)
def test_maxima_span_instructions(shape, axis, scaled, manner) -> None:
    """Two tiles share maxima; the second writes them, makes scales and updates."""
    config = small(*shape)
    columns = 2 * config.columns + 1
    common = {"axis": axis, "scaled": scaled, "row_scale": 20, "scale_base": 3, "update_base": 29}
    first = Absmax(**common, **matrix(config, 5, columns))
    second = Absmax(
        **common, merge=1, to_dram=1, to_scales=1, to_updates=1, factor=40,
        **matrix(config, 5, columns, base=40),
    )  # fmt: skip
    form = Format.INT8_COLUMN if axis is Axis.COLUMN else Format.INT8_ROW
    form = Format.INT8_TENSOR if axis is Axis.TENSOR else form
    uses = Store(
        format=form, dram=1024, pitch=up(columns, config.bus_bytes), row_scale=3, column_scale=3,
        **matrix(config, 5, columns, base=40),
    )  # fmt: skip
    seen = World(config, seed=axis + 10, manner=manner).run([first, second, uses, first, second])
    if scaled == 0:
        assert seen.saturations == 0, "the scale of a maximum limits nothing below it"


@pytest.mark.parametrize("axis", Axis)
def test_merging_keeps_the_greater_of_either_tile(axis) -> None:
    config = small(4, 4, 8)
    world = World(config, seed=5, manner=Manner())
    for row in range(8):
        world.model.words[row] = [row + 1, -20, 3, 0]
        world.model.words[64 + row] = [-4, 1, 30 - row, 0]
    program = []
    for merge, base in ((0, 0), (1, 64), (0, 64), (1, 0)):
        program.append(
            Absmax(
                axis=axis, merge=merge, to_dram=1, dram=64 * len(program),
                **matrix(config, 8, 4, base=base),
            )
        )  # fmt: skip
    world.run(program)
    assert world.dram[64] == {Axis.ROW: 30, Axis.COLUMN: 8, Axis.TENSOR: 30}[axis]


def test_an_absmax_without_a_target_writes_nothing() -> None:
    config = small(4, 4, 8)
    program = [Absmax(axis=axis, **matrix(config, 6, 11)) for axis in Axis]
    seen = World(config, seed=1, manner=Manner()).run(program)
    assert seen.bursts == 0 and not seen.beats


def random_program(config: Config, seed: int, length: int) -> list[Store | Absmax]:
    """Return stores and maxima of all kinds; merges only where something was kept before."""
    rng = random.Random(seed)
    bus, dram, kept, program = config.bus_bytes, 0, set(), []
    for _ in range(length):
        rows, columns = rng.randint(1, 9), rng.randint(1, 3 * config.columns)
        blocks = -(-columns // config.columns)
        if rng.random() < 0.5:
            area = {"row_stride": blocks, "block_stride": 1}
        else:
            area = {"row_stride": 1, "block_stride": rows}
        area |= {"rows": rows, "columns": columns}
        area["base"] = rng.randrange(2 * config.output_depth - rows * blocks)
        area["signal_load"], area["signal_execute"] = rng.getrandbits(1), rng.getrandbits(1)
        if rng.random() < 0.5:
            form = rng.choice(list(Format))
            pitch = up(columns * (4 if form is Format.INT32 else 1), bus) + bus * rng.getrandbits(1)
            area |= {"dram": dram, "pitch": pitch, "row_scale": rng.randrange(16)}
            area |= {"column_scale": rng.randrange(8), "origin_row": rng.randrange(1 << 16)}
            area |= {"origin_column": rng.randrange(1 << 16), "stochastic": rng.getrandbits(1)}
            program.append(Store(format=form, **area))
            dram += rows * pitch
            continue
        axis, base = rng.choice(list(Axis)), rng.choice((0, 3, 12))
        count = {Axis.ROW: rows, Axis.COLUMN: columns, Axis.TENSOR: 1}[axis]
        places = {(axis is Axis.COLUMN, base, index) for index in range(count)}
        flags = {name: rng.getrandbits(1) for name in ("to_dram", "to_scales", "to_updates")}
        program.append(
            Absmax(
                axis=axis, scaled=rng.getrandbits(1), merge=rng.getrandbits(1) & (places <= kept),
                row_scale=30, scale_base=base, update_base=rng.randrange(32),
                factor=rng.randrange(64), dram=dram, **flags, **area,
            )
        )  # fmt: skip
        # Other bases overlap these places; what is kept there counts too, but is not needed here.
        kept |= places
        dram += up(4 * count, bus)
    return program


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("manner", [Manner(), ROUGH], ids=["smooth", "rough"])
@pytest.mark.parametrize("seed", [1, *nightly(0, 2)])
def test_random_programs(shape, manner, seed) -> None:
    config = small(*shape)
    world = World(config, seed=seed, manner=manner, bits=32 if seed else 20)
    world.run(random_program(config, seed, 40))


def test_lanes_of_several_groups() -> None:
    """More lanes than one stage of the tree and of the count takes."""
    config = small(2, 19, 16)
    World(config, seed=8, manner=Manner(), bits=24).run(random_program(config, 8, 15))


@pytest.mark.parametrize("after", [30, 61, 97])
def test_a_reset_forgets_what_was_inside(after) -> None:
    config = small(4, 4, 8)
    manner = Manner(0.2, 0.3, 0.5, 0.0, (1, 30), reset_after=after)
    columns = matrix(config, 9, 11)
    program = [
        Absmax(axis=Axis.COLUMN, to_dram=1, to_updates=1, dram=0, **columns),
        Store(format=Format.INT32, dram=512, pitch=48, **columns),
        Absmax(axis=Axis.ROW, to_dram=1, to_updates=1, factor=50, dram=256, **columns),
        Store(format=Format.INT8_COLUMN, dram=1024, pitch=16, **columns),
    ]
    World(config, seed=after, manner=manner).run(program)


def test_entries_made_here_go_before_those_of_a_load() -> None:
    """No entry of either is lost where both write in one cycle."""
    config = small(4, 4, 4, column_scale_depth=32)
    area = matrix(config, 16, 4)
    program = [
        Absmax(axis=Axis.ROW, to_scales=1, scale_base=40, **area),
        Absmax(axis=Axis.COLUMN, to_scales=1, scale_base=24, **area),
        Store(format=Format.INT8_ROW, dram=0, pitch=4, row_scale=40, **area),
        Store(format=Format.INT8_COLUMN, dram=64, pitch=4, column_scale=24, **area),
    ]
    # Entries and words 0 to 19 are late; the instructions that follow need them.
    for number in range(20):
        last = {"dram": 128 + 64 * number, "pitch": 4, "row_scale": 0, "column_scale": number}
        form = Format.INT8_COLUMN if number else Format.INT8_ROW
        program.append(Store(format=form, **last, **area))
    seen = World(config, seed=9, manner=Manner(late_scales=20)).run(program)
    assert seen.loads_refused == {"row", "column"}


@pytest.mark.parametrize("axis", [Axis.ROW, Axis.TENSOR])
def test_short_instructions_merge_behind_one_another(axis) -> None:
    """One word each: every maximum is needed before the last one has been written."""
    config = small(4, 4, 4)
    world = World(config, seed=10, manner=Manner())
    program = []
    for number in range(8):
        world.model.words[number] = [(1000, 5, 4000, 3)[number % 4], -number, 0, 0]
        program.append(
            Absmax(
                axis=axis, merge=min(number, 1), to_updates=1, factor=10 + number,
                update_base=number, **matrix(config, 1, 4, base=number),
            )
        )  # fmt: skip
    world.run(program)


@pytest.mark.parametrize("to_dram", [0, 1])
def test_blocks_shorter_than_they_are_wide_wait_for_one_another(to_dram) -> None:
    config = small(4, 8, 4)
    area = matrix(config, 2, 37)
    program = [
        Absmax(axis=Axis.COLUMN, to_scales=1, to_dram=to_dram, **area),
        Absmax(axis=Axis.ROW, to_dram=1, dram=256, **area),
        Store(format=Format.INT8_COLUMN, dram=512, pitch=40, **area),
    ]
    manner = Manner(beat_stall=0.7 * to_dram)  # then maxima wait in the lanes
    World(config, seed=11, manner=manner).run(program)


def int8_stores(config: Config, rows: int, count: int) -> list[Store]:
    pitch = up(config.columns, config.bus_bytes)
    return [
        Store(
            format=Format.INT8_ROW, dram=number * rows * pitch, pitch=pitch,
            **matrix(config, rows, config.columns),
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("columns, bus", [(4, 4), (8, 8), (16, 16)])
def test_int8_rows_pass_at_one_a_cycle(columns, bus) -> None:
    config = small(4, columns, bus, burst_beats=16, output_depth=64)
    seen = World(config, seed=1, manner=Manner()).run(int8_stores(config, 64, 1))
    assert seen.ends[0] - seen.accepted[0] <= 64 + 20
    assert seen.stalled_on_memory == 0
    assert seen.reads[-1] - seen.reads[0] == 63


def test_stores_overlap() -> None:
    """Late answers make no gap: words are read, and beats leave, in every cycle."""
    config = small(4, 8, 8, burst_beats=16, write_outstanding=16)
    manner = Manner(answer_delay=(100, 100))
    seen = World(config, seed=2, manner=manner).run(int8_stores(config, 32, 3))
    assert seen.reads[-1] - seen.reads[0] == 3 * 32 - 1
    assert seen.beats[-1] - seen.beats[0] == 3 * 32 - 1
    assert seen.ends[0] >= seen.beats[31] + 100
    assert seen.reads[-1] < seen.ends[0]


def test_sums_pass_at_the_rate_of_the_bus() -> None:
    config = small(4, 4, 8, burst_beats=16)
    program = [Store(format=Format.INT32, dram=0, pitch=16, **matrix(config, 64, 4))]
    seen = World(config, seed=3, manner=Manner()).run(program)
    assert seen.beats[-1] - seen.beats[0] == 64 * 2 - 1


def test_maxima_of_columns_overlap_the_next_block() -> None:
    """Blocks as long as the array is wide: the serialiser is never waited for."""
    lanes = BLOCK_LEAD + 2  # fewer leave the lanes before the next block could be there
    config = small(4, lanes, 8)
    program = [Absmax(axis=Axis.COLUMN, to_scales=1, **matrix(config, lanes, 5 * lanes))]
    seen = World(config, seed=4, manner=Manner()).run(program)
    assert seen.reads[-1] - seen.reads[0] == lanes * 5 - 1


def test_only_readers_of_what_a_maximum_makes_wait_for_it() -> None:
    config = small(4, 4, 4)
    area = matrix(config, 4, 4)
    absmax = Absmax(axis=Axis.ROW, to_scales=1, **area)
    sums = Store(format=Format.INT32, dram=0, pitch=16, **area)
    scaled = Store(format=Format.INT8_ROW, dram=64, pitch=4, **area)
    seen = World(config, seed=6, manner=Manner()).run([absmax, sums, scaled])
    assert seen.reads[4] == seen.reads[3] + 1
    other = World(config, seed=6, manner=Manner()).run([absmax, scaled])
    assert other.reads[4] > other.reads[3] + 10


def test_several_instructions_are_inside_at_once() -> None:
    config = small(4, 4, 4, write_outstanding=8)
    manner = Manner(answer_delay=(200, 200))
    seen = World(config, seed=7, manner=manner).run(int8_stores(config, 2, 6))
    assert seen.accepted[5] < seen.ends[0]
    assert seen.ends == sorted(set(seen.ends))
