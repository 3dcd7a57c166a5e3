"""Runs the training products of a LoRA site on a device, from float tensors to gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hw.isa.numerics import INT8_MAX
from sim.result import RunResult

from .driver import Device
from .layer import LOW_RANK, UPDATED_BY
from .lora import Site
from .program import Program
from .quantise import (
    ColumnCopies,
    Group,
    Quantised,
    fresh_scales,
    quantise,
    unit_scales,
    update_scales,
)

LEFT_OF = {"H": "X.row", "dH": "dY.row"}
"""Left operand of the low-rank products."""

__all__ = ["LayerResult", "SiteInputs", "quantise_site", "run_layer"]


@dataclass(frozen=True, eq=False)
class SiteInputs:
    """The INT8 copies of a site's tensors, by the names of `Site.inputs`.

    `scaling` is alpha / r; `column_copies` says how the column copies are made.
    """

    site: Site
    copies: dict[str, Quantised]
    scaling: int | float | Fraction = 1
    column_copies: ColumnCopies = "weighted"

    def __str__(self) -> str:
        return f"{self.site}\n" + "\n".join(f"{name}: {q}" for name, q in self.copies.items())


@dataclass(frozen=True, eq=False)
class LayerResult:
    """Everything a site's programs made.

    Members
    -------
    arrays : dict
        int32 ``H``, ``dH``, ``Y``, ``dX`` of the shapes of the site, ``dA`` (d1, r), ``dB``
        (d2, r); int8 ``H.row``, ``H.column``, ``dH.row``, ``dH.column`` (n, r).
    scales : dict
        Real value of one step of each, float64, that broadcasts against it; for weighted
        ``H.column``, ``dH.column`` without the row scales that the other operand carries.
    programs : tuple of Program
    results : tuple of RunResult
        Of each program.
    """

    arrays: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]
    programs: tuple[Program, ...]
    results: tuple[RunResult, ...]

    def real(self, name: str) -> np.ndarray:
        """Return an array in float64."""
        return self.arrays[name] * self.scales[name]


def quantise_site(
    x: np.ndarray,
    w: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    dy: np.ndarray,
    *,
    scaling: int | float | Fraction = 1,
    column_copies: ColumnCopies = "weighted",
) -> SiteInputs:
    """Quantise the tensors of a LoRA site.

    The column copies feed dA and dB, in whose sums the tokens are reduced. There the sums of H
    (dH) carry the row scales of X (dY), which cannot leave the sum: so, unless the sums are
    rescaled, they go into the other operand before it is quantised. X is weighted by the row
    scales of dY, dY by those of X.

    Parameters
    ----------
    x : float (n, d1)
    w : float (d1, d2)
    a : float (d1, r)
    b : float (r, d2)
    dy : float (n, d2)
    scaling : number
        alpha / r.
    column_copies : "weighted" or "rescaled"

    Raises
    ------
    ValueError
        The shapes do not fit one another, or a value is not finite.
    """
    site = _site_of({"x": x, "w": w, "a": a, "b": b, "dy": dy})
    x_row, dy_row = quantise(x, Group.ROW), quantise(dy, Group.ROW)
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    if column_copies == "weighted":
        x, dy = x * dy_row.scale, dy * x_row.scale
    copies = {
        "X.row": x_row,
        "X.column": quantise(x, Group.COLUMN),
        "dY.row": dy_row,
        "dY.column": quantise(dy, Group.COLUMN),
        "W": quantise(w, Group.TENSOR),
        "A": quantise(a, Group.TENSOR),
        "B": quantise(b, Group.TENSOR),
    }
    return SiteInputs(site, copies, scaling, column_copies)


def _site_of(tensors: dict[str, np.ndarray]) -> Site:
    """Return the sizes of a site; raise ValueError if its tensors do not fit one another."""
    for name, matrix in tensors.items():
        if matrix.ndim != 2:
            raise ValueError(f"{name} must be a matrix, not of shape {matrix.shape}")
    site = Site(*tensors["x"].shape, tensors["w"].shape[1], tensors["a"].shape[1])
    n, d1, d2, r = site.n, site.d1, site.d2, site.r
    wanted = {"w": (d1, d2), "a": (d1, r), "b": (r, d2), "dy": (n, d2)}
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} must be of shape {shape}, not {tensors[name].shape}")
    return site


def run_layer(device: Device, programs: Sequence[Program], inputs: SiteInputs) -> LayerResult:
    """Run both programs of a site; between them, turn maxima into scale entries.

    Parameters
    ----------
    programs : sequence of two Program
        As `compile_layer` makes them.

    Raises
    ------
    ValueError
        W is all zero, or the programs are for another site.
    InputError, MachineError
        As `Device.run`.
    """
    first, second = programs
    compiled = Site(*(first.meta[name] for name in ("n", "d1", "d2", "r")))
    if compiled != inputs.site:
        raise ValueError(f"the programs are for {compiled}, not for {inputs.site}")
    if first.meta["column_copies"] != inputs.column_copies:
        raise ValueError(
            f"the programs are for {first.meta['column_copies']} column copies, "
            f"not for {inputs.column_copies} ones"
        )
    host = {name: copy.values for name, copy in inputs.copies.items()}
    for name, left in LEFT_OF.items():
        host[f"{name}.unit_scales"] = unit_scales(inputs.copies[left])[None, :]
    before = device.run(first, _known(first, host))
    maxima = _maxima(before.outputs)
    tables = _tables(inputs, maxima)
    after = device.run(second, _known(second, host | tables))
    arrays = {name: before.outputs[name] for name in LOW_RANK} | after.outputs
    return LayerResult(
        arrays, _scales(inputs, maxima), tuple(programs), (before.result, after.result)
    )


def _known(program: Program, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if name in program.inputs}


def _maxima(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the maxima behind ``H.row``, ``H.column``, ... over all tiles, uint32 (n or r,)."""
    found = {}
    for name in LOW_RANK:
        found[f"{name}.row"] = outputs[f"{name}.row_maxima"].max(axis=0)
        found[f"{name}.column"] = outputs[f"{name}.column_maxima"].max(axis=0)
    return found


def _tables(inputs: SiteInputs, maxima: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the scale entries of the second program, uint32 (1, entries)."""
    copies = inputs.copies
    tables = {f"{name}_scales": fresh_scales(values) for name, values in maxima.items()}
    factors = {"Y": (copies["A"], copies["B"]), "dX": (copies["B"], copies["A"])}
    for name, low_rank in UPDATED_BY.items():
        down, up = factors[name]
        tables[f"{name}.update_scales"] = update_scales(
            maxima[f"{low_rank}.row"], down, up, copies["W"], inputs.scaling
        )
    return {name: entries[None, :] for name, entries in tables.items()}


def _scales(inputs: SiteInputs, maxima: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the recorded scale of every array: ``S_acc * absmax / 127`` for copies."""
    scale = {name: copy.scale for name, copy in inputs.copies.items()}
    factor = float(inputs.scaling)
    found = {
        "H": scale["X.row"] * scale["A"],
        "dH": scale["dY.row"] * scale["B"],
        "Y": scale["X.row"] * scale["W"],
        "dX": scale["dY.row"] * scale["W"],
    }
    for name, weight in (("H", "A"), ("dH", "B")):
        rows, columns = maxima[f"{name}.row"], maxima[f"{name}.column"]
        found[f"{name}.row"] = found[name] * rows[:, None] / INT8_MAX
        unit = scale[LEFT_OF[name]].max() if inputs.column_copies == "rescaled" else 1.0
        found[f"{name}.column"] = unit * scale[weight] * columns[None, :] / INT8_MAX
    found["dA"] = scale["X.column"].T * found["dH.column"] * factor
    found["dB"] = scale["dY.column"].T * found["H.column"] * factor
    return found
