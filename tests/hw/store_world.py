"""The store engine's surroundings, and what it should do, on plain integers."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from amaranth import ResetInserter, Signal

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Absmax, Axis, Format, Instruction, Store
from hw.isa.numerics import (
    decode_scale,
    fresh_entry,
    noise,
    requantise8,
    requantise32,
    stochastic8,
    update_entry,
)
from hw.shared import Builder
from hw.store import StoreEngine

from .bench import LIMIT, pack, put, simulate

SEED = 0xC0FFEE11


@dataclass
class Manner:
    """How the surroundings behave: chances a cycle, and cycles to an answer."""

    half_busy: float = 0.0
    burst_stall: float = 0.0
    beat_stall: float = 0.0
    instruction_gap: float = 0.0
    answer_delay: tuple[int, int] = (1, 1)
    reset_after: int = 0
    """Cycles of a first run of the program that a reset breaks off; 0 for none."""
    late_scales: int = 0
    """Row-scale entries, and column-scale words, that are loaded only after the first instruction
    was taken; the last waits for them."""


@dataclass
class Seen:
    """What a run showed, by cycle."""

    accepted: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    beats: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    tokens: list[tuple[int, int]] = field(default_factory=list)
    bursts: int = 0
    saturations: int = 0
    stalled_on_dram: int = 0
    stalled_on_memory: int = 0
    loads_refused: int = 0


class Model:
    """What instructions do to memories, one after the other."""

    def __init__(self, config: Config, seed: int, bits: int = 32) -> None:
        rng = self.rng = random.Random(seed)
        self.config = config
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        edges = (low, low + 1, -1, 0, 1, high)
        self.words = [
            [
                rng.choice(edges) if rng.random() < 0.1 else rng.randint(low, high)
                for _ in range(config.columns)
            ]
            for _ in range(2 * config.output_depth)
        ]
        # Multipliers that bring most sums near the range of INT8, some far beyond it.
        shifts = (bits + 5, bits + 11)
        self.row_scale = [self._entry(shifts) for _ in range(config.row_scale_depth)]
        self.column_scale = [
            [self._entry(shifts) for _ in range(config.columns)]
            for _ in range(config.column_scale_depth)
        ]
        self.row_maxima: dict[int, int] = {}
        self.column_maxima: dict[tuple[int, int], int] = {}
        self.dram: dict[int, int] = {}
        self.saturations = 0

    def _entry(self, shifts: tuple[int, int]) -> int:
        return self.rng.randrange(1 << 15, 1 << 16) | self.rng.randint(*shifts) << 16

    def sums(self, e: Store | Absmax, row: int) -> list[list[int]]:
        """Return the words of a row."""
        blocks = -(-e.columns // self.config.columns)
        start = e.base + row * e.row_stride
        return [list(self.words[start + block * e.block_stride]) for block in range(blocks)]

    def rescaled(self, e: Store | Absmax, row: int, words: list[list[int]]) -> list[list[int]]:
        """Return a row's words rescaled by row."""
        m, s = decode_scale(self.row_scale[(e.row_scale + row) % self.config.row_scale_depth])
        return [[requantise32(value, m, s) for value in word] for word in words]

    def run(self, e: Instruction) -> tuple[dict[int, int], dict[int, int]]:
        """Do what an instruction says; return the bytes and the updates it writes."""
        data, updates = self.store(e) if isinstance(e, Store) else self.absmax(e)
        self.dram |= data
        return data, updates

    def store(self, e: Store) -> tuple[dict[int, int], dict[int, int]]:
        """Return the bytes of a store."""
        data = {}
        for row in range(e.rows):
            words = self.sums(e, row)
            if e.format == Format.INT8_ROW_COLUMN:
                words = self.rescaled(e, row, words)
            line = b""
            for column in range(e.columns):
                value = words[column // self.config.columns][column % self.config.columns]
                size, value = self._element(e, row, column, value)
                line += value.to_bytes(size, "little", signed=True)
            data |= {e.dram + row * e.pitch + index: byte for index, byte in enumerate(line)}
        return data, {}

    def _element(self, e: Store, row: int, column: int, value: int) -> tuple[int, int]:
        if e.format == Format.INT32:
            return 4, value
        depth, lanes = self.config.row_scale_depth, self.config.columns
        if e.format == Format.INT8_ROW:
            entry = self.row_scale[(e.row_scale + row) % depth]
        elif e.format == Format.INT8_TENSOR:
            entry = self.row_scale[e.row_scale % depth]
        else:
            word = (e.column_scale + column // lanes) % self.config.column_scale_depth
            entry = self.column_scale[word][column % lanes]
        m, s = decode_scale(entry)
        if e.stochastic:
            bits = noise(SEED, e.origin_row + row, e.origin_column + column)
            result = stochastic8(value, m, s, bits)
            added = (bits << s >> 32) if s > 0 else 0
        else:
            result = requantise8(value, m, s)
            added = (1 << s - 1) if s > 0 else 0
        # Limited, and not just 127: the rounded magnitude needs an eighth bit.
        self.saturations += (abs(value) * m + added << 16 >> s + 16) > 127
        return 1, result

    def absmax(self, e: Absmax) -> tuple[dict[int, int], dict[int, int]]:
        """Return the bytes and the updates of an absmax, and keep its maxima and entries."""
        factor = self.row_scale[e.factor % self.config.row_scale_depth]
        rows = [self.sums(e, row) for row in range(e.rows)]
        if e.scaled:
            rows = [self.rescaled(e, row, words) for row, words in enumerate(rows)]
        rows = [[abs(value) for word in words for value in word] for words in rows]
        if e.axis == Axis.COLUMN:
            found = [max(row[column] for row in rows) for column in range(e.columns)]
        else:
            found = [max(row) for row in rows]
            found = [max(found)] if e.axis == Axis.TENSOR else found
        data, updates = {}, {}
        for index, value in enumerate(found):
            value = self._kept(e, index, value)
            if e.to_dram:
                place = e.dram + 4 * index
                data |= dict(zip(range(place, place + 4), value.to_bytes(4, "little"), strict=True))
            if e.to_updates and e.axis != Axis.COLUMN:
                address = (e.update_base + index) % self.config.accumulate_scale_depth
                updates[address] = update_entry(value, factor)
        return data, updates

    def _kept(self, e: Absmax, index: int, value: int) -> int:
        """Merge a maximum with its place, keep it and its entry; return it."""
        lanes = self.config.columns
        if e.axis == Axis.COLUMN:
            word, lane = (e.scale_base + index // lanes) % self.config.column_scale_depth, 0
            kept, place = self.column_maxima, (word, index % lanes)
            entries, lane = self.column_scale[word], index % lanes
        else:
            place = (e.scale_base + index) % self.config.row_scale_depth
            kept, entries, lane = self.row_maxima, self.row_scale, place
        value = max(value, kept[place]) if e.merge else value
        kept[place] = value
        if e.to_scales:
            entries[lane] = fresh_entry(value)
        return value


class World:
    """An engine, its surroundings, and the model it is held to."""

    def __init__(self, config: Config, seed: int, manner: Manner, bits: int = 32) -> None:
        self.model = Model(config, seed, bits)
        self.config, self.manner = config, manner
        self.rng = random.Random(seed + 1)
        self.dut = StoreEngine(config, Builder())
        self.reset, self.resetting = Signal(), False
        self.seen = Seen()
        self.cycle = 0
        self.late: list[tuple[Any, dict[str, int]]] = []
        self.dram: dict[int, int] = {}
        self.updates: list[tuple[int, int]] = []

    def run(self, instructions: list[Instruction]) -> Seen:
        """Run instructions back to back and compare everything they write."""
        entries = [list(self.model.row_scale), [list(w) for w in self.model.column_scale]]
        expected = [self.model.run(e) for e in instructions]

        async def bench(ctx):
            ctx.set(self.dut.seed, SEED)
            await self._fill(ctx, *entries, self.manner.late_scales)
            if self.manner.reset_after:
                await self._break_off(ctx, instructions)
            self.late = 4 * list(self._writes(*entries, 0, self.manner.late_scales))
            for e in instructions:
                while self.rng.random() < self.manner.instruction_gap:
                    await ctx.tick()
                while self.late and e is instructions[-1]:
                    await ctx.tick()
                await put(ctx, self.dut.i, int.from_bytes(encode(e), "little"))
                self.seen.accepted.append(self.cycle)
            await ctx.tick().repeat(2)
            for _ in range(LIMIT):
                if not ctx.get(self.dut.busy):
                    break
                await ctx.tick()
            await ctx.tick().repeat(4)

        async def watch(ctx):
            while True:
                await self._end(ctx, instructions, expected)

        background = (self._memory, self._write, self._count, self._load_late, watch)
        simulate(ResetInserter(self.reset)(self.dut), bench, background=background)
        assert len(self.seen.ends) == len(instructions), "not every instruction ended"
        assert self.dram == self.model.dram
        assert self.updates == self._updates(expected)
        assert self.seen.saturations == self.model.saturations
        return self.seen

    def _writes(self, row_scale, column_scale, start: int, stop: int):
        """Return the writes of the load engine for some words of both scale memories."""
        dut = self.dut
        for address, entry in list(enumerate(row_scale))[start:stop]:
            yield dut.row_scale, {"address": address, "data": entry}
        for address, word in list(enumerate(column_scale))[start:stop]:
            for lane, entry in enumerate(word):
                yield dut.column_scale, {"address": address, "lane": lane, "data": entry}

    async def _fill(self, ctx, row_scale, column_scale, start: int) -> None:
        for stream, item in self._writes(row_scale, column_scale, start, len(row_scale)):
            await put(ctx, stream, item)

    async def _load_late(self, ctx) -> None:
        """Write what is left of the scales meanwhile, again and again, so that it takes a while."""
        while True:
            await ctx.tick()
            while self.late and self.seen.accepted:
                stream, item = self.late[0]
                ctx.set(stream.p, item)
                ctx.set(stream.valid, 1)
                _, _, ready = await ctx.tick().sample(stream.ready)
                self.seen.loads_refused += not ready
                if ready:
                    self.late.pop(0)
                ctx.set(stream.valid, 0)

    async def _break_off(self, ctx, instructions: list[Instruction]) -> None:
        """Run a while, then reset in the middle of it, and forget what it did."""
        self.resetting = True
        waiting = list(instructions)
        for _ in range(self.manner.reset_after):
            ctx.set(self.dut.i.valid, bool(waiting))
            if waiting:
                ctx.set(self.dut.i.p, int.from_bytes(encode(waiting[0]), "little"))
            _, _, ready = await ctx.tick().sample(self.dut.i.ready)
            if waiting and ready:
                waiting.pop(0)
        ctx.set(self.dut.i.valid, 0)
        assert ctx.get(self.dut.busy)
        ctx.set(self.reset, 1)
        await ctx.tick().repeat(3)
        ctx.set(self.reset, 0)
        assert not ctx.get(self.dut.busy)
        self.seen, self.resetting = Seen(), False
        self.dram.clear()
        self.updates.clear()

    async def _memory(self, ctx) -> None:
        """Answer reads a cycle later; keep halves busy now and then."""
        dut = self.dut
        names = (dut.read_enable, dut.read_address, dut.half_busy)
        while True:
            _, _, reads, address, busy = await ctx.tick().sample(*names)
            if reads:
                half = address >> self.config.output_depth.bit_length() - 1
                assert not busy >> half & 1, "read of a busy half"
                ctx.set(dut.read_data, pack(self.model.words[address], 32))
            chances = [self.rng.random() < self.manner.half_busy for _ in range(2)]
            ctx.set(dut.half_busy, chances[0] | chances[1] << 1)

    async def _write(self, ctx) -> None:
        """Take bursts, then their beats, and answer; DRAM holds what was answered."""
        dut, bus = self.dut, self.config.bus_bytes
        waiting, answers = deque(), deque()
        names = (dut.bursts.valid, dut.bursts.ready, dut.bursts.p.beat, dut.bursts.p.beats)
        names += (dut.beats.valid, dut.beats.ready, dut.beats.p.data, dut.beats.p.count)
        while True:
            if ctx.get(self.reset):
                waiting.clear()
                answers.clear()
            ctx.set(
                dut.bursts.ready,
                len(waiting) + len(answers) < self.config.write_outstanding
                and self.rng.random() >= self.manner.burst_stall,
            )
            ctx.set(dut.beats.ready, bool(waiting) and self.rng.random() >= self.manner.beat_stall)
            answered = bool(answers) and answers[0][0] <= self.cycle
            ctx.set(dut.answered, answered)
            if answered:
                self.dram |= answers.popleft()[1]
            _, _, *values = await ctx.tick().sample(*names)
            if values[0] and values[1]:
                self.seen.bursts += 1
                waiting.append([values[2], values[3], {}])
            if values[4] and values[5]:
                self.seen.beats.append(self.cycle)
                burst = waiting[0]
                payload = values[6].to_bytes(bus, "little")[: values[7]]
                burst[2] |= {burst[0] * bus + index: byte for index, byte in enumerate(payload)}
                burst[0], burst[1] = burst[0] + 1, burst[1] - 1
                if not burst[1]:
                    delay = self.rng.randint(*self.manner.answer_delay)
                    answers.append((self.cycle + delay, waiting.popleft()[2]))

    async def _count(self, ctx) -> None:
        dut = self.dut
        update = dut.accumulate_scale
        names = (dut.saturations, dut.read_enable, dut.stalled_on_dram, dut.stalled_on_memory)
        names += (update.valid, update.p.address, update.p.data)
        while True:
            _, _, limited, reads, dram, memory, valid, address, entry = await ctx.tick().sample(
                *names
            )
            self.cycle += 1
            seen = self.seen
            seen.saturations += limited
            seen.stalled_on_dram += dram
            seen.stalled_on_memory += memory
            if reads:
                seen.reads.append(self.cycle)
            if valid:
                self.updates.append((address, entry))

    async def _end(self, ctx, instructions, expected) -> None:
        """Check that all an instruction wrote is in its place when it ends."""
        dut = self.dut
        ended = load = execute = 0
        while not ended:
            sampled = await ctx.tick().sample(dut.end, dut.signal_load, dut.signal_execute)
            _, _, ended, load, execute = sampled
        if self.resetting:
            return
        index = len(self.seen.ends)
        assert index < len(instructions), "an end too many"
        e, (data, _) = instructions[index], expected[index]
        self.seen.ends.append(self.cycle)
        self.seen.tokens.append((load, execute))
        assert (load, execute) == (e.signal_load, e.signal_execute)
        assert {place: self.dram.get(place) for place in data} == data, f"{index}: {e}"
        # The next may have made some of its own already.
        before = self._updates(expected[: index + 1])
        assert self.updates[: len(before)] == before, f"{index}: {e}"

    @staticmethod
    def _updates(expected) -> list[tuple[int, int]]:
        return [item for _, updates in expected for item in updates.items()]
