"""The store engine's surroundings: output memory, load engine, write channel."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from amaranth import ResetInserter, Signal

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Instruction
from hw.isa.pipeline import scale_group
from hw.layout import SCALE
from hw.shared import Builder
from hw.store import StoreEngine

from .bench import LIMIT, pack, put, simulate
from .store_model import SEED, Model

SCALE_MASK = (1 << SCALE.size) - 1


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
    half_used: float = 0.0
    late_scales: int = 0
    """Row-scale entries, and column-scale words, that are loaded only when the second instruction
    has been taken; the fifth and later ones wait for them."""


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
    loads_refused: set[str] = field(default_factory=set)


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
            self.late = sorted(
                self._writes(*entries, slice(self.manner.late_scales)),
                key=lambda write: write[1]["address"],
            )
            for e in instructions:
                while self.rng.random() < self.manner.instruction_gap:
                    await ctx.tick()
                while self.late and len(self.seen.accepted) >= 4:
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

    def _writes(self, row_scale, column_scale, part: slice):
        """Return the writes of the load engine for some words of both scale memories."""
        dut = self.dut
        for address, entry in list(enumerate(row_scale))[part]:
            yield dut.row_scale, {"address": address, "data": entry}
        for address, word in list(enumerate(column_scale))[part]:
            # The last lane of each group comes by itself, after the others.
            size = scale_group(self.config.bus_bytes, self.config.columns)
            last = 1 << size - 1
            for first in range(0, len(word), size):
                entries = word[first : first + size]
                where = {"address": address, "group": first // size}
                for given in dict.fromkeys((last - 1, last)):
                    data = [
                        entry if given >> index & 1 else ~entry & SCALE_MASK
                        for index, entry in enumerate(entries)
                    ]
                    yield dut.column_scale, where | {"given": given, "data": data}

    async def _fill(self, ctx, row_scale, column_scale, start: int) -> None:
        for stream, item in self._writes(row_scale, column_scale, slice(start, None)):
            await put(ctx, stream, item)

    async def _load_late(self, ctx) -> None:
        """Write what is left of the scales meanwhile, each until it is taken."""
        while True:
            await ctx.tick()
            while self.late and len(self.seen.accepted) >= 2:
                stream, item = self.late[0]
                ctx.set(stream.p, item)
                ctx.set(stream.valid, 1)
                _, _, ready = await ctx.tick().sample(stream.ready)
                if ready:
                    self.late.pop(0)
                else:
                    kind = "row" if stream is self.dut.row_scale else "column"
                    self.seen.loads_refused.add(kind)
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
        """Answer reads a cycle later; keep halves busy, or in use, now and then."""
        dut = self.dut
        names = (dut.read_enable, dut.read_address, dut.half_busy, dut.half_used)
        before = None
        while True:
            _, _, reads, address, busy, used = await ctx.tick().sample(*names)
            half = address >> self.config.output_depth.bit_length() - 1
            bank = (half, address % 2) if reads else None
            if reads:
                assert not busy >> half & 1, "read of a busy half"
                assert bank != before or not used >> half & 1, "read of a bank in which one is late"
                ctx.set(dut.read_data, pack(self.model.words[address], 32))
            before = bank
            for line, chance in (
                (dut.half_busy, self.manner.half_busy),
                (dut.half_used, self.manner.half_used),
            ):
                chances = [self.rng.random() < chance for _ in range(2)]
                ctx.set(line, chances[0] | chances[1] << 1)

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
