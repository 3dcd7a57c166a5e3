"""How the products of a layer are quantised, and the ways of training that have names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..gemm import ROUNDINGS, Rounding
from ..quantise import COLUMN_COPIES, ColumnCopies
from .operand import levels

__all__ = ["METHODS", "SCALES", "Method", "Precision", "Scales", "Trains", "method_named"]

Scales = Literal["channel", "tensor"]
"""What shares a scale in activations and gradients.

channel: a row or a column, whichever the product does not reduce, so that there are two copies of
each. tensor: everything, in one copy.
"""
SCALES: tuple[str, ...] = get_args(Scales)

Trains = Literal["lora", "full"]
"""What is trained of a layer: a low-rank update beside the frozen weight, or the weight."""


@dataclass(frozen=True)
class Precision:
    """How the operands of a layer's products are made integers.

    Members
    -------
    scales : "channel" or "tensor"
    column_copies : "weighted" or "rescaled"
        See `sw.quantise.ColumnCopies`; of ``channel`` scales.
    rounding : "nearest" or "stochastic"
        Of the INT8 copies that are made of sums; what the host quantises is rounded to nearest.
    weight_bits, activation_bits, gradient_bits : int, 2 to 8
        Of operands that the host quantises: W, A and B; X; dY.

    Raises
    ------
    ValueError
        A member is not as above.
    """

    scales: Scales = "channel"
    column_copies: ColumnCopies = "weighted"
    rounding: Rounding = "nearest"
    weight_bits: int = 8
    activation_bits: int = 8
    gradient_bits: int = 8

    def __post_init__(self) -> None:
        for name, accepted in (
            ("scales", SCALES),
            ("column_copies", COLUMN_COPIES),
            ("rounding", ROUNDINGS),
        ):
            value = getattr(self, name)
            if value not in accepted:
                raise ValueError(f"{name} must be one of {'|'.join(accepted)}, not {value!r}")
        for bits in (self.weight_bits, self.activation_bits, self.gradient_bits):
            levels(bits)


@dataclass(frozen=True)
class Method:
    """A way to train.

    Members
    -------
    trains : "lora" or "full"
    precision : Precision or None
        None for float32.
    """

    trains: Trains = "lora"
    precision: Precision | None = None


METHODS: dict[str, Method] = {
    "fp32": Method(),
    "int8": Method(precision=Precision()),
    "int8-tensor": Method(precision=Precision(scales="tensor")),
    "int8-stochastic": Method(precision=Precision(rounding="stochastic")),
    "fp32-full": Method("full"),
    "int8-full": Method("full", Precision()),
}
"""Ways to train that have a name."""


def method_named(name: str) -> Method:
    """Return a way to train.

    Raises
    ------
    ValueError
        There is none of that name.
    """
    if name not in METHODS:
        raise ValueError(f"method must be one of {'|'.join(METHODS)}, not {name!r}")
    return METHODS[name]
