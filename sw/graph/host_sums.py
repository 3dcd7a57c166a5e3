"""What the host does in the array's stead where a fusion is off: with its integers, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hw.isa.instructions import Axis
from sim.arithmetic import (
    decode_scales,
    fresh_entries,
    magnitudes,
    requantise8,
    requantise32,
    scale_accumulate,
    update_entries,
)

from .host import HostState
from .ir import Copy, GraphError, Host, Maxima, Output, Sums, Updates, Value, View

__all__ = ["add_update", "drain", "sum_sites"]

_REDUCED = {Axis.ROW: (1,), Axis.COLUMN: (0,), Axis.TENSOR: (0, 1)}


def sum_sites(state: HostState, op: Host) -> None:
    """Add the blocks of rows of the first value that `op` reads, one for each site, modulo 2^32."""
    blocks = state.values[op.reads[0]].reshape(len(state.shape.sites), state.shape.rows, -1)
    state.values[op.writes[0]] = blocks.sum(axis=0, dtype=np.int32)


def add_update(state: HostState, op: Host) -> None:
    """Add sums of an update, rescaled row by row, to others.

    `op` reads the sums, those of the update, the row maxima of its left copy, and factors: one, or
    one for the columns of each site.
    """
    plain, update, maxima, factors = (state.values[name] for name in op.reads)
    total = plain.copy()
    spans = [slice(None)]
    if factors.size > 1:
        spans = [slice(s.first, s.first + s.outputs) for s in state.shape.sites]
    for columns, factor in zip(spans, factors.ravel().tolist(), strict=True):
        m, s = decode_scales(update_entries(maxima.reshape(-1, 1), factor))
        total[:, columns], _ = scale_accumulate(plain[:, columns], update[:, columns], m, s)
    state.values[op.writes[0]] = total


def drain(state: HostState, op: Host, declared: Mapping[str, Value]) -> None:
    """Make what the array would have made of sums, the first value that `op` reads.

    Raises
    ------
    GraphError
        A copy is rounded by chance: that depends on the place of its tiles on the chip.
    """
    sums = state.values[op.reads[0]]
    tables: dict[str, np.ndarray] = {}
    for output in op.outputs:
        rows, columns = (slice(s.start, s.start + s.size) for s in (output.rows, output.columns))
        window = sums[rows, columns]
        if isinstance(output, Maxima | Copy) and output.unit is not None:
            window = requantise32(window, *decode_scales(_read(state, output.unit).T))
        found = _made(state, output, window, tables)
        if isinstance(output, Updates):
            _write(state, declared, View.of(declared[output.table]), found)
        else:
            _write(state, declared, output.to, found)


def _made(
    state: HostState, output: Output, window: np.ndarray, tables: dict[str, np.ndarray]
) -> np.ndarray:
    """Return what an output makes of its window; tables of scales are kept in `tables`."""
    if isinstance(output, Sums):
        return window
    if isinstance(output, Copy):
        if output.stochastic:
            raise GraphError(f"the host makes no copy {output.to} that is rounded by chance")
        entries = tables[output.table] if output.entries is None else _read(state, output.entries)
        shape = {Axis.ROW: (-1, 1), Axis.COLUMN: (1, -1), Axis.TENSOR: (1, 1)}[output.axis]
        return requantise8(window, *decode_scales(entries.reshape(shape)))
    axis = Axis.ROW if isinstance(output, Updates) else output.axis
    maxima = magnitudes(window).max(axis=_REDUCED[axis]).reshape(1, -1)
    if isinstance(output, Updates):
        return update_entries(maxima, _read(state, output.factor).item())
    tables[output.table] = fresh_entries(maxima)
    return maxima


def _read(state: HostState, view: View) -> np.ndarray:
    """Return the elements of a view."""
    return _window(state.values[view.value], view)


def _window(array: np.ndarray, view: View) -> np.ndarray:
    rows, columns = (slice(s.start, s.start + s.size) for s in (view.rows, view.columns))
    return array[rows, columns].T if view.transposed else array[rows, columns]


def _write(state: HostState, declared: Mapping[str, Value], view: View, found: np.ndarray) -> None:
    """Write the elements of a view; what of its value is not written stays as it is, or zero."""
    value = declared[view.value]
    if view.value not in state.values:
        state.values[view.value] = np.zeros((value.rows, value.columns), value.dtype)
    _window(state.values[view.value], view)[...] = found
