"""Linear layers whose products are those of the accelerator, in the place of torch's own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..quantise import Group
from .context import Context, Range
from .functions import Low, linear, lora
from .operand import Operand, levels, quantise
from .precision import Trains
from .times import by_key

__all__ = ["FullLinear", "LoraLinear", "QuantisedLinear"]


class QuantisedLinear(nn.Module):
    """A linear layer with a frozen weight, in integers if there is a context.

    Parameters
    ----------
    base : nn.Linear
        Its parameters are taken over, and frozen.
    name : str
        Dotted name in the model.
    context : Context or None
        None: floating point.
    detach_first : bool
        No gradient goes through the first row of each sample, as in Custom Diffusion, where it
        belongs to the start token: x is (samples, rows, in) then.
    """

    trains: Trains | None = None

    def __init__(
        self,
        base: nn.Linear,
        name: str,
        context: Context | None,
        *,
        detach_first: bool = False,
    ) -> None:
        super().__init__()
        self.detach_first = detach_first
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.name, self.context = name, context
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self._made: dict[int, tuple[Any, Operand]] = {}

    def quantised(self, bits: int) -> Operand:
        """Return the integer copy of the weight, (in, out); made again when the weight has changed.

        Raises
        ------
        NotFinite
            The weight holds NaN or an infinity.
        """
        key = self.weight.data_ptr(), self.weight._version, self.weight.device
        if bits not in self._made or self._made[bits][0] != key:
            with torch.no_grad():
                copy = quantise(
                    self.weight.T, Group.TENSOR, limit=levels(bits), name=f"{self.name}: W"
                )
            self._made[bits] = key, copy
        return self._made[bits][1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for x (..., in).

        Raises
        ------
        ValueError
            The first row is to be detached, but x has no rows and samples.
        """
        y = self._output(x)
        y = y if self.bias is None else y + self.bias
        if not self.detach_first:
            return y
        if x.dim() != 3:
            raise ValueError(f"{self.name}: rows to detach need x of 3 axes, not of {x.dim()}")
        return torch.cat([y[:, :1].detach(), y[:, 1:]], dim=1)

    def _output(self, x: Tensor) -> Tensor:
        """Return the output without the bias."""
        keys = self.context.keys(x, self.name) if self.context else None

        def product(key: int, samples: Tensor) -> Tensor:
            context = self.context.ranges[key if keys is not None else -1] if self.context else None
            y = self._product(samples.reshape(-1, self.in_features), context)
            return y.reshape(*samples.shape[:-1], self.out_features)

        return by_key(keys, (x,), product)

    def _product(self, x: Tensor, context: Range | None) -> Tensor:
        """Return the output without the bias of a matrix of rows."""
        if context is None:
            return functional.linear(x, self.weight)
        quantised = self.quantised(context.precision.weight_bits)
        return linear(x, self.weight.T, quantised, self.name, context)

    def extra_repr(self) -> str:
        """Return sizes and arithmetic, for `repr`."""
        kind = "float" if self.context is None else "integer"
        return f"{self.in_features} -> {self.out_features}, {kind} products"


class FullLinear(QuantisedLinear):
    """A linear layer whose weight is trained; it is quantised again in every step."""

    trains = "full"

    def __init__(self, base: nn.Linear, name: str, context: Context | None, **options: Any) -> None:
        super().__init__(base, name, context, **options)
        self.weight.requires_grad_(True)


class LoraLinear(QuantisedLinear):
    """A linear layer with a frozen weight and a trained low-rank update beside it.

    ``Y = X.W^T + alpha/r (X.A^T).B^T + bias``, A (r, in) and B (out, r) as `peft` has them: A is
    uniform at the start (Kaiming, of slope sqrt 5), B zero.

    Parameters
    ----------
    rank : int
    alpha : float
    generator : torch.Generator
        A is drawn from it.

    Raises
    ------
    ValueError
        The rank is no whole number of at least 1, alpha no finite number above 0, or the weight is
        all zero.
    """

    trains = "lora"

    def __init__(
        self,
        base: nn.Linear,
        name: str,
        context: Context | None,
        *,
        rank: int,
        alpha: float,
        generator: torch.Generator,
        **options: Any,
    ) -> None:
        super().__init__(base, name, context, **options)
        if not isinstance(rank, int) or rank < 1:
            raise ValueError(f"rank must be a whole number of at least 1, not {rank!r}")
        if not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be a finite number above 0, not {alpha!r}")
        if not bool(self.weight.any()):
            raise ValueError(f"{name}: the weight is all zero, and cannot be the unit of an update")
        self.rank, self.alpha = rank, alpha
        like = {"device": self.weight.device, "dtype": torch.float32}
        bound = 1 / math.sqrt(self.in_features)
        a = torch.empty(rank, self.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(a.to(**like))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank, **like))

    @property
    def scaling(self) -> float:
        """alpha / r."""
        return self.alpha / self.rank

    def _product(self, x: Tensor, context: Range | None) -> Tensor:
        if context is None:
            a, b = (each.to(x.dtype) for each in (self.lora_A, self.lora_B))
            low_rank = functional.linear(functional.linear(x, a), b)
            return functional.linear(x, self.weight) + self.scaling * low_rank
        quantised = self.quantised(context.precision.weight_bits)
        low = Low(self.name, quantised, self.weight.T, self.scaling, context)
        return lora(x, self.lora_A.T, self.lora_B.T, low)

    def extra_repr(self) -> str:
        """Return sizes, arithmetic and rank, for `repr`."""
        return f"{super().extra_repr()}, rank {self.rank}"
