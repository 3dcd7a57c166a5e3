"""The host's side of the AXI4-Lite port, in Amaranth's simulator."""

from __future__ import annotations

from typing import Any

from hw.isa.registers import counter_address

__all__ = ["Host"]


class Host:
    """Writes and reads registers.

    Parameters
    ----------
    dut : component
        What has the port.
    prefix : str
        What the names of its signals begin with.
    """

    def __init__(self, dut: Any, prefix: str = "s_axil_") -> None:
        self.dut, self._prefix = dut, prefix

    def signal(self, name: str) -> Any:
        return getattr(self.dut, self._prefix + name)

    async def write(self, ctx: Any, address: int, value: int) -> None:
        for name, given in (("awaddr", address), ("wdata", value), ("awvalid", 1), ("wvalid", 1)):
            ctx.set(self.signal(name), given)
        await ctx.tick().until(self.signal("awready"))
        ctx.set(self.signal("awvalid"), 0)
        ctx.set(self.signal("wvalid"), 0)
        ctx.set(self.signal("bready"), 1)
        await ctx.tick().until(self.signal("bvalid"))
        ctx.set(self.signal("bready"), 0)

    async def read(self, ctx: Any, address: int) -> int:
        ctx.set(self.signal("araddr"), address)
        ctx.set(self.signal("arvalid"), 1)
        await ctx.tick().until(self.signal("arready"))
        ctx.set(self.signal("arvalid"), 0)
        ctx.set(self.signal("rready"), 1)
        (value,) = await ctx.tick().sample(self.signal("rdata")).until(self.signal("rvalid"))
        ctx.set(self.signal("rready"), 0)
        return value

    async def counter(self, ctx: Any, name: str) -> int:
        address = counter_address(name)
        return await self.read(ctx, address) | await self.read(ctx, address + 4) << 32
