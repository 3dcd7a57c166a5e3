"""TuneQDM (arXiv 2401.04339): low-bit frozen weights, of which only the scales are trained.

``Y = ((X o d_in).Wq) o d_out``, a d_in for each input and a d_out for each output channel, and
several pairs of them, the experts, for parts of the noise schedule. Gradients of the scales are dot
products of columns::

    d d_out[j] = sum_t dY[t,j] U[t,j]      U = (X o d_in).Wq
    d d_in[i]  = sum_t X[t,i] V[t,i]       V = (dY o d_out).Wq^T

in which tokens are the reduction: so U and V, whose rows have scales of their own, are brought to
one unit before their column copies are made, as H and dH are in LoRA.

Columns of X and of dY are scaled on the chip, of their INT8 copies (`sw.prescaled`): what the host
quantises is the same for all layers and experts that share it, and a weight lies in DRAM with the
bits that it has. Without d_in, X's copy is multiplied as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hw.isa.numerics import INT8_MAX

from ..quantise import Group
from .arithmetic import PRESCALE, add_half_, column_entries, unit_entries
from .context import Context, Range
from .engine import Copy
from .modules import QuantisedLinear
from .operand import NotFinite, Operand, levels, quantise
from .times import Times, by_key

__all__ = ["Experts", "TuneLinear", "quantise_channels"]


def quantise_channels(weight: Tensor, bits: int, name: str = "a weight") -> tuple[Tensor, Tensor]:
    """Quantise a weight per output channel.

    Parameters
    ----------
    weight : float (out, in)
    bits : 4 or 8
        Both without a zero point, so that integers from memory are operands as they are.

    Returns
    -------
    values : int8 (out, in)
        From -8 to 7, or from -127 to 127.
    scale : float32 (out,)
        Real value of a step; 1 for a channel of zeros.

    Raises
    ------
    ValueError
        `bits` is neither 4 nor 8.
    NotFinite
        The weight is not; the message tells `name`.
    """
    if bits not in (4, 8):
        raise ValueError(f"weights have 4 or 8 bits, not {bits}")
    if not bool(weight.isfinite().all()):
        raise NotFinite(f"{name} is not finite: it holds NaN or an infinity")
    exact = weight.double()
    # Of so few integers as four bits have, one more on the side of the negatives counts.
    least, most = (-8, 7) if bits == 4 else (-INT8_MAX, INT8_MAX)
    steps = torch.maximum(exact.amin(1) / least, exact.amax(1) / most)
    scale = torch.where(steps > 0, steps, 1.0).float()
    whole = add_half_(exact / scale.double()[:, None])
    return whole.clamp(least, most).to(torch.int8), scale


class TuneLinear(QuantisedLinear):
    """A linear layer with a low-bit frozen weight and trained scales.

    What is trained are gains, 1 at the start: of the scale of each output channel, and, with
    `input_scales`, of each input channel, a set for each expert.

    Parameters
    ----------
    base : nn.Linear
    name : str
    context : Context or None
        None: the same weight in floating point.
    bits : 4 or 8
    experts : int
        Shared by the layers of a model.
    input_scales : bool

    Raises
    ------
    ValueError
        `bits` or `experts` is out of range.
    """

    trains = "tuneqdm"
    values: Tensor
    scale: Tensor
    gain_in: nn.Parameter | None

    def __init__(
        self,
        base: nn.Linear,
        name: str,
        context: Context | None,
        *,
        bits: int,
        experts: Experts,
        input_scales: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(base, name, context, **options)
        values, scale = quantise_channels(self.weight.detach(), bits, f"{name}: W")
        # The integers take the place of the weight: what was rounded away is gone.
        self.weight = None
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)
        self.bits, self._experts = bits, experts
        like = {"device": values.device}
        self.gain_out = nn.Parameter(torch.ones(experts.count, self.out_features, **like))
        gains = torch.ones(experts.count, self.in_features, **like)
        self.gain_in = nn.Parameter(gains) if input_scales else None

    @property
    def weight_bits(self) -> int:
        """Bits that the frozen weight takes in memory."""
        return self.bits * self.values.numel()

    def _output(self, x: Tensor) -> Tensor:
        """Return the output without the bias; with experts, the first axis is of samples."""
        ranges = self.context.ranges if self.context else [None]
        keys = self.context.keys(x, self.name) if self.context else None
        if self._experts.count > 1:
            chosen = self._experts.of(x, self.name)
            keys = chosen * len(ranges) + (len(ranges) - 1 if keys is None else keys)

        def product(key: int, samples: Tensor) -> Tensor:
            expert, index = divmod(key, len(ranges)) if keys is not None else (0, -1)
            return self._rows(samples, expert, ranges[index])

        return by_key(keys, (x,), product)

    def _rows(self, x: Tensor, expert: int, context: Range | None) -> Tensor:
        """Return the output for samples that share an expert, without the bias."""
        rows = x.reshape(-1, self.in_features)
        d_in = None if self.gain_in is None else self.gain_in[expert]
        every_out = self.gain_out * self.scale
        d_out = every_out[expert]
        if context is None:
            y = (_scaled(rows, d_in) @ self.values.T.to(d_out.dtype) * d_out).to(x.dtype)
        else:
            name = self.name if self._experts.count == 1 else f"{self.name}[{expert}]"
            sets = tuple(
                each if each is None else _Sets(each.detach(), expert)
                for each in (self.gain_in, every_out)
            )
            weight = _Weight(self.values.T, self.bits, transposed=True)
            y = _Tune.apply(rows, d_in, d_out, sets, weight, name, context)
        return y.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Return sizes, bits and experts, for `repr`."""
        kind = "float" if self.context is None else "integer"
        return (
            f"{self.in_features} -> {self.out_features}, {kind} products, {self.bits}-bit weight, "
            f"{self._experts.count} experts"
        )


class Experts:
    """Which expert each sample of a batch takes: ``floor(t experts / T)`` of its time.

    Parameters
    ----------
    count : int
    times : Times

    Raises
    ------
    ValueError
        `count` is not from 1 to the number of times.
    """

    def __init__(self, count: int, times: Times) -> None:
        if not 1 <= count <= times.total:
            raise ValueError(f"experts must be from 1 to {times.total}, not {count}")
        self.count, self._times = count, times

    def of(self, x: Tensor, name: str) -> Tensor:
        """Return the expert of each sample of x (samples, ...).

        Raises
        ------
        ValueError
            As `Times.of`.
        """
        return (self._times.of(x, name) * self.count).long()


class _Scaled(NamedTuple):
    """The row copy of an operand whose columns were scaled.

    Members
    -------
    values : int8 (M, K)
    scale : float64 (M, 1)
        Real value of one step.
    weight : float64 (M, 1)
        What rows have to do with one another: scales without a factor that all share, exact.
    """

    values: Tensor
    scale: Tensor
    weight: Tensor


class _Sets(NamedTuple):
    """Scales of columns, float32 (experts, columns), of which one set is used."""

    all: Tensor
    expert: int

    @property
    def used(self) -> Tensor:
        """Return the set that is used."""
        return self.all[self.expert]

    def apply(
        self, left: Operand, context: Range, layer: str, scales: str, copy_name: str
    ) -> _Scaled:
        """Return the row copy of an operand whose columns are scaled on the chip.

        Raises
        ------
        NotFinite
            A scale is not; the message tells `layer` and `scales`.
        """
        if not bool(self.all.isfinite().all()):
            raise NotFinite(f"{layer}: {scales} is not finite: it holds NaN or an infinity")
        signs = torch.where(self.used < 0, -1, 1).to(torch.int8)
        entries = column_entries(self.all.abs())
        copy = context.engine.prescaled(left.values, signs, entries, self.expert)
        context.monitor.absmax(layer, copy_name, copy.maxima)
        # Of 24 bits each.
        weight = left.absmax * copy.maxima
        unit = self.used.abs().max().double() / (PRESCALE * left.limit * INT8_MAX)
        return _Scaled(copy.values, weight * unit, weight)


def _scaled(rows: Tensor, scales: Tensor | None) -> Tensor:
    """Return rows with scaled columns, in floating point; as they are without scales."""
    return rows if scales is None else rows * scales


class _Tune(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, d_in: Tensor | None, d_out: Tensor, sets: tuple[_Sets | None, _Sets],
        weight: _Weight, name: str, context: Range,
    ) -> Tensor:  # fmt: skip
        limit = levels(context.precision.activation_bits)
        host = quantise(x, Group.ROW, limit=limit, name=f"{name}: X")
        # The host's copy is what its scales of columns, all 1, would make of it.
        left = _Scaled(host.values, host.scale, host.absmax)
        if sets[0] is not None:
            left = sets[0].apply(host, context, name, "d_in", "P")
        sums, copy = weight.multiply(left, context, name, "forward")
        y = (sums.double() * left.scale * d_out).to(x.dtype)
        monitor = context.monitor
        monitor.absmax(name, "X", host.absmax)
        monitor.absmax(name, "U", copy.maxima)
        monitor.product(
            name, "Y", y, lambda: (_scaled(x.to(d_out.dtype), d_in) @ weight.real(d_out)) * d_out
        )
        ctx.save_for_backward(x, d_in, d_out)
        ctx.left, ctx.copy, ctx.weight, ctx.sets = left, copy, weight, sets
        ctx.name, ctx.context = name, context
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, d_in, d_out = ctx.saved_tensors
        name, context, monitor = ctx.name, ctx.context, ctx.context.monitor
        precision, weight = context.precision, ctx.weight
        limit, x_limit = levels(precision.gradient_bits), levels(precision.activation_bits)
        host = quantise(dy, Group.ROW, limit=limit, name=f"{name}: dY")
        left = ctx.sets[1].apply(host, context, name, "d_out", "G")
        sums, copy = weight.T.multiply(left, context, name, "backward")
        dx = _scaled(sums.double() * left.scale, d_in).to(x.dtype)
        monitor.absmax(name, "dY", host.absmax)
        monitor.absmax(name, "V", copy.maxima)
        monitor.product(name, "dX", dx, lambda: _scaled((dy * d_out) @ weight.real(d_out).T, d_in))
        g_in = g_out = None
        if ctx.needs_input_grad[1]:
            column = quantise(x, Group.COLUMN, limit=x_limit, name=f"{name}: X")
            g_in = _dots(context, column, copy, left).to(d_in.dtype)
            monitor.product(
                name, "d_in", g_in, lambda: (x * ((dy * d_out) @ weight.real(d_in).T)).sum(0)
            )
        if ctx.needs_input_grad[2]:
            column = quantise(dy, Group.COLUMN, limit=limit, name=f"{name}: dY")
            g_out = _dots(context, column, ctx.copy, ctx.left).to(d_out.dtype)
            monitor.product(
                name,
                "d_out",
                g_out,
                lambda: (dy * (_scaled(x.to(d_out.dtype), d_in) @ weight.real(d_out))).sum(0),
            )
        return dx, g_in, g_out, None, None, None, None


class _Weight(NamedTuple):
    """A frozen weight as it multiplies, int8 (K, N), the bits of its elements, and how it lies."""

    values: Tensor
    bits: int
    transposed: bool

    @property
    def T(self) -> _Weight:
        """The transpose, of the same memory."""
        return _Weight(self.values.T, self.bits, not self.transposed)

    def real(self, like: Tensor) -> Tensor:
        """Return the integers as floating point, for measures: a copy, so only where asked for."""
        return self.values.to(like.dtype)

    def multiply(
        self, left: _Scaled, context: Range, name: str, direction: str
    ) -> tuple[Tensor, Copy]:
        """Return the sums of a product, and their column copy in the unit of the largest row."""
        # Units are made of float32 values, whose ratios a float64 tells exactly.
        units = unit_entries(left.weight.float().double())
        seed, rounding = context.noise_seed(name, direction), context.precision.rounding
        return context.engine.rescaled(
            left.values, self.values, units, rounding, seed, weight_bits=self.bits,
            transposed=self.transposed,
        )  # fmt: skip


def _dots(context: Range, column: Operand, copy: Copy, left: _Scaled) -> Tensor:
    """Return dot products of columns in real values, float64 (columns,)."""
    dots = context.engine.column_dots(column.values, copy.values)
    step = left.scale.max() * copy.maxima / INT8_MAX
    return dots.double() * (column.scale * step)[0]
