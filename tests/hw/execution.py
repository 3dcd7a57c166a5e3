"""An execute engine with its memories filled, and what it should make of its instructions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hw.execute import ExecuteEngine
from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute
from hw.isa.numerics import requantise, requantise32, scale_accumulate, wrap32
from hw.shared import Builder

from .bench import pack, simulate, unpack

LEFT_WORDS, RIGHT_WORDS, OUT_WORDS, SCALES = 128, 128, 256, 64


def small(rows: int, columns: int, **more: int) -> Config:
    """Return a configuration of that shape with memories of the sizes above."""
    return Config(
        rows=rows,
        columns=columns,
        input_depth=LEFT_WORDS // 2,
        weight_depth=RIGHT_WORDS // 2,
        output_depth=OUT_WORDS // 2,
        accumulate_scale_depth=SCALES,
        **more,
    )


class World:
    """An engine with filled memories, and what its output memory should hold."""

    def __init__(self, config: Config, seed: int, values: tuple[int, int] = (-128, 128)) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        self.left = rng.integers(*values, (LEFT_WORDS, config.rows))
        self.right = rng.integers(*values, (RIGHT_WORDS, config.columns))
        self.scales = [
            (int(rng.integers(1 << 15, 1 << 16)), int(rng.integers(-4, 24))) for _ in range(SCALES)
        ]
        self.out: dict[int, list[int]] = {}
        self.dut = ExecuteEngine(config, Builder())
        self.load_tokens = self.store_tokens = 0
        self.last_load_token = 0
        self.fed: int | None = None
        self.written = 0
        self.waves = 0
        self.limited = self.limits = 0

    def expect(self, e: Execute) -> None:
        """Do on plain integers what the instruction says."""
        rows, columns = self.config.rows, self.config.columns
        blocks, deep = -(-e.columns // columns), rows * self.config.macs_per_element
        if e.dataflow == Dataflow.OS:
            spans = [(0, e.reduction)]
        else:
            folds = range(0, e.reduction, deep)
            spans = [(start, min(e.reduction, start + deep)) for start in folds]
        for block in range(blocks):
            for row in range(e.rows):
                address = e.out_base + row * e.out_row_stride + block * e.out_block_stride
                for number, span in enumerate(spans):
                    sums = self._sums(e, row, block, range(*span))
                    fresh = not e.accumulate and number == 0
                    old = [0] * columns if fresh else self.out[address]
                    scale = self.scales[(e.scale_base + row) % SCALES]
                    inside = e.columns - block * columns
                    self.out[address] = [
                        self._added(o, s, scale if e.scale else None, fresh, lane < inside)
                        for lane, (o, s) in enumerate(zip(old, sums, strict=True))
                    ]

    def _sums(self, e: Execute, row: int, block: int, span: range) -> list[int]:
        rows = self.config.rows
        total = np.zeros(self.config.columns, dtype=np.int64)
        for k in span:
            line, lane = (k, row) if e.dataflow == Dataflow.OS else (row, k)
            word = e.left_base + line * e.left_row_stride + lane // rows * e.left_block_stride
            right = e.right_base + k * e.right_row_stride + block * e.right_block_stride
            total += self.left[word, lane % rows] * self.right[right]
        return [int(value) for value in total]

    def _added(
        self, old: int, new: int, scale: tuple[int, int] | None, fresh: bool, inside: bool
    ) -> int:
        """Return a lane's new sum; that it was limited counts only `inside` the matrix."""
        if scale is None:
            return wrap32(old + new)
        unlimited = requantise(new, *scale, -(1 << 99), 1 << 99)
        sums = unlimited, old + requantise32(new, *scale)
        self.limits += inside and any(value != wrap32(value) for value in sums)
        return requantise32(new, *scale) if fresh else scale_accumulate(old, new, *scale)

    async def fill(self, ctx) -> None:
        """Write all memories through the load engine's ports."""
        dut, together = self.dut, self.config.macs_per_element
        for port, words in ((dut.write_left, self.left), (dut.write_right, self.right)):
            for address, word in enumerate(words):
                data = pack(word, 8)
                if together > 1 and port is dut.write_left:  # the other places are not written
                    data <<= 8 * self.config.rows * (address % together)
                    ctx.set(port.p.places, 1 << address % together)
                await self._put(ctx, port, address, data)
        for address, (m, s) in enumerate(self.scales):
            await self._put(ctx, dut.write_scale, address, m | (s & 0xFF) << 16)

    @staticmethod
    async def _put(ctx, port, address: int, data: int) -> None:
        ctx.set(port.p.address, address)
        ctx.set(port.p.data, data)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def issue(self, ctx, instruction: Execute) -> None:
        """Hand one instruction over."""
        ctx.set(self.dut.i.payload.as_value(), int.from_bytes(encode(instruction), "little"))
        ctx.set(self.dut.i.valid, 1)
        await ctx.tick().until(self.dut.i.ready)
        ctx.set(self.dut.i.valid, 0)

    async def settle(self, ctx) -> None:
        """Wait until everything is written."""
        for _ in range(20_000):
            if not ctx.get(self.dut.busy):
                return
            await ctx.tick()
        raise AssertionError("the engine never became idle")

    async def check(self, ctx, seed: object) -> None:
        """Compare the output memory through the store engine's port."""
        for address, expected in sorted(self.out.items()):
            ctx.set(self.dut.read_address, address)
            ctx.set(self.dut.read_enable, 1)
            await ctx.tick()
            seen = unpack(ctx.get(self.dut.read_data), 32, self.config.columns)
            assert seen == expected, f"seed {seed}, output word {address}"

    async def watch(self, ctx) -> None:
        """Count tokens, and note the first operand and the last result."""
        dut, cycle = self.dut, 0
        signals = (dut.signal_load, dut.signal_store, dut.fed, dut.written)
        counts = (dut.array_fed, dut.accumulate_saturations)
        async for _, _, load, store, fed, written, wave, limited in ctx.tick().sample(
            *signals, *counts
        ):
            self.waves += wave
            self.limited += limited
            self.load_tokens += load
            if load:
                self.last_load_token = cycle
            self.store_tokens += store
            if fed and self.fed is None:
                self.fed = cycle
            if written:
                self.written = cycle
            cycle += 1

    @property
    def array_cycles(self) -> int:
        """Cycles from the first operand fed to the last result written."""
        return self.written - self.fed + 1


def plain(dataflow: Dataflow, rows: int, reduction: int, columns: int, config: Config, **more):
    """Return an Execute over matrices that lie row after row.

    With several products an element, words that are read together lie side by side: those along the
    reduction, which is along the blocks of the left operand in WS, else along its rows.
    """
    lanes = rows if dataflow == Dataflow.OS else reduction
    left_blocks, blocks = -(-lanes // config.rows), -(-columns // config.columns)
    together = config.macs_per_element
    left_strides, right_strides = (left_blocks, 1), (blocks, 1)
    if together > 1:
        deep = -(-reduction // together) * together
        right_strides = left_strides = 1, deep
        if dataflow == Dataflow.WS:
            left_strides = -(-left_blocks // together) * together, 1
    fields = {
        "dataflow": dataflow,
        "rows": rows,
        "reduction": reduction,
        "columns": columns,
        "left_row_stride": left_strides[0],
        "left_block_stride": left_strides[1],
        "right_row_stride": right_strides[0],
        "right_block_stride": right_strides[1],
        "out_row_stride": 1,
        "out_block_stride": rows,
        "signal_load": 1,
        "signal_store": 1,
    }
    return Execute(**(fields | more))


def run(world: World, chain: list[Execute]) -> None:
    """Run a chain without gaps and check its results."""
    for instruction in chain:
        world.expect(instruction)
    _run(world, chain, lambda: 0)


def run_with_gaps(world: World, chain: list[Execute], gap: Callable[[], int]) -> None:
    """Run a chain whose results are expected already, `gap()` cycles behind each instruction.

    Each has to send a token to both engines.
    """
    _run(world, chain, gap)
    assert (world.load_tokens, world.store_tokens) == (len(chain), len(chain))


def _run(world: World, chain: list[Execute], gap: Callable[[], int]) -> None:
    async def bench(ctx):
        await world.fill(ctx)
        for instruction in chain:
            await world.issue(ctx, instruction)
            if cycles := gap():
                await ctx.tick().repeat(cycles)
        await world.settle(ctx)
        await world.check(ctx, chain)

    simulate(world.dut, bench, background=[world.watch])
    assert world.limited == world.limits
