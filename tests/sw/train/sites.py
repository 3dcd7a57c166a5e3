"""A LoRA site's operands as torch tensors, for whoever compares engines."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from hw.isa.numerics import encode_factor
from sw.demo import make_site
from sw.quantise import ColumnCopies, Group
from sw.train.arithmetic import unit_entries
from sw.train.engine import Backward, Engine, Forward, Pass
from sw.train.operand import Operand, quantise


@dataclass(frozen=True)
class Site:
    """INT8 copies, and how the two directions are computed."""

    real: dict[str, Tensor]
    copies: dict[str, Operand]
    forward: Pass
    backward: Pass

    def run(self, engine: Engine) -> tuple[Forward, Backward]:
        """Compute both directions."""
        values = {name: copy.values for name, copy in self.copies.items()}
        weights = values["W"], values["A"], values["B"]
        forward = engine.forward(values["X.row"], *weights, self.forward)
        backward = engine.backward(
            values["dY.row"], *weights, values["X.column"], values["dY.column"],
            forward.h_column.values, self.backward,
        )  # fmt: skip
        return forward, backward


def make(
    n: int, d1: int, d2: int, r: int, *, copies: ColumnCopies = "weighted", rounding="nearest"
) -> Site:
    """Return a site made from a seed."""
    real = {name: torch.from_numpy(x) for name, x in make_site(n, d1, d2, r, seed=n).items()}
    x_row, dy_row = (quantise(real[name], Group.ROW) for name in ("x", "dy"))
    weights = {name.upper(): quantise(real[name], Group.TENSOR) for name in "wab"}
    x, dy, units = real["x"], real["dy"], (None, None)
    if copies == "weighted":
        x, dy = x.double() * dy_row.scale, dy.double() * x_row.scale
    else:
        units = tuple(unit_entries(each.absmax) for each in (x_row, dy_row))
    found = {
        "X.row": x_row, "dY.row": dy_row, **weights,
        "X.column": quantise(x, Group.COLUMN), "dY.column": quantise(dy, Group.COLUMN),
    }  # fmt: skip
    w, a, b = (weights[name].step for name in "WAB")
    factor = encode_factor(Fraction(a * b) / (127 * w))
    return Site(
        real, found, Pass(factor, units[0], rounding, 5), Pass(factor, units[1], rounding, 9)
    )
