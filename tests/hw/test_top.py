"""The whole accelerator in plain form, in Amaranth's simulator, against the functional model."""

from __future__ import annotations

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Absmax, Axis, Halt
from hw.isa.registers import IDENTITY, Control, ErrorCode, Register, Status
from hw.top import Accelerator
from sim import functional
from sim.dram import AxiDram

from .bench import simulate
from .machine import CODE, OUT, SIZE, Computer, image, mixed_program, serve


@pytest.mark.parametrize(
    "rows, columns, bus, overlap", [(2, 3, 8, 0), (3, 2, 4, 1), (4, 4, 8, 1), (4, 2, 64, 0)]
)
def test_plain_form_equals_functional_model(
    rows: int, columns: int, bus: int, overlap: int
) -> None:
    """Twice the same program on one machine: the second run has no stale state."""
    config = Config(rows=rows, columns=columns, bus_bytes=bus, drain_overlap=overlap)
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
                assert await host.counter(ctx, name) == model.counters[name]
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


def test_an_interrupt_is_not_lost_to_a_clear_in_the_same_cycle() -> None:
    """A clear that lands anywhere around the end of a program leaves the end pending, or clears it
    after it was seen."""
    dut, host, dram, memory = machine(32)
    dram[CODE : CODE + 32] = np.frombuffer(encode(Halt()), np.uint8)
    rises = []

    async def bench(ctx):
        await host.write(ctx, Register.PROGRAM_LOW, CODE)
        await host.write(ctx, Register.PROGRAM_LENGTH, 1)
        pending = []
        for delay in range(12):
            rises.clear()
            await host.write(ctx, Register.CONTROL, Control.START | Control.INTERRUPT_ENABLE)
            await ctx.tick().repeat(12 + delay)
            await host.write(ctx, Register.INTERRUPT, 1)
            await ctx.tick().repeat(40)
            pending.append(ctx.get(dut.irq))
            assert pending[-1] or rises, f"delay {delay}: an interrupt that no one saw is gone"
            await host.write(ctx, Register.INTERRUPT, 1)
            assert not ctx.get(dut.irq)
        assert set(pending) == {0, 1}, "clears came before the end, and after it"

    async def watch(ctx):
        async for _, _, irq in ctx.tick().sample(dut.irq):
            if irq:
                rises.append(irq)

    async def serve_dram(ctx):
        await serve(ctx, dut, memory)

    simulate(dut, bench, background=[serve_dram, watch])
