"""Products of layers as functions that torch differentiates, forward and backward in integers.

Real values are sums times scales, in float64, rounded once to the type of the input.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hw.isa.numerics import INT8_MAX, encode_factor

from ..quantise import Group
from .arithmetic import scale_accumulate, unit_entries, update_entries
from .context import Range
from .engine import Copy, Pass
from .operand import Operand, levels, quantise

__all__ = ["Low", "integer_matmul", "linear", "lora"]


class Low:
    """The constants of a LoRA layer: its frozen weight, its name, its scaling.

    Parameters
    ----------
    name : str
        Of the layer, for messages, noise and measures.
    weight : Operand
        int8 (d1, d2), scaled by tensor.
    real : Tensor
        The weight in floating point, (d1, d2), for measures.
    scaling : float
        alpha / r.
    context : Range
    """

    def __init__(
        self, name: str, weight: Operand, real: Tensor, scaling: float, context: Range
    ) -> None:
        self.name, self.weight, self.real = name, weight, real
        self.scaling, self.context = scaling, context

    def options(self, direction: str, left: Operand, factor: int) -> Pass:
        """Return how a direction is computed, `left` being its X or dY by row."""
        precision, units = self.context.precision, None
        if precision.column_copies == "rescaled":
            units = unit_entries(left.absmax)
        seed = self.context.noise_seed(self.name, direction)
        return Pass(factor, units, precision.rounding, seed)

    def factor(self, down: Operand, up: Operand) -> int:
        """Return the entry that all rows' update scales share: c S_down S_up / (127 S_W)."""
        ratio = Fraction(self.scaling) * down.step * up.step / (INT8_MAX * self.weight.step)
        return encode_factor(ratio)


def lora(x: Tensor, a: Tensor, b: Tensor, low: Low) -> Tensor:
    """Return ``x.W + c.(x.A).B``.

    Parameters
    ----------
    x : float (n, d1)
    a : float (d1, r); b : float (r, d2)

    Returns
    -------
    float (n, d2)

    Raises
    ------
    NotFinite
        A tensor, or in the backward pass the gradient, holds NaN or an infinity.
    """
    return _Lora.apply(x, a, b, low)


class _Lora(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, low: Low) -> Tensor:
        context, name = low.context, low.name
        precision, monitor = context.precision, context.monitor
        by_row = Group.ROW if precision.scales == "channel" else Group.TENSOR
        x_row = quantise(x, by_row, limit=levels(precision.activation_bits), name=f"{name}: X")
        limit = levels(precision.weight_bits)
        qa = quantise(a, Group.TENSOR, limit=limit, name=f"{name}: A")
        qb = quantise(b, Group.TENSOR, limit=limit, name=f"{name}: B")
        options = low.options("forward", x_row, low.factor(qa, qb))
        if precision.scales == "channel":
            found = context.engine.forward(
                x_row.values, low.weight.values, qa.values, qb.values, options
            )
            sums, h = found.y, found.h_column
        else:
            sums, h = _by_tensor(context, x_row, qa, low.weight, qb, options)
        y = _real(sums, x_row.scale, low.weight.scale, x.dtype)
        monitor.absmax(name, "X", x_row.absmax)
        monitor.absmax(name, "A", qa.absmax)
        monitor.absmax(name, "B", qb.absmax)
        monitor.absmax(name, "H", h.maxima)
        real, exact = low.real.to(a.dtype), x.to(a.dtype)
        monitor.product(name, "Y", y, lambda: exact @ real + low.scaling * ((exact @ a) @ b))
        ctx.save_for_backward(x, a, b)
        ctx.low, ctx.x_row, ctx.qa, ctx.qb, ctx.h = low, x_row, qa, qb, h
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        low, x_row, qa, qb = ctx.low, ctx.x_row, ctx.qa, ctx.qb
        x, a, b = ctx.saved_tensors
        name, precision = low.name, low.context.precision
        monitor, limit = low.context.monitor, levels(precision.gradient_bits)
        by_row = Group.ROW if precision.scales == "channel" else Group.TENSOR
        dy_row = quantise(dy, by_row, limit=limit, name=f"{name}: dY")
        options = low.options("backward", dy_row, low.factor(qb, qa))
        x_column, dy_column = _columns(x, dy, x_row, dy_row, low, limit)
        if precision.scales == "channel":
            found = low.context.engine.backward(
                dy_row.values, low.weight.values, qa.values, qb.values,
                x_column.values, dy_column.values, ctx.h.values, options,
            )  # fmt: skip
            sums, da, db, dh_maxima = found.dx, found.da, found.db, found.dh_maxima
        else:
            sums, dh = _by_tensor(low.context, dy_row, qb.T, low.weight.T, qa.T, options)
            da = low.context.engine.product(x_row.values.T, dh.values)
            db = low.context.engine.product(dy_row.values.T, ctx.h.values)
            dh_maxima = dh.maxima
        h_scale = _unit(low, x_row) * qa.scale * ctx.h.maxima / INT8_MAX
        dh_scale = _unit(low, dy_row) * qb.scale * dh_maxima / INT8_MAX
        dx = _real(sums, dy_row.scale, low.weight.scale, x.dtype)
        da = _real(da, x_column.scale.T, dh_scale * low.scaling, a.dtype)
        db = _real(db, dy_column.scale.T, h_scale * low.scaling, b.dtype).T
        monitor.absmax(name, "dY", dy_row.absmax)
        monitor.absmax(name, "dH", dh_maxima)
        x, dy, real = (each.to(a.dtype) for each in (x, dy, low.real))
        monitor.product(name, "dX", dx, lambda: dy @ real.T + low.scaling * ((dy @ b.T) @ a.T))
        monitor.product(name, "dA", da, lambda: low.scaling * (x.T @ (dy @ b.T)))
        monitor.product(name, "dB", db, lambda: low.scaling * ((x @ a).T @ dy))
        return dx, da, db, None


def _columns(
    x: Tensor, dy: Tensor, x_row: Operand, dy_row: Operand, low: Low, limit: int
) -> tuple[Operand, Operand]:
    """Return the column copies of X and dY; of scales by tensor, the only copies."""
    precision = low.context.precision
    if precision.scales == "tensor":
        return x_row, dy_row
    if precision.column_copies == "weighted":
        x, dy = x.double() * dy_row.scale, dy.double() * x_row.scale
    x_limit = levels(precision.activation_bits)
    return quantise(x, Group.COLUMN, limit=x_limit), quantise(dy, Group.COLUMN, limit=limit)


def _unit(low: Low, left: Operand) -> Tensor | float:
    """Return the real value of one step of the left operand in the column copy of its product."""
    precision = low.context.precision
    if precision.scales == "tensor":
        return left.scale
    return left.scale.max() if precision.column_copies == "rescaled" else 1.0


def _by_tensor(
    context: Range, left: Operand, down: Operand, weight: Operand, up: Operand, options: Pass
) -> tuple[Tensor, Copy]:
    """Return ``left.weight + g.((left.down).up)``, one scale each, and the copy of ``left.down``.

    The update is added on the host: the chip's update scales are made of maxima of rows.
    """
    engine = context.engine
    copy = engine.copy(left.values, down.values, Group.TENSOR, options.rounding, options.seed)
    gain = update_entries(copy.maxima, options.factor)
    update = engine.product(copy.values, up.values)
    return scale_accumulate(engine.product(left.values, weight.values), update, *gain), copy


def _real(sums: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    return sums.double().mul_(left).mul_(right).to(dtype)


def linear(x: Tensor, weight: Tensor, quantised: Operand, name: str, context: Range) -> Tensor:
    """Return ``x.W``, and as gradients ``dY.W^T`` and, if the weight wants one, ``X^T.dY``.

    Parameters
    ----------
    x : float (n, d1)
    weight : float (d1, d2)
    quantised : Operand
        Of the weight, scaled by tensor.
    """
    return _Linear.apply(x, weight, quantised, name, context)


class _Linear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, quantised: Operand, name: str, context: Range
    ) -> Tensor:
        precision, monitor = context.precision, context.monitor
        by_row = Group.ROW if precision.scales == "channel" else Group.TENSOR
        x_row = quantise(x, by_row, limit=levels(precision.activation_bits), name=f"{name}: X")
        sums = context.engine.product(x_row.values, quantised.values)
        y = _real(sums, x_row.scale, quantised.scale, x.dtype)
        monitor.absmax(name, "X", x_row.absmax)
        if ctx.needs_input_grad[1]:
            monitor.absmax(name, "W", quantised.absmax)
        monitor.product(name, "Y", y, lambda: x @ weight)
        ctx.save_for_backward(x, weight)
        ctx.quantised, ctx.name, ctx.context = quantised, name, context
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        name, context, dx, dw = ctx.name, ctx.context, None, None
        precision, monitor = context.precision, context.monitor
        tensor = precision.scales == "tensor"
        limit = levels(precision.gradient_bits)
        row, column = (Group.TENSOR,) * 2 if tensor else (Group.ROW, Group.COLUMN)
        if ctx.needs_input_grad[0]:
            dy_row = quantise(dy, row, limit=limit, name=f"{name}: dY")
            sums = context.engine.product(dy_row.values, ctx.quantised.values.T)
            dx = _real(sums, dy_row.scale, ctx.quantised.scale, x.dtype)
            monitor.absmax(name, "dY", dy_row.absmax)
            monitor.product(name, "dX", dx, lambda: dy @ weight.T)
        if ctx.needs_input_grad[1]:
            x_limit = levels(precision.activation_bits)
            x_column = quantise(x, column, limit=x_limit, name=f"{name}: X")
            dy_column = quantise(dy, column, limit=limit, name=f"{name}: dY")
            sums = context.engine.product(x_column.values.T, dy_column.values)
            dw = _real(sums, x_column.scale.T, dy_column.scale, weight.dtype)
            if dx is None:
                monitor.absmax(name, "dY", dy_column.absmax)
            monitor.product(name, "dW", dw, lambda: x.T @ dy)
        return dx, dw, None, None, None


def integer_matmul(left: Tensor, right: Tensor, name: str, context: Range) -> Tensor:
    """Return ``left.right`` of two tensors that both have gradients, such as those of attention.

    Parameters
    ----------
    left : float (..., M, K)
    right : float (..., K, N)
    """
    return _Matmul.apply(left, right, name, context)


class _Matmul(Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, name: str, context: Range) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.name, ctx.context = name, context
        limit = levels(context.precision.activation_bits)
        return _product(left, right, name, "C", context, limit, limit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        name, context, dleft, dright = ctx.name, ctx.context, None, None
        limit = levels(context.precision.activation_bits)
        gradient_limit = levels(context.precision.gradient_bits)
        if ctx.needs_input_grad[0]:
            dleft = _product(gradient, right.mT, name, "dA", context, gradient_limit, limit)
        if ctx.needs_input_grad[1]:
            dright = _product(left.mT, gradient, name, "dB", context, limit, gradient_limit)
        return dleft, dright, None, None


def _product(
    left: Tensor, right: Tensor, name: str, product: str, context: Range, *limits: int
) -> Tensor:
    """Return a product whose operands have scales along the axes that it does not reduce."""
    tensor = context.precision.scales == "tensor"
    groups = (Group.TENSOR,) * 2 if tensor else (Group.ROW, Group.COLUMN)
    first, second = (
        quantise(each, group, limit=limit, name=f"{name}: {side} operand of {product}")
        for each, group, limit, side in zip(
            (left, right), groups, limits, ("left", "right"), strict=True
        )
    )
    sums = context.engine.product(first.values, second.values)
    found = _real(sums, first.scale, second.scale, left.dtype)
    context.monitor.product(name, product, found, lambda: left @ right)
    return found
