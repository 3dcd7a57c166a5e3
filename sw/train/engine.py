"""Who computes the integer products of a layer: torch here, a device in `device`.

An engine takes INT8 matrices and scale entries and gives integers; everything in floating point is
outside, and the same for all. So equal inputs give equal bits, whoever computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..gemm import Rounding
from ..quantise import Group
from .arithmetic import (
    absmax,
    fresh_entries,
    gemm,
    noise,
    requantise8,
    requantise32,
    scale_accumulate,
    stochastic8,
    update_entries,
)

__all__ = ["Backward", "Copy", "Engine", "Entries", "Forward", "Pass", "TorchEngine"]

Entries = tuple[Tensor, Tensor]
"""Multipliers and shifts, int64."""


@dataclass(frozen=True, eq=False)
class Copy:
    """An INT8 copy made of sums, and the maxima (int64) of its groups, kept with one element."""

    values: Tensor
    maxima: Tensor


@dataclass(frozen=True, eq=False)
class Pass:
    """How one direction of a LoRA site is computed.

    Members
    -------
    factor : int
        Entry of `hw.isa.numerics.encode_factor`: of the update.
    units : pair of int64 (n, 1), or None
        Entries by which rows of the low-rank sums come to one unit before their column copy.
    rounding : "nearest" or "stochastic"
        Of the copies of the low-rank sums.
    seed : int
        Of the noise, 32 bits.
    """

    factor: int
    units: Entries | None = None
    rounding: Rounding = "nearest"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Forward:
    """What the forward pass of a site gives: Y, int32 (n, d2), and the column copy of H."""

    y: Tensor
    h_column: Copy


@dataclass(frozen=True, eq=False)
class Backward:
    """What the backward pass gives.

    Members
    -------
    dx : int32 (n, d1)
    da : int32 (d1, r)
    db : int32 (d2, r)
        The gradient of B, transposed.
    dh_maxima : int64 (1, r)
        Of the column copy of dH.
    """

    dx: Tensor
    da: Tensor
    db: Tensor
    dh_maxima: Tensor


class Engine(ABC):
    """Computes products of INT8 matrices; see the subclasses.

    Members
    -------
    name : str
    saturations : int
        Elements of INT8 copies that were limited, of everything computed so far.
    """

    name: str
    saturations: int

    @abstractmethod
    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the products of int8 (..., M, K) and (..., K, N), int32."""

    @abstractmethod
    def copy(
        self,
        left: Tensor,
        right: Tensor,
        group: Group,
        rounding: Rounding = "nearest",
        seed: int = 0,
    ) -> Copy:
        """Return the INT8 copy of a product, with a fresh scale for each group."""

    @abstractmethod
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
        """Return a product, int32, and its column copy, in which rows have one unit.

        Parameters
        ----------
        left : int8 (M, K), scaled by row
        right : int8 (K, N)
        units : pair of int64 (M, 1)
            Entries by which rows come to one unit.
        weight_bits : 8 or 4
            Of elements of `right` in DRAM; with 4 they are from -8 to 7.
        transposed : bool
            Whether `right` lies in DRAM as its transpose.
        """

    @abstractmethod
    def prescaled(self, left: Tensor, signs: Tensor, scales: Entries, expert: int = 0) -> Copy:
        """Return the row copy of a matrix whose columns are scaled: rounded to int32 between.

        Parameters
        ----------
        left : int8 (M, K)
        signs : int8 (K,)
            1 or -1.
        scales : pair of int64 (experts, K)
            Entries of `sw.train.arithmetic.column_entries`.
        expert : int
            The set that is used.
        """

    @abstractmethod
    def column_dots(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the dot products of equal columns of two int8 (M, N), int32 (N,)."""

    @abstractmethod
    def forward(self, x: Tensor, w: Tensor, a: Tensor, b: Tensor, options: Pass) -> Forward:
        """Compute H = X.A and Y = X.W + g.(H.B).

        Parameters
        ----------
        x : int8 (n, d1), scaled by row
        w : int8 (d1, d2); a : int8 (d1, r); b : int8 (r, d2)
            Scaled by tensor.
        """

    @abstractmethod
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
        """Compute dH = dY.B^T, dX = dY.W^T + g.(dH.A^T), dA = X^T.dH and dB^T = dY^T.H.

        Parameters
        ----------
        dy : int8 (n, d2), scaled by row
        w, a, b : as in `forward`
        x_column, dy_column, h_column : int8 (n, d1), (n, d2), (n, r), scaled by column
        """


class TorchEngine(Engine):
    """Torch, on the device where the tensors are."""

    name = "torch"

    def __init__(self) -> None:
        self.saturations = 0

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the products of int8 (..., M, K) and (..., K, N), int32."""
        return gemm(left, right)

    def copy(
        self,
        left: Tensor,
        right: Tensor,
        group: Group,
        rounding: Rounding = "nearest",
        seed: int = 0,
    ) -> Copy:
        """Return the INT8 copy of a product, with a fresh scale for each group."""
        return self._copy(gemm(left, right), group, rounding, seed)

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
        sums = gemm(left, right)
        return sums, self._copy(requantise32(sums, *units), Group.COLUMN, rounding, seed)

    def prescaled(self, left: Tensor, signs: Tensor, scales: Entries, expert: int = 0) -> Copy:
        """Return the row copy of a matrix whose columns are scaled: rounded to int32 between."""
        entries = (each[expert] for each in scales)
        sums = requantise32(left.int() * signs.int(), *entries)
        return self._copy(sums, Group.ROW, "nearest", 0)

    def column_dots(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the dot products of equal columns of two int8 (M, N), int32 (N,)."""
        return (left.short() * right.short()).sum(0, dtype=torch.int32)

    def forward(self, x: Tensor, w: Tensor, a: Tensor, b: Tensor, options: Pass) -> Forward:
        """See `Engine.forward`."""
        y, column = self._direction(x, a, w, b, options)
        return Forward(y, column)

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
        dx, column = self._direction(dy, b.T, w.T, a.T, options)
        da, db = gemm(x_column.T, column.values), gemm(dy_column.T, h_column)
        return Backward(dx, da, db, column.maxima)

    def _direction(
        self, left: Tensor, down: Tensor, weight: Tensor, up: Tensor, options: Pass
    ) -> tuple[Tensor, Copy]:
        """Return ``left.weight + g.((left.down).up)`` and the column copy of ``left.down``."""
        sums = gemm(left, down)
        rows = self._copy(sums, Group.ROW, options.rounding, options.seed)
        source = sums if options.units is None else requantise32(sums, *options.units)
        columns = self._copy(source, Group.COLUMN, options.rounding, options.seed)
        gains = update_entries(rows.maxima, options.factor)
        return scale_accumulate(gemm(left, weight), gemm(rows.values, up), *gains), columns

    def _copy(self, sums: Tensor, group: Group, rounding: Rounding, seed: int) -> Copy:
        maxima = absmax(sums, group.axes)
        entries = fresh_entries(maxima)
        if rounding == "nearest":
            values, limited = requantise8(sums, *entries)
        else:
            bits = noise(seed, *sums.shape, device=sums.device)
            values, limited = stochastic8(sums, *entries, bits)
        self.saturations += limited
        return Copy(values, maxima)
