"""The whole accelerator in plain form, in Amaranth's simulator, against the functional model."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import (
    Absmax,
    Axis,
    Dataflow,
    Execute,
    Format,
    Halt,
    Load,
    Memory,
    Store,
)
from hw.isa.numerics import encode_scale
from hw.isa.registers import IDENTITY, Control, ErrorCode, Register, Status
from hw.top import Accelerator
from sim import functional
from sim.dram import AxiDram, Master, Slave

from .bench import simulate
from .host import Host

LEFT, RIGHT, SCALES, OUT, CODE, SIZE = 0x0, 0x400, 0x800, 0x1000, 0x3000, 0x4000


def mixed_program(config: Config, m: int, k: int, n: int) -> list:
    """Return a program that uses both dataflows, every memory, every format and every axis."""
    rows, columns = config.rows, config.columns
    left_blocks, blocks = -(-k // rows), -(-n // columns)
    turned_blocks = -(-m // rows)

    def pitch(size: int) -> int:
        return -(-size // config.bus_bytes) * config.bus_bytes

    out = {"rows": m, "columns": n, "row_stride": blocks, "block_stride": 1}
    written = {"row_stride": blocks, "block_stride": 1}
    entries = {"block_stride": 1, "rows": 1}
    product = {
        "rows": m, "reduction": k, "columns": n,
        "right_row_stride": blocks, "right_block_stride": 1,
        "out_row_stride": blocks, "out_block_stride": 1,
    }  # fmt: skip
    half = config.input_depth
    return [
        Load(memory=Memory.INPUT, dram=LEFT, pitch=pitch(k), rows=m, columns=k,
             row_stride=left_blocks, block_stride=1),
        Load(memory=Memory.INPUT, dram=LEFT + 0x200, pitch=pitch(m), rows=k, columns=m, base=half,
             row_stride=turned_blocks, block_stride=1),
        Load(memory=Memory.WEIGHT, dram=RIGHT, pitch=pitch(n), rows=k, columns=n, **written),
        Load(memory=Memory.ACCUMULATE_SCALE, dram=SCALES, columns=4 * m, **entries),
        Load(memory=Memory.ROW_SCALE, dram=SCALES, columns=4 * m, **entries),
        Load(memory=Memory.COLUMN_SCALE, dram=SCALES + 0x200, columns=4 * n, **entries,
             signal_execute=1, signal_store=1),
        Execute(dataflow=Dataflow.WS, left_row_stride=left_blocks, left_block_stride=1, **product,
                wait_load=1),
        Execute(dataflow=Dataflow.OS, left_base=half, left_row_stride=turned_blocks,
                left_block_stride=1, **product, accumulate=1, scale=1, signal_store=1),
        Store(format=Format.INT32, dram=OUT, pitch=pitch(4 * n), **out, wait_load=1,
              wait_execute=1),
        Store(format=Format.INT8_ROW, dram=OUT + 0x800, pitch=pitch(n), **out),
        Store(format=Format.INT8_COLUMN, dram=OUT + 0xA00, pitch=pitch(n), **out),
        Store(format=Format.INT8_ROW_COLUMN, dram=OUT + 0xC00, pitch=pitch(n), **out),
        Absmax(axis=Axis.ROW, to_dram=1, dram=OUT + 0xE00, **out),
        Absmax(axis=Axis.COLUMN, to_dram=1, dram=OUT + 0xF00, **out),
        Absmax(axis=Axis.TENSOR, to_dram=1, dram=OUT + 0x1000, **out),
        Absmax(axis=Axis.COLUMN, to_dram=1, dram=OUT + 0x1100, **out, scaled=1),
        Halt(),
    ]  # fmt: skip


def image(config: Config, seed: int, n_entries: int = 64) -> np.ndarray:
    """Return a DRAM full of random bytes, with legal scale entries at their places."""
    rng = np.random.default_rng(seed)
    dram = rng.integers(0, 256, SIZE, dtype=np.uint8)
    for place in (SCALES, SCALES + 0x200):
        table = [
            encode_scale(int(rng.integers(1 << 15, 1 << 16)), int(rng.integers(14, 24)))
            for _ in range(n_entries)
        ]
        dram[place : place + 4 * n_entries] = np.array(table, np.uint32).view(np.uint8)
    return dram


async def serve(ctx, dut: Accelerator, memory: AxiDram) -> None:
    """Answer the AXI4 master once a cycle; its outputs are registers, so before the edge."""
    while True:
        master = Master(
            **{item.name: ctx.get(getattr(dut, f"m_axi_{item.name}")) for item in fields(Master)}
        )
        slave = memory.step(master)
        for item in fields(Slave):
            ctx.set(getattr(dut, f"m_axi_{item.name}"), int(getattr(slave, item.name)))
        await ctx.tick()


class Computer(Host):
    """The host with its programs."""

    async def run(self, ctx, length: int) -> int:
        """Start a program, wait for the interrupt, and return the status."""
        await self.write(ctx, Register.PROGRAM_LOW, CODE)
        await self.write(ctx, Register.PROGRAM_LENGTH, length)
        await self.write(ctx, Register.CONTROL, Control.START | Control.INTERRUPT_ENABLE)
        for _ in range(20_000):
            if ctx.get(self.dut.irq):
                break
            await ctx.tick()
        else:
            raise AssertionError("no interrupt")
        status = await self.read(ctx, Register.STATUS)
        await self.write(ctx, Register.INTERRUPT, 1)
        assert not ctx.get(self.dut.irq), "the interrupt is cleared"
        return status


@pytest.mark.parametrize("rows, columns, bus", [(2, 3, 8), (3, 2, 4), (4, 4, 8), (4, 2, 64)])
def test_plain_form_equals_functional_model(rows: int, columns: int, bus: int) -> None:
    """Twice the same program on one machine: the second run has no stale state."""
    config = Config(rows=rows, columns=columns, bus_bytes=bus)
    m, k, n = 5, 7, 6
    program = mixed_program(config, m, k, n)
    code = b"".join(map(encode, program))
    expected = image(config, seed=rows)
    model = functional.run(config, code, expected, program_address=CODE)
    assert model.error is ErrorCode.NONE

    dut = Accelerator(config)
    seen = image(config, seed=rows)
    seen[CODE : CODE + len(code)] = np.frombuffer(code, np.uint8)
    memory = AxiDram(seen, bus_bytes=bus, latency=7)
    host = Computer(dut)

    async def bench(ctx):
        assert await host.read(ctx, Register.IDENTITY) == IDENTITY
        for attempt in range(2):
            assert await host.run(ctx, len(program)) == Status.DONE
            wrong = np.flatnonzero(seen != expected)
            assert not wrong.size, f"run {attempt}: byte {wrong[0]:#x} differs"
            seen[OUT:CODE] = image(config, seed=rows)[OUT:CODE]
            assert await host.counter(ctx, "instructions") == len(program)
            assert await host.counter(ctx, "macs") == 2 * m * k * n
            for name in ("dram_read_bytes", "dram_write_bytes"):
                assert await host.counter(ctx, name) >= model.counters[name]
            busy = await host.counter(ctx, "array_cycles")
            assert 0 < busy < await host.counter(ctx, "cycles")

    async def dram(ctx):
        await serve(ctx, dut, memory)

    simulate(dut, bench, background=[dram])


def machine(bus: int) -> tuple[Accelerator, Computer, np.ndarray, AxiDram]:
    """Return a small accelerator with a bus of that many bytes, and its DRAM."""
    dut = Accelerator(Config(rows=2, columns=2, bus_bytes=bus))
    dram = np.zeros(SIZE, np.uint8)
    return dut, Computer(dut), dram, AxiDram(dram, bus_bytes=bus, latency=7)


@pytest.mark.parametrize("bus", [8, 32, 64])
def test_halt_waits_for_the_instruction_right_before_it(bus: int) -> None:
    """Also where both come in one beat: done means that the result is in DRAM."""
    dut, host, dram, memory = machine(bus)
    store = Absmax(
        axis=Axis.TENSOR, to_dram=1, dram=OUT, rows=1, columns=1, row_stride=1, block_stride=1
    )
    code = encode(store) + encode(Halt())
    dram[CODE : CODE + len(code)] = np.frombuffer(code, np.uint8)
    dram[OUT : OUT + 4] = 0xEE  # the output memory holds zeros in this simulator

    async def bench(ctx):
        assert await host.run(ctx, 2) == Status.DONE
        assert not dram[OUT : OUT + 4].any()

    async def serve_dram(ctx):
        await serve(ctx, dut, memory)

    simulate(dut, bench, background=[serve_dram])


def test_a_program_of_no_instructions_reads_nothing() -> None:
    dut, host, _, memory = machine(32)

    async def bench(ctx):
        status = await host.run(ctx, 0)
        assert status == Status.ERROR | ErrorCode.PROGRAM_END << 8
        await ctx.tick().repeat(100)
        assert memory.read_beats == 0

    async def serve_dram(ctx):
        await serve(ctx, dut, memory)

    simulate(dut, bench, background=[serve_dram])


@pytest.mark.parametrize("delay", range(12))
def test_an_interrupt_is_not_lost_to_a_clear_in_the_same_cycle(delay: int) -> None:
    """A clear that lands anywhere around the end of a program leaves the end pending, or clears it
    after it was seen."""
    dut, host, dram, memory = machine(32)
    dram[CODE : CODE + 32] = np.frombuffer(encode(Halt()), np.uint8)
    rises = []

    async def bench(ctx):
        await host.write(ctx, Register.PROGRAM_LOW, CODE)
        await host.write(ctx, Register.PROGRAM_LENGTH, 1)
        await host.write(ctx, Register.CONTROL, Control.START | Control.INTERRUPT_ENABLE)
        await ctx.tick().repeat(12 + delay)
        await host.write(ctx, Register.INTERRUPT, 1)
        await ctx.tick().repeat(40)
        assert ctx.get(dut.irq) or rises, "an interrupt that no one saw is gone"

    async def watch(ctx):
        async for _, _, irq in ctx.tick().sample(dut.irq):
            if irq:
                rises.append(irq)

    async def serve_dram(ctx):
        await serve(ctx, dut, memory)

    simulate(dut, bench, background=[serve_dram, watch])
