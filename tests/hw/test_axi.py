"""The bus masters against the simulated DRAM: every burst to its end, also when flushed."""

from __future__ import annotations

import random
from dataclasses import fields

import numpy as np
import pytest

from hw.axi import ReadMaster, WriteMaster
from hw.isa.config import Config
from sim.axi import Hang, Master, Slave, Stalls
from sim.dram import AxiDram
from sim.protocol import ProtocolChecker

from .bench import simulate

CONFIG = Config(read_outstanding=4, write_outstanding=3, burst_beats=8)
BUS = CONFIG.bus_bytes
SIZE = 4096


def memory() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, SIZE, dtype=np.uint8)


class Bus:
    """A master unit on a DRAM, every rule checked; counts what both sides see."""

    def __init__(self, dut, image: np.ndarray, **options) -> None:
        self.dut, self.beats, self.moves = dut, [], 0
        self.dram = AxiDram(image, bus_bytes=BUS, latency=5, **options)
        self._checker = ProtocolChecker(
            bus_bytes=BUS, burst_beats=CONFIG.burst_beats, read_outstanding=CONFIG.read_outstanding,
            write_outstanding=CONFIG.write_outstanding,
        )  # fmt: skip

    async def serve(self, ctx) -> None:
        while True:
            dut = self.dut
            master = Master(
                **{
                    item.name: ctx.get(getattr(dut, item.name))
                    for item in fields(Master)
                    if hasattr(dut, item.name)
                }
            )
            slave = self.dram.step(master)
            for item in fields(Slave):
                if hasattr(dut, item.name):
                    ctx.set(getattr(dut, item.name), int(getattr(slave, item.name)))
            self._checker.step(master, slave)
            if master.wvalid and slave.wready:
                self.beats.append((master.wdata, master.wstrb, master.wlast))
            handshakes = [
                getattr(a, f"{channel}valid") and getattr(b, f"{channel}ready")
                for channel, a, b in (
                    ("ar", master, slave), ("aw", master, slave), ("w", master, slave),
                    ("r", slave, master), ("b", slave, master),
                )
            ]  # fmt: skip
            assert bool(ctx.get(dut.moves)) == any(handshakes)
            self.moves += any(handshakes)
            await ctx.tick()


async def ask(ctx, dut, stream, beat: int, beats: int) -> None:
    ctx.set(stream.p.beat, beat)
    ctx.set(stream.p.beats, beats)
    ctx.set(stream.valid, 1)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


async def settle(ctx, dut, limit: int = 2000) -> None:
    """Wait until nothing is outstanding."""
    for _ in range(limit):
        if ctx.get(dut.idle):
            return
        await ctx.tick()
    raise AssertionError("bursts stay outstanding")


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("delay", [1, 2, 3, 4, 5, 8, 9, 10, 13, 21])
def test_a_flushed_reader_takes_everything_and_gives_nothing(delay: int, stall: float) -> None:
    """Whenever the flush comes; afterwards a burst's data is its own."""
    dut, image = ReadMaster(CONFIG), memory()
    bus = Bus(dut, image, stalls=Stalls.everywhere(stall), seed=delay)
    flushed = []

    async def bench(ctx):
        ctx.set(dut.load_data.ready, 0)  # the reader's queue fills up
        for beat, beats in ((0, 8), (64, 8), (32, 3)):
            await ask(ctx, dut, dut.load, beat, beats)
        ctx.set(dut.fetch.p.beat, 128)
        ctx.set(dut.fetch.p.beats, 1)
        ctx.set(dut.fetch.valid, 1)  # and is never taken back
        await ctx.tick().repeat(delay)
        ctx.set(dut.flush, 1)
        flushed.append(True)
        ctx.set(dut.load_data.ready, 1)
        ctx.set(dut.fetch_data.ready, 1)
        await settle(ctx, dut)
        assert bus.dram.pending_reads == 0
        assert not ctx.get(dut.outstanding)
        ctx.set(dut.fetch.valid, 0)
        ctx.set(dut.flush, 0)
        flushed.clear()
        await ask(ctx, dut, dut.load, 16, 2)
        for place in (128, 136):
            (word,) = await ctx.tick().sample(dut.load_data.p).until(dut.load_data.valid)
            assert word == int.from_bytes(image[place : place + BUS].tobytes(), "little")

    async def watch(ctx):
        while True:
            if flushed:
                assert not ctx.get(dut.load_data.valid) and not ctx.get(dut.fetch_data.valid)
                assert not ctx.get(dut.load.ready) and not ctx.get(dut.fetch.ready)
            await ctx.tick()

    simulate(dut, bench, background=[bus.serve, watch])


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("given", range(0, 14, 2))
def test_a_flushed_writer_fills_its_bursts_with_beats_that_write_nothing(
    given: int, stall: float
) -> None:
    """Two bursts of 5 and 8 beats, of which the first `given` beats are there."""
    dut, image = WriteMaster(CONFIG), memory()
    expected = image.copy()
    bus = Bus(dut, image, stalls=Stalls.everywhere(stall), seed=given)
    words = [random.Random(given).getrandbits(8 * BUS) for _ in range(given)]
    answers = []

    async def bench(ctx):
        for beat, beats in ((2, 5), (64, 8)):
            await ask(ctx, dut, dut.bursts, beat, beats)
        ctx.set(dut.beats.valid, 1)
        ctx.set(dut.beats.p.count, BUS)
        for word in words:
            ctx.set(dut.beats.p.data, word)
            await ctx.tick().until(dut.beats.ready)
        ctx.set(dut.flush, 1)
        ctx.set(dut.beats.p.data, 0x55)  # still offered, and not taken
        await settle(ctx, dut)
        await ctx.tick()
        assert len(answers) == 2
        assert len(bus.beats) == 13
        assert bus.dram.pending_writes == 0
        # A new burst has its own data, and none of the old.
        ctx.set(dut.flush, 0)
        ctx.set(dut.beats.valid, 0)
        await ask(ctx, dut, dut.bursts, 128, 1)
        ctx.set(dut.beats.p.data, 0x1122334455667788)
        ctx.set(dut.beats.valid, 1)
        await ctx.tick().until(dut.beats.ready)
        ctx.set(dut.beats.valid, 0)
        await settle(ctx, dut)

    async def count(ctx):
        async for _, _, answered in ctx.tick().sample(dut.answered):
            if answered:
                answers.append(answered)

    simulate(dut, bench, background=[bus.serve, count])
    for n, word in enumerate(words):
        at = BUS * (2 + n if n < 5 else 64 + n - 5)
        expected[at : at + BUS] = list(word.to_bytes(BUS, "little"))
    expected[128 * BUS : 129 * BUS] = list(0x1122334455667788.to_bytes(BUS, "little"))
    np.testing.assert_array_equal(image, expected)
    assert [last for _, _, last in bus.beats] == [0] * 4 + [1] + [0] * 7 + [1, 1]
    full = (1 << BUS) - 1
    assert [strobes for _, strobes, _ in bus.beats] == [full] * given + [0] * (13 - given) + [full]


@pytest.mark.parametrize("channel", ["aw", "w", "b"])
def test_a_flush_waits_for_a_channel_that_hangs(channel: str) -> None:
    dut, image = WriteMaster(CONFIG), memory()
    bus = Bus(dut, image, faults=[Hang(channel, 0, SIZE, 300)])

    async def bench(ctx):
        await ask(ctx, dut, dut.bursts, 0, 4)
        await ctx.tick().repeat(20)
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(250)
        assert not ctx.get(dut.idle)
        await settle(ctx, dut, 100)

    simulate(dut, bench, background=[bus.serve])
    assert bus.moves == 4 + (channel != "aw") + 1, "an address, four beats and an answer"


@pytest.mark.parametrize("channel", ["ar", "r"])
def test_a_read_that_hangs_stays_outstanding(channel: str) -> None:
    dut, image = ReadMaster(CONFIG), memory()
    bus = Bus(dut, image, faults=[Hang(channel, 0, SIZE, 300)])

    async def bench(ctx):
        assert ctx.get(dut.idle) and not ctx.get(dut.outstanding)
        await ask(ctx, dut, dut.load, 0, 4)
        await ctx.tick().repeat(20)
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(250)
        assert not ctx.get(dut.idle) and ctx.get(dut.outstanding)
        await settle(ctx, dut, 100)

    simulate(dut, bench, background=[bus.serve])
    assert bus.moves == 5
