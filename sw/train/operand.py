"""INT8 copies of float tensors, made on the host, as torch tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from hw.isa.numerics import INT8_MAX

from ..quantise import Group
from .arithmetic import add_half_

__all__ = ["NotFinite", "Operand", "levels", "quantise"]

_TRANSPOSED = {Group.ROW: Group.COLUMN, Group.COLUMN: Group.ROW, Group.TENSOR: Group.TENSOR}


class NotFinite(ValueError):
    """A tensor that must be quantised holds NaN or an infinity."""


@dataclass(frozen=True, eq=False)
class Operand:
    """An integer copy of a float matrix.

    Members
    -------
    values : int8 (..., M, N)
    absmax : float64, (..., M, 1), (..., 1, N) or (..., 1, 1)
        Absolute maximum of each group.
    group : Group
    limit : int
        What the maximum became: 127 for eight bits.
    """

    values: Tensor
    absmax: Tensor
    group: Group
    limit: int = INT8_MAX

    @property
    def scale(self) -> Tensor:
        """Real value of one step, float64, shaped as `absmax`; zero for a group of zeros."""
        return self.absmax / self.limit

    @property
    def step(self) -> Fraction:
        """The exact real value of one step of a copy that has one scale."""
        return Fraction(self.absmax.item()) / self.limit

    @property
    def T(self) -> Operand:
        """The transposed copy, on the same memory."""
        return replace(
            self, values=self.values.mT, absmax=self.absmax.mT, group=_TRANSPOSED[self.group]
        )


def levels(bits: int) -> int:
    """Return the largest value of a symmetric integer of so many bits.

    Raises
    ------
    ValueError
        An INT8 array does not take them.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"operands have 2 to 8 bits, not {bits}")
    return (1 << (bits - 1)) - 1


def quantise(x: Tensor, group: Group, *, limit: int = INT8_MAX, name: str = "a tensor") -> Operand:
    """Quantise a float matrix symmetrically: ``round(limit x / a)``, a the group's absmax.

    Ties round away from zero, in float64, as `sw.quantise.quantise` does.

    Parameters
    ----------
    x : float (..., M, N)
        One matrix, or many, each with scales of its own.
    group : Group
        What shares a scale.
    limit : int, 1 to 127
        See `levels`.
    name : str
        For the message.

    Raises
    ------
    NotFinite
        The message tells `name`.
    ValueError
        It has no elements.
    """
    if not x.numel():
        raise ValueError(f"{name} is empty: it is {'x'.join(map(str, x.shape))}")
    largest = x.abs().amax([axis - 2 for axis in group.axes], keepdim=True).double()
    if not bool(largest.isfinite().all()):
        raise NotFinite(f"{name} is not finite: it holds NaN or an infinity")
    quotient = x.double().mul(limit).div_(torch.where(largest > 0, largest, 1.0))
    return Operand(add_half_(quotient).to(torch.int8), largest, group, limit)
