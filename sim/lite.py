"""The host's side of the AXI4-Lite port, in the simulator's process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cocotb.triggers import ReadOnly

__all__ = ["Failure", "LitePort"]

_CYCLES = 1000
"""An access that takes longer has failed."""


class Failure(Exception):
    """The run cannot end as it should; the message is one line for the user."""


class LitePort:
    """Writes and reads registers.

    Parameters
    ----------
    dut : handle
        The module `sim.harness.HARNESS`.
    tick : callable
        Goes to the middle of the next cycle.
    """

    def __init__(self, dut: Any, tick: Callable[[], Awaitable[None]]) -> None:
        self._dut, self._tick = dut, tick

    def clear(self) -> None:
        """Drive the port as nobody who wants anything."""
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            self._signal(name).value = 0
        for name in ("awaddr", "wdata", "araddr"):
            self._signal(name).value = 0
        self._signal("wstrb").value = 15

    async def write(self, address: int, value: int) -> None:
        """Write a register.

        Raises
        ------
        Failure
            The port gives no answer, or one of an error.
        """
        self._signal("awaddr").value, self._signal("wdata").value = int(address), int(value)
        await self._access(("aw", "w"), "b", f"write of register {address:#x}")

    async def read(self, address: int) -> int:
        """Return a register.

        Raises
        ------
        Failure
            As `write`.
        """
        self._signal("araddr").value = int(address)
        return await self._access(("ar",), "r", f"read of register {address:#x}")

    async def _access(self, sends: tuple[str, ...], answer: str, what: str) -> int:
        """Carry out one access and return its data, if any.

        The register port may answer in the very cycle it is asked, so its outputs are read when
        all has settled, after what is driven in this cycle.
        """
        waiting = list(sends)
        for channel in sends:
            self._signal(f"{channel}valid").value = 1
        self._signal(f"{answer}ready").value = 1
        for _ in range(_CYCLES):
            await ReadOnly()
            taken = [channel for channel in waiting if int(self._signal(f"{channel}ready").value)]
            answered = int(self._signal(f"{answer}valid").value)
            response = int(self._signal(f"{answer}resp").value) if answered else 0
            data = int(self._signal("rdata").value) if answered and answer == "r" else 0
            await self._tick()
            for channel in taken:
                self._signal(f"{channel}valid").value = 0
                waiting.remove(channel)
            if answered:
                self._signal(f"{answer}ready").value = 0
                if response:
                    raise Failure(f"the {what} was answered with response {response}")
                return data
        raise Failure(f"the {what} was not answered in {_CYCLES} cycles")

    def _signal(self, name: str) -> Any:
        return getattr(self._dut, f"s_axil_{name}")
