"""What a case leaves in DRAM, computed in torch from the case and its layout, not from its program.

Tiles do not appear here: that they do not matter is part of what is tested. Only where the page on
numerics says that rounding depends on the order of work does it: scaled products round once for
each fold of a weight-stationary EXECUTE, and once for each output-stationary one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ...golden import numerics as golden
from .case import Case, Maxima, Output, Product
from .layout import Layout, spans, table_entries

__all__ = ["Expected", "expect"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class Expected:
    """The whole image of DRAM after a case, but for the program itself, and two counters."""

    image: np.ndarray
    macs: int
    saturations: int


def expect(case: Case, layout: Layout) -> Expected:
    """Return what a case leaves behind.

    Raises
    ------
    ValueError
        The case has no meaning, such as scales that nothing made.
    """
    machine = _Machine(case, layout)
    for number, step in enumerate(case.steps):
        if not step.keep:
            machine.sums = torch.zeros(sum(step.m), sum(step.n), dtype=torch.int32)
        for turn, action in enumerate(step.actions):
            if isinstance(action, Product):
                machine.multiply((number, turn), action)
            else:
                machine.output((number, turn), action)
    return Expected(machine.image, machine.macs, machine.saturations)


class _Machine:
    """The sums, the entries made on the chip, and DRAM."""

    def __init__(self, case: Case, layout: Layout) -> None:
        self.case, self.layout = case, layout
        self.image = layout.image.copy()
        self.sums = torch.zeros(0, 0, dtype=torch.int32)
        self.updates: list[Pair] = []
        self.macs = self.saturations = 0

    def operand(self, where: Pair, role: str, turned: bool) -> Tensor:
        """Return an operand, (M, K) or (K, N), from what DRAM holds now."""
        values = torch.from_numpy(self.layout.matrices[*where, role].read(self.image))
        return values.T.contiguous() if turned else values

    def multiply(self, where: Pair, product: Product) -> None:
        stationary = product.dataflow == "ws"
        left = self.operand(where, "left", product.left.transpose == stationary)
        right = self.operand(where, "right", product.right.transpose)
        self.macs += left.shape[0] * left.shape[1] * right.shape[1]
        total = self.sums if product.accumulate else torch.zeros_like(self.sums)
        for start, stop in spans(product.parts):
            if product.scale is None and not product.made:
                exact = total.long() + golden.gemm(left[:, start:stop], right[start:stop]).long()
                total = exact.to(torch.int32)  # modulo 2^32, as the sums wrap
                continue
            m, s = self.accumulate_scales(product)
            fold = self.layout.config.fold_reduction if stationary else stop - start
            for first in range(start, stop, fold):
                some = slice(first, min(first + fold, stop))
                sums = golden.gemm(left[:, some], right[some])
                total = golden.scale_accumulate(total, sums, m, s)
        self.sums = total

    def accumulate_scales(self, product: Product) -> tuple[Tensor, Tensor]:
        if not product.made:
            return column(table_entries(product.scale, len(self.sums), "scale"))
        if len(self.updates) != len(self.sums):
            raise ValueError(f"{len(self.updates)} updates were made, not {len(self.sums)}")
        return column(self.updates)

    def output(self, where: Pair, output: Output) -> None:
        rows = column(table_entries(output.rows, self.sums.shape[0], "rows"))
        columns = column(table_entries(output.columns, self.sums.shape[1], "columns"))
        for index, maxima in enumerate(output.maxima):
            sums = golden.requantise(self.sums, *rows) if maxima.scaled else self.sums
            largest = golden.absmax(sums, maxima.axis).flatten().tolist()
            self.use(maxima, (*where, f"maxima {index}"), largest)
            if maxima.to_scales:
                made = column([golden.multiplier(127, most) for most in largest])
                rows, columns = (rows, made) if maxima.axis == "column" else (made, columns)
        if output.form is not None:
            across = tuple(each.T for each in columns)
            copy = self.copy(output, rows, across)
            self.layout.matrices[*where, "copy"].write(self.image, copy.numpy())

    def use(self, maxima: Maxima, spot: tuple[int, int, str], largest: list[int]) -> None:
        """Write maxima to DRAM, and keep the entries that scale-and-accumulate is to use."""
        if maxima.to_dram:
            self.layout.matrices[spot].write(self.image, np.array([largest], "<u4"))
        if maxima.to_updates:
            m, s = maxima.factor
            factor = m / Fraction(2) ** s
            self.updates = [golden.multiplier(most * factor) for most in largest]

    def copy(
        self, output: Output, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]
    ) -> Tensor:
        sums = self.sums
        match output.form:
            case "int32":
                return sums
            case "row":
                scales = rows
            case "column":
                scales = columns
            case "row_column":
                sums, scales = golden.requantise(sums, *rows), columns
            case "tensor":
                scales = tuple(each[:1] for each in rows)
        bits = None
        if output.stochastic:
            bits = golden.noise(self.case.rounding, *places(output, sums))
        self.saturations += golden.limited(sums, *scales, bits)
        if bits is not None:
            return golden.stochastic8(sums, *scales, bits)
        return golden.requantise8(sums, *scales)


def places(output: Output, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows, (M, 1), and columns, (1, N), of the elements under the noise."""
    row, column = output.origin
    return row + torch.arange(sums.shape[0])[:, None], column + torch.arange(sums.shape[1])[None]


def column(entries: list[Pair]) -> tuple[Tensor, Tensor]:
    """Return multipliers and shifts as two tensors (len, 1)."""
    m, s = torch.tensor(entries, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return m[:, None], s[:, None]
