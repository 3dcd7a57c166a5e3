"""What tied inputs do: nets that never change, and instances that they make simpler."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .delays import Delays
from .flat import Flat
from .netlist import ONE, OPEN, ZERO, Kind

__all__ = ["tie"]


def tie(flat: Flat, delays: Delays) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Return the value of each net, or -1 if it changes, and the variant of each instance.

    Values go through combinational cells only: a register may hold anything.
    """
    value = np.full(flat.nets, -1, np.int8)
    value[[ZERO, ONE]] = 0, 1
    variant = flat.kind.copy()
    owner = np.repeat(np.arange(len(flat.kind), dtype=np.int32), np.diff(flat.first))
    # No matter which pins are outputs: a tied one is seen once more than need be.
    owner, nets = owner[flat.net != OPEN], flat.net[flat.net != OPEN]
    seen = np.zeros(len(flat.kind), np.int64)
    sources = [k for k, kind in enumerate(flat.kinds) if not any(kind.inputs)]
    fresh = np.flatnonzero(np.isin(flat.kind, sources))
    while True:
        for kind in np.unique(flat.kind[fresh]).tolist():
            _simplify(flat, delays, kind, fresh[flat.kind[fresh] == kind], value, variant)
        tied = np.bincount(owner[value[nets] >= 0], minlength=len(flat.kind))
        fresh = np.flatnonzero(tied > seen)
        if not len(fresh):
            return value, variant
        seen = tied


def _simplify(
    flat: Flat,
    delays: Delays,
    kind: int,
    instances: NDArray[np.int64],
    value: NDArray[np.int8],
    variant: NDArray[np.int32],
) -> None:
    """Work tied inputs of instances of one kind in; what is tied alike is done at once."""
    form = flat.kinds[kind]
    nets = flat.net[flat.first[instances][:, None] + np.arange(len(form.pins))]
    levels = np.where((nets == OPEN) | ~np.array(form.inputs), -1, value[nets])
    patterns, which = np.unique(levels, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        tied = {
            pin: bool(level) for pin, level in zip(form.pins, pattern, strict=True) if level >= 0
        }
        alike = which.reshape(-1) == number
        variant[instances[alike]] = delays.variant(kind, tied)
        for pin, level in _outputs(form, tied).items():
            wires = nets[alike, pin]
            value[wires[wires != OPEN]] = level


def _outputs(kind: Kind, tied: Mapping[str, bool]) -> dict[int, bool]:
    """Return the outputs that tied inputs determine, by pin."""
    if kind.cell is None or kind.cell.register or kind.cell.latch or kind.cell.gating:
        return {}
    found = {}
    for pin in kind.cell.outputs:
        if pin.function is not None and pin.three_state is None:
            level = pin.function.given(tied).constant
            if level is not None:
                found[kind.pins.index(pin.name)] = level
    return found
