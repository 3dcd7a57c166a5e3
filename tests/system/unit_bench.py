"""The cocotb bench of units by themselves: each is held to `tests.hw.specification`.

Several units lie side by side in one simulation; the ports of unit n end in ``_n``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from hw.isa.config import Config
from tests.hw.specification import follow_array, follow_element

__all__ = ["ORDERS_VARIABLE"]

ORDERS_VARIABLE = "CDMQTA_UNIT_ORDERS"
"""Environment variable that names a JSON file, see `units`."""
_INPUTS = ("a_in", "b_in", "p_in", "control_in")
_RESET_CYCLES = 4


class SimulatedUnit:
    """A unit of the simulation as `tests.hw.specification` drives it."""

    def __init__(self, dut: Any, number: int) -> None:
        self._dut, self._number = dut, number

    def set(self, port: str, value: int) -> None:
        self._port(port).value = value

    def get(self, port: str) -> int:
        return int(self._port(port).value)

    def rest(self) -> None:
        """Drive all inputs low."""
        for port in _INPUTS:
            if hasattr(self._dut, f"{port}_{self._number}"):
                self.set(port, 0)

    async def tick(self) -> None:
        # In the middle of a cycle, where what registers drive stands still.
        await FallingEdge(self._dut.clk)

    def _port(self, port: str) -> Any:
        return getattr(self._dut, f"{port}_{self._number}")


@cocotb.test()
async def units(dut: Any) -> None:
    """Do what the orders say, and write beside them what came of each.

    An order is a ``unit`` and ``what`` to do, ``element``, ``array`` or ``replay``, see `_follow`.
    What comes of it is a text, empty if all is well. Orders of one unit follow one another.
    """
    file = Path(os.environ[ORDERS_VARIABLE])
    orders = json.loads(file.read_text())
    # The first edge of the clock must not find what has no value: in Icarus it would stay so.
    dut.clk.value = 0
    dut.rst.value = 1
    for order in orders:
        SimulatedUnit(dut, order["unit"]).rest()
    await Timer(1, "ns")
    Clock(dut.clk, 10, unit="ns").start()
    for _ in range(_RESET_CYCLES):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    found = [""] * len(orders)

    async def work(number: int) -> None:
        unit = SimulatedUnit(dut, number)
        for place, order in enumerate(orders):
            if order["unit"] == number:
                try:
                    await _follow(unit, order)
                except (AssertionError, ValueError) as error:  # X is no value
                    found[place] = f"{type(error).__name__}: {error}"

    for task in [cocotb.start_soon(work(number)) for number in {o["unit"] for o in orders}]:
        await task
    file.with_suffix(".done").write_text(json.dumps(found))


async def _follow(unit: SimulatedUnit, order: dict[str, Any]) -> None:
    """Hold a unit of a ``config`` to its specification, by ``seeds``, for so many ``cycles``.

    Or replay a file of ``inputs``; a file of ``outputs`` is overwritten with those that are seen.
    """
    if order["what"] == "replay":
        await _replay(unit, Path(order["inputs"]), Path(order["outputs"]))
        return
    follow = {"element": follow_element, "array": follow_array}[order["what"]]
    config = Config().replace(**order["config"])
    for seed in order["seeds"]:
        await follow(unit, config, seed, order["cycles"])


async def _replay(unit: SimulatedUnit, inputs: Path, outputs: Path) -> None:
    """Drive ports cycle by cycle as recorded, and write down all outputs as they are recorded."""
    given, wanted = np.load(inputs), np.load(outputs)
    seen = {port: np.zeros_like(wanted[port]) for port in wanted}
    ports = {port: given[port] for port in given}
    for cycle in range(len(next(iter(ports.values())))):
        for port, bits in ports.items():
            unit.set(port, int.from_bytes(np.packbits(bits[cycle], bitorder="little"), "little"))
        for port, bits in seen.items():
            word = unit.get(port).to_bytes(bits.shape[1] // 8 + 1, "little")
            found = np.unpackbits(np.frombuffer(word, np.uint8), bitorder="little")
            bits[cycle] = found[: bits.shape[1]]
        await unit.tick()
    np.savez(outputs, **seen)
