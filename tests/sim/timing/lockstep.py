"""A unit of the hardware beside its timing model: all wires of both, cycle by cycle."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from amaranth import Module, Signal, signed

from hw.isa.config import Config
from hw.isa.encoding import encode, to_text
from hw.isa.instructions import Instruction
from sim.result import DramTiming
from sim.timing.code import table
from sim.timing.shape import shape_of
from sim.timing.wires import WIRES
from tests.hw.bench import simulate

__all__ = ["Drive", "compare", "pins"]

Drive = Generator[dict[str, int], dict[str, int], None]
"""Gives the inputs of each cycle by the names of wires; it is sent the outputs of the one before.
Wires that it does not name keep their values."""


def pins(*names: str) -> dict[str, Signal]:
    """Return a signal for each wire, wide enough for any of them and for `NONE`."""
    return {name: Signal(signed(16), name=name) for name in names}


def compare(
    config: Config,
    module: Module,
    inputs: dict[str, Signal],
    outputs: dict[str, Signal],
    step: Callable,
    state: np.dtype,
    drive: Drive,
    program: list[Instruction],
    instruction: tuple[str, Signal],
) -> np.ndarray:
    """Run a unit and its model until `drive` ends, and compare the outputs in every cycle.

    Parameters
    ----------
    module : Module
        The unit, with its ports connected to `inputs` and `outputs`.
    inputs, outputs : dict
        What stands for each wire that the unit reads or sets.
    step, state : function, dtype
        The model, and its record.
    instruction : tuple
        The wire that numbers the instruction at the unit's input, and the signal for its bits.

    Returns
    -------
    ndarray
        State of the model at the end, an array of one.

    Raises
    ------
    AssertionError
        At the first difference, with cycle, wire, both values and the instruction.
    """
    encoded = [encode(item) for item in program]
    code, shape = table(b"".join(encoded)), shape_of(config, DramTiming.of(config))
    wires, model = np.zeros(1, WIRES), np.zeros(1, state)
    index_wire, bits = instruction

    async def bench(ctx: Any) -> None:
        cycle, seen = 0, None
        while True:
            try:
                given = drive.send(seen)
            except StopIteration:
                return
            for name, value in given.items():
                wires[name] = value
                if name == index_wire:
                    ctx.set(bits, int.from_bytes(encoded[value], "little"))
                else:
                    ctx.set(inputs[name], value)
            _, _, *values = await ctx.tick().sample(*outputs.values())
            step(model[0], shape[0], wires[0], code)
            seen = dict(zip(outputs, values, strict=True))
            for name, value in seen.items():
                assert int(wires[name][0]) == value, (
                    f"cycle {cycle}: {name} is {value}, and {int(wires[name][0])} in the model; "
                    f"instruction {int(wires[index_wire][0])} is at the input, "
                    f"{to_text(program[int(wires[index_wire][0])])}"
                )
            cycle += 1

    simulate(module, bench)
    return model
