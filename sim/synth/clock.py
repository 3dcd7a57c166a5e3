"""Where the clock goes: through clock gates and buffers, to registers and macros, nowhere else."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .flat import Flat
from .netlist import OPEN, Kind, NetlistError

__all__ = ["clock_nets"]


class _Role(IntEnum):
    """What an input is to the clock."""

    NONE = 0
    ENDS = 1
    PASSES = 2


def clock_nets(flat: Flat, clock: str) -> NDArray[np.bool_]:
    """Return which nets carry the clock of port `clock`, as it is or gated.

    Raises
    ------
    NetlistError
        It goes into logic, or a register is clocked by something else.
    """
    carries = np.zeros(flat.nets, np.bool_)
    if clock in flat.ports:
        carries[flat.ports[clock].nets] = True
    forms = [_roles(kind) for kind in flat.kinds]
    starts = np.cumsum([0, *(len(kind.pins) for kind in flat.kinds)])
    owner = np.repeat(np.arange(len(flat.kind), dtype=np.int32), np.diff(flat.first))
    place = np.arange(len(flat.net)) - flat.first[owner]
    number = starts[flat.kind[owner]] + place
    role = np.concatenate([np.array(roles, np.int8) for roles, _ in forms])[number]
    connected = flat.net != OPEN
    # A clock goes through few gates one after another: each round goes through one.
    while True:
        pins = np.flatnonzero(connected & (role == _Role.PASSES) & carries[flat.net])
        after = [flat.first[owner[p]] + forms[flat.kind[owner[p]]][1] for p in pins]
        nets = flat.net[np.array(after, np.int64)]
        nets = nets[nets != OPEN]
        if carries[nets].all():
            break
        carries[nets] = True
    _refuse(flat, clock, carries, owner, place, role)
    return carries


def _roles(kind: Kind) -> tuple[list[int], int]:
    """Return what each pin of a kind is to the clock, and the pin by which it passes, or -1."""
    if kind.macro is not None:
        return [_Role.ENDS if pin == kind.macro.clock else _Role.NONE for pin in kind.pins], -1
    cell, passes = kind.cell, -1
    roles = [_Role.NONE] * len(kind.pins)
    for k, name in enumerate(kind.pins):
        if cell.register and name in cell.register.clocked_on.inputs:
            roles[k] = _Role.ENDS
        elif cell.gating and cell.pins[name].gate_role == "clock":
            roles[k] = _Role.PASSES
        elif cell.gating and cell.pins[name].gate_role == "out":
            passes = k
    if not cell.register and not cell.gating and len(cell.inputs) == len(cell.outputs) == 1:
        function = cell.outputs[0].function
        if function is not None and function.inputs and function.table == 0b10:
            roles[kind.pins.index(cell.inputs[0].name)] = _Role.PASSES
            passes = kind.pins.index(cell.outputs[0].name)
    return roles, passes


def _refuse(
    flat: Flat,
    clock: str,
    carries: NDArray[np.bool_],
    owner: NDArray[np.int32],
    place: NDArray[np.int64],
    role: NDArray[np.int8],
) -> None:
    """Raise if the clock is where it should not be, or is missing where it should be."""
    inputs = [np.array(kind.inputs, np.bool_) for kind in flat.kinds]
    starts = np.cumsum([0, *(len(kind.pins) for kind in flat.kinds)])
    is_input = np.concatenate(inputs)[starts[flat.kind[owner]] + place]
    there = carries[flat.net] & (flat.net != OPEN)
    gates = np.array([kind.cell is not None and bool(kind.cell.gating) for kind in flat.kinds])
    needed = (role == _Role.ENDS) | ((role == _Role.PASSES) & gates[flat.kind[owner]])
    for wrong, what in (
        (there & is_input & (role == _Role.NONE), "takes the clock as data"),
        (needed & ~there, f"is not clocked by {clock!r}"),
    ):
        if wrong.any():
            pin = int(np.flatnonzero(wrong)[0])
            at = int(owner[pin])
            kind = flat.kinds[flat.kind[at]]
            name = f"{flat.instance_name(at)}/{kind.pins[place[pin]]}"
            raise NetlistError(f"{flat.name}: {name} ({kind.name}) {what}: it cannot be timed")
