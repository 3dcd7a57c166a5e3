"""The engine that runs a layer on an accelerator: on the functional model, or the RTL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hw.isa.numerics import encode_scale
from sim.result import RunResult

from ..driver import Device, Run, Session
from ..gemm import Rounding, compile_gemm
from ..layer import Part, compile_layer
from ..prescaled import compile_prescaled, diagonal
from ..program import Program
from ..quantise import Group
from ..rescaled import compile_rescaled
from .engine import Backward, Copy, Engine, Entries, Forward, Pass

__all__ = ["DeviceEngine"]


class DeviceEngine(Engine):
    """An accelerator, with a program for each shape of layer and direction.

    Programs are compiled when they are first asked for, and keep their DRAM.

    Parameters
    ----------
    device : Device

    Members
    -------
    runs : int
        Programs run.
    cycles, macs : int
        Of all of them; cycles where the device counts any.
    saturations : int
        See `Engine`.
    """

    def __init__(self, device: Device) -> None:
        self.name = device.backend
        self.runs = self.cycles = self.macs = self.saturations = 0
        self._device = device
        self._sessions: dict[Any, tuple[Program, Session]] = {}

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the products of int8 (..., M, K) and (..., K, N), int32."""
        if left.dim() > 2:
            return torch.stack([self.product(*pair) for pair in zip(left, right, strict=True)])
        return _tensor(self._gemm(left, right).outputs["C"], left)

    def copy(
        self,
        left: Tensor,
        right: Tensor,
        group: Group,
        rounding: Rounding = "nearest",
        seed: int = 0,
    ) -> Copy:
        """Return the INT8 copy of a product, with a fresh scale for each group."""
        run = self._gemm(left, right, seed, requantise=group, rounding=rounding)
        values = _tensor(run.outputs["C"], left)
        shape = [1 if axis in group.axes else size for axis, size in enumerate(values.shape)]
        maxima = _tensor(run.outputs["maxima"].astype(np.int64), left)
        return Copy(values, maxima.reshape(shape))

    def rescaled(
        self,
        left: Tensor,
        right: Tensor,
        units: Entries,
        rounding: Rounding = "nearest",
        seed: int = 0,
        *,
        weight_bits: int = 8,
        transposed: bool = False,
    ) -> tuple[Tensor, Copy]:
        """Return a product, int32, and its column copy, in which rows have one unit."""
        config, sizes = self._device.config, (*left.shape, right.shape[1])

        def compiled() -> Program:
            return compile_rescaled(
                config, *sizes, weight_bits=weight_bits, transpose_b=transposed, rounding=rounding
            )

        lies = right.T if transposed else right
        inputs = {"A": left, "B": lies, "unit_scales": _table(units)}
        key = ("rescaled", *sizes, weight_bits, transposed, rounding)
        run = self._run(key, compiled, inputs, seed)
        return _tensor(run.outputs["C"], left), _column(run.outputs, "C", left)

    def prescaled(self, left: Tensor, signs: Tensor, scales: Entries, expert: int = 0) -> Copy:
        """Return the row copy of a matrix whose columns are scaled: rounded to int32 between.

        Entries of all experts lie in DRAM; which are loaded is an address in the program.
        """
        config, experts = self._device.config, len(scales[0])

        def compiled() -> Program:
            return compile_prescaled(config, *left.shape, experts=experts, expert=expert)

        inputs = {
            "X": left,
            "signs": diagonal(config, signs.cpu().numpy()),
            "scales": _table(scales).reshape(experts, -1),
        }
        run = self._run(("prescaled", *left.shape, experts, expert), compiled, inputs, 0)
        maxima = run.outputs["maxima"].astype(np.int64).reshape(-1, 1)
        return Copy(_tensor(run.outputs["P"], left), _tensor(maxima, left))

    def column_dots(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the dot products of equal columns of two int8 (M, N), int32 (N,).

        They are the diagonal of a product of which an array's columns at a time are made.
        """
        width = self._device.config.columns
        pairs = zip(left.split(width, 1), right.split(width, 1), strict=True)
        return torch.cat([self.product(a.T, b).diagonal() for a, b in pairs])

    def forward(self, x: Tensor, w: Tensor, a: Tensor, b: Tensor, options: Pass) -> Forward:
        """See `Engine.forward`."""
        sizes = (*x.shape, w.shape[1], a.shape[1])
        inputs = {"X.row": x, "W": w, "A": a, "B": b} | _entries("H", "Y", options)
        run = self._layer(sizes, "forward", options, inputs)
        return Forward(_tensor(run["Y"], x), _column(run, "H", x))

    def backward(
        self,
        dy: Tensor,
        w: Tensor,
        a: Tensor,
        b: Tensor,
        x_column: Tensor,
        dy_column: Tensor,
        h_column: Tensor,
        options: Pass,
    ) -> Backward:
        """See `Engine.backward`."""
        sizes = (*x_column.shape, w.shape[1], a.shape[1])
        inputs = {
            "dY.row": dy, "W": w, "A": a, "B": b,
            "X.column": x_column, "dY.column": dy_column, "H.column": h_column,
        }  # fmt: skip
        run = self._layer(sizes, "backward", options, inputs | _entries("dH", "dX", options))
        dx, da, db = (_tensor(run[name], dy) for name in ("dX", "dA", "dB"))
        return Backward(dx, da, db, _column(run, "dH", dy).maxima)

    def _gemm(self, left: Tensor, right: Tensor, seed: int = 0, **options: Any) -> Run:
        m, k, n = *left.shape, right.shape[1]
        config = self._device.config

        def compiled() -> Program:
            return compile_gemm(config, m, k, n, **options)[0]

        return self._run(("gemm", m, k, n, *options.values()), compiled,
                         {"A": left, "B": right}, seed)  # fmt: skip

    def _layer(
        self, sizes: tuple[int, ...], part: Part, options: Pass, inputs: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        copies = "weighted" if options.units is None else "rescaled"
        config, rounding = self._device.config, options.rounding

        def compiled() -> Program:
            layer = compile_layer(
                config, *sizes, part=part, column_copies=copies, rounding=rounding
            )
            return layer.program

        return self._run((part, *sizes, copies, rounding), compiled, inputs, options.seed).outputs

    def _run(
        self, key: Any, compiled: Callable[[], Program], inputs: dict[str, Any], seed: int
    ) -> Run:
        if key not in self._sessions:
            program = compiled()
            self._sessions[key] = program, self._device.session(program)
        program, session = self._sessions[key]
        run = session.run(inputs, noise_seed=seed)
        self._count(program, run.result)
        return run

    def _count(self, program: Program, result: RunResult) -> None:
        self.runs += 1
        self.macs += program.macs
        self.cycles += result.counters.get("cycles", 0)
        self.saturations += result.counters.get("saturations", 0)


def _entries(low_rank: str, updated: str, options: Pass) -> dict[str, np.ndarray]:
    """Return the tables of scale entries that a direction takes."""
    found = {f"{updated}.factor": np.array([[options.factor]], np.uint32)}
    if options.units is not None:
        found[f"{low_rank}.unit_scales"] = _table(options.units)
    return found


def _table(entries: Entries) -> np.ndarray:
    pairs = zip(*(each.ravel().tolist() for each in entries), strict=True)
    return np.array([[encode_scale(m, s) for m, s in pairs]], np.uint32)


def _column(outputs: dict[str, np.ndarray], name: str, like: Tensor) -> Copy:
    maxima = outputs[f"{name}.column_maxima"].astype(np.int64)
    return Copy(_tensor(outputs[f"{name}.column"], like), _tensor(maxima, like))


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device)
