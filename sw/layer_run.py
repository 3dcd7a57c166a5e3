"""Runs the training products of a LoRA site on a device, from float tensors to gradients."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hw.isa.numerics import INT8_MAX
from sim.result import RunResult

from .driver import Device
from .lora import Site
from .program import Program
from .quantise import (
    ColumnCopies,
    Group,
    Quantised,
    quantise,
    unit_scales,
    update_factor,
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
    """Everything a site's program made.

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


def run_layer(
    device: Device, program: Program, inputs: SiteInputs, *, noise_seed: int = 0
) -> LayerResult:
    """Run the program of a site.

    Parameters
    ----------
    program : Program
        As `compile_layer` makes it.
    noise_seed : int
        Of stochastic rounding.

    Raises
    ------
    ValueError
        W is all zero, the factor of an update does not fit an entry, or the program is for another
        site, or of one direction only.
    InputError, MachineError
        As `Device.run`.
    """
    compiled = Site(*(program.meta[name] for name in ("n", "d1", "d2", "r")))
    if compiled != inputs.site:
        raise ValueError(f"the program is for {compiled}, not for {inputs.site}")
    if (part := program.meta.get("part", "step")) != "step":
        raise ValueError(f"the program is the {part} part of a site's, not the whole step")
    if program.meta["column_copies"] != inputs.column_copies:
        raise ValueError(
            f"the program is for {program.meta['column_copies']} column copies, "
            f"not for {inputs.column_copies} ones"
        )
    run = device.run(program, _host_arrays(inputs), noise_seed=noise_seed)
    arrays = {name: array for name, array in run.outputs.items() if not name.endswith("_maxima")}
    return LayerResult(arrays, _scales(inputs, run.outputs), (program,), (run.result,))


def _host_arrays(inputs: SiteInputs) -> dict[str, np.ndarray]:
    """Return everything the program takes."""
    copies = inputs.copies
    arrays = {name: copy.values for name, copy in copies.items()}
    if inputs.column_copies == "rescaled":
        for name, left in LEFT_OF.items():
            arrays[f"{name}.unit_scales"] = unit_scales(copies[left])[None, :]
    for name, (down, up) in {"Y": ("A", "B"), "dX": ("B", "A")}.items():
        arrays[f"{name}.factor"] = update_factor(
            copies[down], copies[up], copies["W"], inputs.scaling
        )
    return arrays


def _scales(inputs: SiteInputs, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
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
        rows, columns = outputs[f"{name}.row_maxima"], outputs[f"{name}.column_maxima"]
        found[f"{name}.row"] = found[name] * rows.T / INT8_MAX
        unit = scale[LEFT_OF[name]].max() if inputs.column_copies == "rescaled" else 1.0
        found[f"{name}.column"] = unit * scale[weight] * columns / INT8_MAX
    found["dA"] = scale["X.column"].T * found["dH.column"] * factor
    found["dB"] = scale["dY.column"].T * found["H.column"] * factor
    return found
