"""The load engine: every word of plain and transposed loads in its place, tokens, pace, stalls."""

from __future__ import annotations

import dataclasses
import random
from collections import deque

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Load, Memory
from hw.isa.pipeline import scale_group
from hw.load import LoadEngine
from hw.shared import Builder
from tests.marks import nightly

from .bench import simulate

DRAM_BYTES = 1 << 14
PORTS = {
    Memory.INPUT: "left",
    Memory.WEIGHT: "right",
    Memory.ACCUMULATE_SCALE: "accumulate_scale",
    Memory.ROW_SCALE: "row_scale",
    Memory.COLUMN_SCALE: "column_scale",
}
SHAPES = [(4, 4, 4), (4, 4, 8), (4, 4, 64), (3, 5, 4), (3, 5, 8), (3, 5, 64), (8, 2, 4)]


def small(rows: int, columns: int, bus: int, products: int = 1) -> Config:
    """Return a configuration of that shape with short bursts."""
    return Config(
        rows=rows, columns=columns, bus_bytes=bus, burst_beats=4, macs_per_element=products
    )


def four_bits(row: np.ndarray, index: int) -> int:
    """Return an element of a packed row: the lower half of a byte comes first."""
    value = int(row[index // 2]) >> 4 * (index % 2) & 15
    return value - 16 if value > 7 else value


class World:
    """A load engine between a DRAM and memories that keep it waiting at random.

    Parameters
    ----------
    beats, ports : float
        Share of the cycles in which the DRAM has a beat, and in which a memory takes a word.
    """

    def __init__(
        self, config: Config, seed: int = 0, *, beats: float = 1.0, ports: float = 1.0
    ) -> None:
        self.config = config
        self.rng = random.Random(seed)
        self.dram = np.frombuffer(self.rng.randbytes(DRAM_BYTES), np.uint8)
        self.dut = LoadEngine(config, Builder())
        self.beats, self.ports = beats, ports
        self.waiting: deque[int] = deque()
        self.writes: list[tuple] = []
        self.first_beat: int | None = None
        self.beats_taken = 0
        self.ends: list[int] = []
        self.tokens: list[tuple[int, int]] = []
        self.stalls = {"dram": 0, "memory": 0}

    async def answer(self, ctx) -> None:
        """Take bursts; give their beats in order, the soonest in the cycle after."""
        dut, bus = self.dut, self.config.bus_bytes
        cycle, offered = 0, False
        ctx.set(dut.bursts.ready, 1)
        signals = (dut.bursts.valid, dut.bursts.p, dut.beats.ready)
        async for _, _, asks, burst, took in ctx.tick().sample(*signals):
            if offered and took:
                self.first_beat = cycle if self.first_beat is None else self.first_beat
                self.waiting.popleft()
                self.beats_taken += 1
                offered = False
            if asks:
                self.waiting.extend(range(burst.beat, burst.beat + burst.beats))
            offered = bool(self.waiting) and (offered or self.rng.random() < self.beats)
            if offered:
                start = bus * self.waiting[0]
                ctx.set(dut.beats.p, int.from_bytes(self.dram[start : start + bus], "little"))
            ctx.set(dut.beats.valid, offered)
            cycle += 1

    async def receive(self, ctx) -> None:
        """Take words, note ends and tokens."""
        dut = self.dut
        ports = {memory: getattr(dut, name) for memory, name in PORTS.items()}
        signals = [dut.end, dut.signal_execute, dut.signal_store]
        signals += [dut.stalled_on_dram, dut.stalled_on_memory]
        for port in ports.values():
            signals += [port.valid, port.ready, port.p]
        for port in ports.values():
            ctx.set(port.ready, self.rng.random() < self.ports)
        cycle = 0
        async for _, _, end, execute, store, dram, memory, *seen in ctx.tick().sample(*signals):
            self.stalls["dram"] += dram
            self.stalls["memory"] += memory
            taken = [
                (target, word)
                for target, valid, ready, word in zip(
                    ports, seen[::3], seen[1::3], seen[2::3], strict=True
                )
                if valid and ready
            ]
            assert len(taken) <= 1
            for target, word in taken:
                self.writes += self.entries(target, word)
            if end:
                assert taken, "an instruction ends with its last word"
                self.ends.append(cycle)
                self.tokens.append((execute, store))
            for port in ports.values():
                ctx.set(port.ready, self.rng.random() < self.ports)
            cycle += 1

    def entries(self, target: Memory, word) -> list[tuple]:
        """Return a write, of a group of column scales one for each entry that is written."""
        together = self.config.macs_per_element
        if target is Memory.INPUT and together > 1:
            first, lanes = word.address - word.address % together, 8 * self.config.rows
            return [
                (target, first + place, 0, word.data >> lanes * place & (1 << lanes) - 1)
                for place in range(together)
                if word.places >> place & 1
            ]
        if target is not Memory.COLUMN_SCALE:
            return [(target, word.address, 0, word.data)]
        size = scale_group(self.config.bus_bytes, self.config.columns)
        return [
            (target, word.address, size * word.group + index, word.data[index])
            for index in range(size)
            if word.given >> index & 1
        ]

    def run(self, chain: list[Load]) -> None:
        """Run a chain of instructions; each is there when the engine takes it."""

        async def bench(ctx):
            for instruction in chain:
                word = int.from_bytes(encode(instruction), "little")
                ctx.set(self.dut.i.payload.as_value(), word)
                ctx.set(self.dut.i.valid, 1)
                await ctx.tick().until(self.dut.i.ready)
                ctx.set(self.dut.i.valid, 0)
            for _ in range(100_000):
                if not ctx.get(self.dut.busy):
                    return
                await ctx.tick()
            raise AssertionError("the engine never became idle")

        simulate(self.dut, bench, background=[self.answer, self.receive])

    def expect(self, load: Load) -> list[tuple]:
        """Return the writes an instruction asks for, in any order."""
        rows, columns = load.rows, load.columns
        matrix = np.stack([self.dram[load.dram + r * load.pitch :][:columns] for r in range(rows)])
        if load.packed:
            matrix = np.array([[four_bits(row, index) for index in range(columns)]
                               for row in matrix], np.int8).view(np.uint8)  # fmt: skip
        lanes = {Memory.INPUT: self.config.rows, Memory.WEIGHT: self.config.columns}
        size = lanes.get(load.memory, 4)
        if load.transpose and load.memory in lanes:
            matrix = matrix.T
        found = []
        for index, row in enumerate(matrix):
            for block in range(-(-len(row) // size)):
                data = int.from_bytes(bytes(row[block * size : (block + 1) * size]), "little")
                word, lane = block, 0
                if load.memory is Memory.COLUMN_SCALE:
                    word, lane = divmod(block, self.config.columns)
                if load.memory not in lanes:
                    data &= (1 << 24) - 1
                depth = self.depth(load.memory)
                address = load.base + index * load.row_stride + word * load.block_stride
                found.append((load.memory, address % depth, lane, data))
        return found

    def depth(self, memory: Memory) -> int:
        """Return the words of a memory."""
        config = self.config
        return {
            Memory.INPUT: 2 * config.input_depth,
            Memory.WEIGHT: 2 * config.weight_depth,
            Memory.ACCUMULATE_SCALE: config.accumulate_scale_depth,
            Memory.ROW_SCALE: config.row_scale_depth,
            Memory.COLUMN_SCALE: config.column_scale_depth,
        }[memory]

    def check(self, chain: list[Load]) -> None:
        """Compare all writes, instruction by instruction, and their tokens."""
        start = 0
        for number, load in enumerate(chain):
            expected = self.expect(load)
            seen = self.writes[start : start + len(expected)]
            assert sorted(seen) == sorted(expected), f"instruction {number}: {load}"
            start += len(expected)
        assert start == len(self.writes)
        assert self.tokens == [(load.signal_execute, load.signal_store) for load in chain]


def draw(world: World, rng: random.Random) -> Load:
    """Return a random instruction; more often than not it transposes."""
    bus = world.config.bus_bytes
    memory = rng.choice((Memory.INPUT, Memory.INPUT, Memory.WEIGHT, Memory.WEIGHT, *Memory))
    size = 4 if memory > Memory.WEIGHT else 1
    rows = rng.choice((1, rng.randint(1, 5), rng.randint(1, 14)))
    columns = size * rng.choice((1, rng.randint(1, 9), rng.randint(1, 40)))
    pitch = -(-columns // bus) * bus + bus * rng.choice((0, 0, 1, 2))
    across = -(-(rows if memory <= Memory.WEIGHT else columns) // 2)
    transpose = int(rng.random() < 0.7)
    return Load(
        memory=memory,
        transpose=transpose,
        packed=int(memory <= Memory.WEIGHT and rng.random() < 0.4),
        dram=bus * rng.randint(0, (DRAM_BYTES - rows * pitch) // bus),
        pitch=pitch,
        rows=rows,
        columns=columns,
        base=rng.randint(0, 20),
        row_stride=rng.choice((1, across, 50)),
        block_stride=rng.choice((1, columns, 37)),
        signal_execute=rng.randint(0, 1),
        signal_store=rng.randint(0, 1),
    )


@pytest.mark.parametrize("beats, ports", [(1.0, 1.0), (0.6, 0.6), *nightly((0.4, 1.0), (1.0, 0.4))])
@pytest.mark.parametrize("rows, columns, bus", SHAPES)
def test_random_chains(rows: int, columns: int, bus: int, beats: float, ports: float) -> None:
    world = World(small(rows, columns, bus), rows + bus, beats=beats, ports=ports)
    rng = random.Random(10 * rows + bus)
    chain = [draw(world, rng) for _ in range(12)]
    world.run(chain)
    world.check(chain)


@pytest.mark.parametrize("products", [2, 4])
@pytest.mark.parametrize("rows, columns, bus", [(2, 8, 8), (3, 4, 16), (4, 2, 4)])
def test_words_that_are_read_at_once_are_written_at_once(
    rows: int, columns: int, bus: int, products: int
) -> None:
    """Where words of a row follow one another from an aligned place on, not otherwise."""
    rng = random.Random(bus + products)
    world = World(small(rows, columns, bus, products), bus, beats=0.9, ports=0.8)
    chain = []
    for _ in range(12):
        load = draw(world, rng)
        if rng.random() < 0.7:
            aligned = {"base": products * rng.randint(0, 5), "row_stride": 20 * products}
            if load.memory <= Memory.WEIGHT:
                aligned["packed"] = rng.randint(0, 1)
            load = dataclasses.replace(load, **aligned, block_stride=1, transpose=0)
        chain.append(load)
    world.run(chain)
    world.check(chain)


@pytest.mark.parametrize("width", [1, 11, 16, 40])
def test_a_row_that_is_written_wide_takes_a_beat_a_cycle(width: int) -> None:
    config = small(4, 4, 16, 4)
    world = World(config)
    load = Load(
        memory=Memory.INPUT, dram=0, pitch=48, rows=5, columns=width, base=8, row_stride=12,
        block_stride=1,
    )  # fmt: skip
    world.run([load])
    world.check([load])
    assert world.ends[-1] - world.first_beat == 5 * -(-width // 16)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 17, 40])
@pytest.mark.parametrize("memory", [Memory.INPUT, Memory.WEIGHT])
def test_packed_rows_take_half_the_beats_and_no_more_cycles(memory: Memory, width: int) -> None:
    """Each row begins with a beat of its own, whose upper half is passed over if it needs none."""
    world = World(small(8, 8, 8))
    load = Load(
        memory=memory, dram=0, pitch=40, rows=5, columns=width, base=8, row_stride=12,
        block_stride=1, packed=1,
    )  # fmt: skip
    world.run([load] * 2)
    world.check([load] * 2)
    assert world.beats_taken == 2 * 5 * -(-width // 16)
    # The first beat leaves with its upper half, if the row needs that.
    assert world.ends[-1] - world.first_beat == 2 * 5 * -(-width // 8) - (width > 8)


@pytest.mark.parametrize("memory", [Memory.ACCUMULATE_SCALE, Memory.ROW_SCALE, Memory.COLUMN_SCALE])
def test_scales_are_never_transposed(memory: Memory) -> None:
    world = World(small(4, 4, 8))
    fields = {"rows": 2, "columns": 24, "pitch": 24, "row_stride": 8, "block_stride": 1}
    chain = [Load(memory=memory, transpose=1, dram=0, **fields)]
    world.run(chain)
    world.check(chain)


GROUPS = {  # rows, columns, bus: column scales written in a cycle
    (4, 4, 4): 1,
    (4, 4, 8): 2,
    (4, 4, 16): 4,
    (4, 4, 64): 4,  # a word of scales, part of a beat
    (2, 3, 4): 1,
    (2, 3, 8): 1,
    (2, 3, 16): 3,
    (3, 5, 16): 1,
    (3, 5, 32): 5,
    (4, 6, 16): 3,
    (4, 12, 32): 6,
    (3, 9, 16): 3,
    (4, 15, 64): 15,
    (64, 64, 64): 16,
}


@pytest.mark.parametrize("shape", GROUPS)
def test_a_group_is_what_a_beat_holds_and_divides_a_word(shape: tuple[int, int, int]) -> None:
    assert scale_group(shape[2], shape[1]) == GROUPS[shape]


@pytest.mark.parametrize("shape", [each for each in GROUPS if each[1] <= 6])
def test_column_scales_are_loaded_a_group_a_cycle(shape: tuple[int, int, int]) -> None:
    """Part of a word or many, counted from the first beat; a beat waits for those before it.

    n entries in groups of g take ceil(n / g) cycles or as many as there are beats, and one more
    from beat to word.
    """
    rows, columns, bus = shape
    group = GROUPS[shape]
    for entries in {1, group + 1, columns - 1, columns, 3 * columns + 1}:
        world = World(small(rows, columns, bus))
        fields = {"rows": 1, "columns": 4 * entries, "base": 7, "block_stride": 3}
        chain = [Load(memory=Memory.COLUMN_SCALE, dram=bus, **fields)]
        world.run(chain)
        world.check(chain)
        cycles = max(-(-entries // group), -(-4 * entries // bus))
        assert world.ends[-1] - world.first_beat == cycles, entries


@pytest.mark.parametrize("shape", [(2, 3, 16), (4, 4, 8), (3, 5, 32), (4, 12, 64)])
def test_rows_of_column_scales_follow_without_a_gap(shape: tuple[int, int, int]) -> None:
    """Each begins a word and ends with part of a group, of which it writes no more."""
    rows, columns, bus = shape
    group = scale_group(bus, columns)
    entries = columns + group - 1
    pitch = -(-4 * entries // bus) * bus
    fields = {"columns": 4 * entries, "pitch": pitch, "row_stride": 2, "block_stride": 1}
    world = World(small(rows, columns, bus))
    chain = [Load(memory=Memory.COLUMN_SCALE, dram=0, rows=4, **fields)] * 2
    world.run(chain)
    world.check(chain)
    assert len(world.writes) == 8 * entries
    cycles = max(-(-entries // group), pitch // bus)
    assert world.ends[-1] - world.first_beat == 8 * cycles


def tile(config: Config, number: int, transpose: int, **more: int) -> Load:
    """Return the load of one stationary tile, rows with a gap between them."""
    fields = {
        "memory": Memory.WEIGHT,
        "transpose": transpose,
        "dram": number * config.columns,
        "pitch": 16 * config.columns,
        "rows": config.columns,
        "columns": config.rows,
        "base": number * config.rows,
        "row_stride": 1,
        "block_stride": config.rows,
    }
    return Load(**(fields | more))


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("way", ["down", "across", "one by one"])
def test_transposed_tiles_load_at_a_word_a_cycle(lanes: int, way: str) -> None:
    """One tile is filled; the words of all others come without a gap, as of plain loads."""
    config = Config(rows=lanes, columns=lanes, bus_bytes=lanes, weight_depth=64)
    tiles = 6
    chain = {
        "down": [tile(config, 0, 1, rows=tiles * lanes, pitch=2 * lanes)],
        "across": [tile(config, 0, 1, columns=tiles * lanes)],
        "one by one": [tile(config, number, 1) for number in range(tiles)],
    }[way]
    world = World(config)
    world.run(chain)
    world.check(chain)
    assert world.ends[-1] - world.first_beat + 1 == (tiles + 1) * lanes + 1


@pytest.mark.parametrize("first, second", [(0, 1), (1, 0), (0, 0), (1, 1)])
def test_plain_and_transposed_loads_follow_without_a_gap(first: int, second: int) -> None:
    """Whatever comes first, beats of the second come in meanwhile."""
    config = Config(rows=8, columns=8, bus_bytes=8)
    world = World(config)
    chain = [tile(config, 0, first), tile(config, 1, second)]
    world.run(chain)
    world.check(chain)
    fill = config.rows if first or second else 0
    words = 2 * config.rows
    assert world.ends[-1] - world.first_beat + 1 == words + fill + 1


def test_stalls_are_told_apart() -> None:
    """Beats that are not there are the DRAM's fault, words that are not taken the memory's."""
    config = Config(rows=4, columns=4, bus_bytes=4)
    for transpose in (0, 1):
        chain = [tile(config, number, transpose) for number in range(4)]
        stalls = {}
        for share in ({}, {"beats": 0.3}, {"ports": 0.3}):
            world = World(config, 1, **share)
            world.run(chain)
            stalls[tuple(share)] = world.stalls
        words = 16
        assert stalls[()]["memory"] == 0 and stalls[()]["dram"] < 8
        assert stalls["beats",]["memory"] == 0 and stalls["beats",]["dram"] > words
        assert stalls["ports",]["memory"] > words and stalls["ports",]["dram"] < 8
