"""Small helpers of the unit tests in Amaranth's simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from amaranth import Value
from amaranth.sim import Simulator

LIMIT = 200_000


def simulate(dut: Any, *benches: Callable, background: Iterable[Callable] = ()) -> None:
    """Run test benches on `dut` until those not in the background are done."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    simulator.run()


class PlainUnit:
    """A component in Amaranth's simulator as `tests.hw.specification` drives it."""

    def __init__(self, ctx: Any, dut: Any) -> None:
        self._ctx, self._dut = ctx, dut

    def set(self, port: str, value: int) -> None:
        self._ctx.set(Value.cast(getattr(self._dut, port)), value)

    def get(self, port: str) -> int:
        value = Value.cast(getattr(self._dut, port))
        return self._ctx.get(value) & (1 << len(value)) - 1

    async def tick(self) -> None:
        await self._ctx.tick()


def run_unit(dut: Any, follow: Callable, *arguments: Any) -> None:
    """Run something of `tests.hw.specification` on a component."""

    async def bench(ctx: Any) -> None:
        await follow(PlainUnit(ctx, dut), *arguments)

    simulate(dut, bench)


async def put(ctx: Any, stream: Any, payload: Any) -> None:
    """Offer one payload until it is taken."""
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


async def get(ctx: Any, stream: Any) -> Any:
    """Take one payload."""
    ctx.set(stream.ready, 1)
    (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
    ctx.set(stream.ready, 0)
    return payload


def pack(values: Iterable[int], bits: int) -> int:
    """Return signed or unsigned values as one vector, the first lowest."""
    return sum((int(v) & ((1 << bits) - 1)) << (bits * i) for i, v in enumerate(values))


def unpack(word: int, bits: int, count: int) -> list[int]:
    """Return the signed values of a vector."""
    half = 1 << (bits - 1)
    mask = (1 << bits) - 1
    return [((word >> (bits * i) & mask) ^ half) - half for i in range(count)]
