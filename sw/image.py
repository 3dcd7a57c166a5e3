"""Matrices in a DRAM image: checked, written, read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sim.arithmetic import pack4

from .place import Buffer
from .program import Program

__all__ = ["InputError", "as_array", "read_outputs", "unshared", "write_inputs"]


class InputError(ValueError):
    """An input of a program is missing, unknown, or has another type or shape."""


def unshared(buffers: Iterable[Buffer]) -> frozenset[str]:
    """Return the names of the buffers whose place in DRAM is no other's."""
    alone, end, last = set(), 0, ""
    for buffer in sorted(buffers, key=lambda each: each.address):
        if buffer.address >= end:
            alone.add(buffer.name)
        else:
            alone.discard(last)
        if buffer.end > end:
            end, last = buffer.end, buffer.name
    return frozenset(alone)


def read_outputs(program: Program, dram: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the host gets of a DRAM image, by name."""
    return {name: _host(buffer, dram) for name, buffer in program.outputs.items()}


def _host(buffer: Buffer, dram: np.ndarray) -> np.ndarray:
    window = buffer.window(dram)
    return np.array(window.T if buffer.transposed else window, order="C")


def as_array(name: str, value: Any) -> np.ndarray:
    """Return a numpy array or a torch tensor as an array, without a copy where it can be.

    Raises
    ------
    InputError
        It is neither, or a tensor of a type that numpy does not have.
    """
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # a tensor: torch is loaded already
        try:
            return value.detach().cpu().numpy()
        except (TypeError, RuntimeError):
            raise InputError(
                f"input {name!r} is a tensor of {value.dtype}, which numpy does not have"
            ) from None
    try:
        return np.asarray(value)
    except ValueError:
        raise InputError(f"input {name!r} must be an array, not {type(value).__name__}") from None


def write_inputs(
    program: Program,
    inputs: Mapping[str, Any],
    dram: np.ndarray,
    *,
    kept: Iterable[str] = (),
) -> None:
    """Check every input and write it to its place in a DRAM image.

    Parameters
    ----------
    kept : iterable of str
        Inputs that lie there already, and may be left out.

    Raises
    ------
    InputError
        An input is missing or unknown, or its type or shape is not the buffer's. Nothing is written
        then.
    """
    expected, kept = program.inputs, frozenset(kept)
    for name in inputs:
        if name not in expected:
            raise InputError(
                f"program {program.name} has no input {name!r}; it takes: {', '.join(expected)}"
            )
    arrays = {}
    for name, buffer in expected.items():
        if name in inputs:
            arrays[name] = _fitting(name, buffer, inputs[name])
        elif name not in kept:
            raise InputError(f"input {name!r} of program {program.name} is missing")
    for name, array in arrays.items():
        buffer = expected[name]
        buffer.window(dram)[:] = pack4(array) if buffer.dtype == "int4" else array


def _fitting(name: str, buffer: Buffer, value: Any) -> np.ndarray:
    """Return an input as an array of the type and the shape of its buffer."""
    array = as_array(name, value)
    if array.dtype != buffer.host_dtype:
        raise InputError(f"input {name!r} must be {buffer.host_dtype}, not {array.dtype}")
    if array.shape != buffer.host_shape:
        wanted = "x".join(map(str, buffer.host_shape))
        given = "x".join(map(str, array.shape)) or "a single number"
        raise InputError(f"input {name!r} must be {wanted}, not {given}")
    if buffer.dtype == "int4" and not (array.min() >= -8 and array.max() <= 7):
        raise InputError(f"input {name!r} must be from -8 to 7: it lies in memory with four bits")
    return array
