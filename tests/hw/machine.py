"""The whole accelerator in plain form, with its host and its DRAM, and a program for all of it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from hw.isa.config import Config
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
from hw.isa.registers import Control, Register, Status
from hw.top import Accelerator
from sim.dram import AxiDram, Master, Slave
from sim.protocol import ProtocolChecker

from .host import Host

__all__ = ["CODE", "OUT", "SIZE", "Computer", "image", "mixed_program", "serve"]

LEFT, RIGHT, SCALES, OUT, CODE, SIZE = 0x0, 0x400, 0x800, 0x1000, 0x3000, 0x4000


def mixed_program(config: Config, m: int, k: int, n: int) -> list:
    """Return a program that uses both dataflows, every memory, every format and every axis."""
    rows, columns = config.rows, config.columns
    left_blocks, blocks = -(-k // rows), -(-n // columns)
    turned_blocks = -(-m // rows)

    def pitch(size: int) -> int:
        return -(-size // config.bus_bytes) * config.bus_bytes

    out = {"rows": m, "columns": n, "row_stride": 1, "block_stride": m}
    written = {"row_stride": blocks, "block_stride": 1}
    entries = {"block_stride": 1, "rows": 1}
    product = {
        "rows": m, "reduction": k, "columns": n,
        "right_row_stride": blocks, "right_block_stride": 1,
        "out_row_stride": 1, "out_block_stride": m,
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


async def serve(
    ctx, dut: Accelerator, memory: AxiDram, checker: ProtocolChecker | None = None
) -> None:
    """Answer the AXI4 master once a cycle; its outputs are registers, so before the edge."""
    while True:
        master = Master(
            **{item.name: ctx.get(getattr(dut, f"m_axi_{item.name}")) for item in fields(Master)}
        )
        slave = memory.step(master)
        if checker:
            checker.step(master, slave)
        for item in fields(Slave):
            ctx.set(getattr(dut, f"m_axi_{item.name}"), int(getattr(slave, item.name)))
        await ctx.tick()


class Computer(Host):
    """The host with its programs."""

    async def start(self, ctx, length: int) -> None:
        """Start a program."""
        await self.write(ctx, Register.PROGRAM_LOW, CODE)
        await self.write(ctx, Register.PROGRAM_LENGTH, length)
        await self.write(ctx, Register.CONTROL, Control.START | Control.INTERRUPT_ENABLE)

    async def run(self, ctx, length: int) -> int:
        """Start a program, wait for the interrupt, and return the status."""
        await self.start(ctx, length)
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

    async def reset(self, ctx, polls: int = 200) -> None:
        """Reset the machine and wait for the end of it."""
        await self.write(ctx, Register.CONTROL, Control.RESET | Control.INTERRUPT_ENABLE)
        for _ in range(polls):
            status = await self.read(ctx, Register.STATUS)
            if not status & Status.RESETTING:
                break
        assert status == 0, f"status {status:#x} after a reset"
        assert not ctx.get(self.dut.irq)
