"""The register map: what the host writes, starts, resets and reads."""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from hw.isa.registers import (
    COUNTERS,
    IDENTITY,
    VERSION,
    Control,
    ErrorCode,
    Register,
    Status,
    counter_address,
)
from hw.registers import Registers

from .bench import simulate
from .host import Host

WRITTEN = {
    Register.PROGRAM_LOW: 0xFFFF_FFC0,
    Register.PROGRAM_HIGH: 0x0000_1234,
    Register.PROGRAM_LENGTH: 0x0012_3456,
    Register.WATCHDOG: 0xDEAD_BEEF,
    Register.SEED: 0x0BAD_CAFE,
}
START, ENABLE, RESET = Control.START, Control.INTERRUPT_ENABLE, Control.RESET


class Machine(Registers):
    """The registers of a machine whose state the bench sets, with a log of its outputs."""

    def __init__(self) -> None:
        super().__init__(Config())
        self.starts = 0

    async def watch(self, ctx) -> None:
        async for _, _, start in ctx.tick().sample(self.start):
            self.starts += start


def run(scenario) -> None:
    """Run a scenario of (context, machine, host)."""
    dut = Machine()
    host = Host(dut, "")

    async def bench(ctx):
        await scenario(ctx, dut, host)

    simulate(dut, bench, background=[dut.watch])


def test_what_is_there_after_power_on() -> None:
    async def scenario(ctx, dut, host):
        expected = {register: 0 for register in Register}
        expected |= {Register.IDENTITY: IDENTITY, Register.VERSION: VERSION}
        for register, value in expected.items():
            assert await host.read(ctx, register) == value, register.name
        for counter in COUNTERS:
            assert await host.counter(ctx, counter.name) == 0, counter.name
        assert not ctx.get(dut.irq)

    run(scenario)


def test_what_the_host_writes_is_read_back_and_reaches_the_machine() -> None:
    async def scenario(ctx, dut, host):
        for register, value in WRITTEN.items():
            await host.write(ctx, register, value)
        for register, value in WRITTEN.items():
            assert await host.read(ctx, register) == value, register.name
        assert ctx.get(dut.watchdog) == WRITTEN[Register.WATCHDOG]
        assert ctx.get(dut.seed) == WRITTEN[Register.SEED]
        assert ctx.get(dut.length) == WRITTEN[Register.PROGRAM_LENGTH]

    run(scenario)


def test_read_only_registers_show_the_machine() -> None:
    async def scenario(ctx, dut, host):
        ctx.set(dut.waiting, 0xA51)
        ctx.set(dut.dispatched, 77)
        ctx.set(dut.error, ErrorCode.TOKEN_DEADLOCK)
        for register in (Register.WAITING, Register.ERROR_INSTRUCTION, Register.STATUS):
            await host.write(ctx, register, 0xFFFF_FFFF)
        assert await host.read(ctx, Register.WAITING) == 0xA51
        assert await host.read(ctx, Register.ERROR_INSTRUCTION) == 77
        status = Status.ERROR | ErrorCode.TOKEN_DEADLOCK << 8
        assert await host.read(ctx, Register.STATUS) == status

    run(scenario)


@pytest.mark.parametrize("index", range(len(COUNTERS)), ids=lambda index: COUNTERS[index].name)
def test_each_counter_has_its_own_step(index: int) -> None:
    """All grow at once, each by another number, and only while a program runs."""
    name, cycles = COUNTERS[index].name, 9

    async def scenario(ctx, dut, host):
        step = sum((3 + n) << Registers.INCREMENT * n for n in range(len(COUNTERS)))
        ctx.set(dut.increments, step)
        await ctx.tick().repeat(20)
        ctx.set(dut.running, 1)
        ctx.set(dut.fed, 1)
        await ctx.tick().repeat(cycles - 1)
        ctx.set(dut.written, 1)
        await ctx.tick()
        ctx.set(dut.running, 0)
        await ctx.tick().repeat(20)
        expected = cycles if name == "array_cycles" else cycles * (3 + index)
        assert await host.counter(ctx, name) == expected
        await host.write(ctx, Register.CONTROL, RESET)
        assert await host.counter(ctx, name) == expected, "a reset leaves counters"
        ctx.set(dut.clean, 1)
        await ctx.tick().repeat(2)
        await host.write(ctx, Register.CONTROL, START)
        assert await host.counter(ctx, name) == 0, "a start clears them"

    run(scenario)


def test_a_counter_carries_into_its_high_word() -> None:
    async def scenario(ctx, dut, host):
        index = next(n for n, each in enumerate(COUNTERS) if each.name == "macs")
        step = (1 << Registers.INCREMENT) - 1
        ctx.set(dut.increments, step << Registers.INCREMENT * index)
        ctx.set(dut.running, 1)
        cycles = (1 << 32) // step + 2
        await ctx.tick().repeat(cycles)
        ctx.set(dut.running, 0)
        await ctx.tick()
        assert await host.counter(ctx, "macs") == cycles * step > 1 << 32
        assert await host.read(ctx, counter_address("dram_read_bytes")) == 0

    run(scenario)


@pytest.mark.parametrize("state", ["running", "error", "resetting"])
def test_a_start_is_taken_only_by_a_machine_that_stands(state: str) -> None:
    async def scenario(ctx, dut, host):
        if state == "resetting":
            await host.write(ctx, Register.CONTROL, RESET)
        else:
            ctx.set(getattr(dut, state), 1)
        await host.write(ctx, Register.CONTROL, START)
        await ctx.tick().repeat(3)
        assert dut.starts == 0
        if state == "resetting":
            ctx.set(dut.clean, 1)
        else:
            ctx.set(getattr(dut, state), 0)
        await ctx.tick().repeat(3)
        assert dut.starts == 0, "nor is it kept"
        await host.write(ctx, Register.CONTROL, START)
        await ctx.tick().repeat(3)
        assert dut.starts == 1

    run(scenario)


def test_start_and_reset_at_once_is_a_reset() -> None:
    async def scenario(ctx, dut, host):
        await host.write(ctx, Register.CONTROL, START | RESET)
        assert await host.read(ctx, Register.STATUS) == Status.RESETTING
        ctx.set(dut.clean, 1)
        await ctx.tick().repeat(3)
        assert dut.starts == 0

    run(scenario)


def test_a_reset_lasts_until_the_bus_is_clean_and_keeps_what_the_host_wrote() -> None:
    async def scenario(ctx, dut, host):
        for register, value in WRITTEN.items():
            await host.write(ctx, register, value)
        await host.write(ctx, Register.CONTROL, RESET | ENABLE)
        for _ in range(5):
            await ctx.tick().repeat(7)
            assert ctx.get(dut.resetting)
            assert await host.read(ctx, Register.STATUS) == Status.RESETTING
        ctx.set(dut.clean, 1)
        await ctx.tick()
        assert not ctx.get(dut.resetting)
        assert await host.read(ctx, Register.STATUS) == 0
        for register, value in WRITTEN.items():
            assert await host.read(ctx, register) == value, register.name
        assert await host.read(ctx, Register.CONTROL) == ENABLE

    run(scenario)


def test_a_machine_with_a_clean_bus_is_reset_for_one_cycle() -> None:
    async def scenario(ctx, dut, host):
        seen = []

        ctx.set(dut.clean, 1)
        for name, given in (
            ("awaddr", Register.CONTROL), ("wdata", RESET), ("awvalid", 1), ("wvalid", 1)
        ):  # fmt: skip
            ctx.set(getattr(dut, name), given)
        for cycle in range(10):
            if ctx.get(dut.awready):
                ctx.set(dut.bready, 1)
            if ctx.get(dut.bvalid):
                ctx.set(dut.awvalid, 0)
                ctx.set(dut.wvalid, 0)
            seen += [cycle] * ctx.get(dut.resetting)
            await ctx.tick()
        assert len(seen) == 1

    run(scenario)


def test_an_end_raises_the_interrupt_where_it_is_enabled() -> None:
    async def scenario(ctx, dut, host):
        ctx.set(dut.running, 1)
        await ctx.tick().repeat(3)
        ctx.set(dut.running, 0)
        await ctx.tick().repeat(2)
        assert await host.read(ctx, Register.INTERRUPT) == 1
        assert not ctx.get(dut.irq)
        await host.write(ctx, Register.CONTROL, ENABLE)
        assert ctx.get(dut.irq)
        await host.write(ctx, Register.INTERRUPT, 1)
        assert not ctx.get(dut.irq)

    run(scenario)


@pytest.mark.parametrize("pending", [False, True])
def test_a_reset_clears_the_interrupt_and_raises_none(pending: bool) -> None:
    """Whether a program runs, and is stopped by the reset, or has just ended."""

    async def scenario(ctx, dut, host):
        ctx.set(dut.running, 1)
        await ctx.tick().repeat(3)
        ctx.set(dut.running, not pending)
        await ctx.tick().repeat(3)
        assert await host.read(ctx, Register.INTERRUPT) == pending
        await host.write(ctx, Register.CONTROL, RESET | ENABLE)
        await ctx.tick()
        ctx.set(dut.running, 0)  # the controller is reset
        await ctx.tick().repeat(3)
        ctx.set(dut.clean, 1)
        await ctx.tick().repeat(5)
        assert await host.read(ctx, Register.INTERRUPT) == 0
        assert not ctx.get(dut.irq)

    run(scenario)
