"""How the products of a layer are quantised, and the ways of training that have names."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from ..gemm import ROUNDINGS, Rounding
from ..quantise import COLUMN_COPIES, ColumnCopies
from .operand import levels

__all__ = [
    "METHODS",
    "PRECISIONS",
    "SCALES",
    "SCHEDULES",
    "Method",
    "Precision",
    "Scales",
    "Trains",
    "method_named",
]

Scales = Literal["channel", "tensor"]
"""What shares a scale in activations and gradients.

channel: a row or a column, whichever the product does not reduce, so that there are two copies of
each. tensor: everything, in one copy.
"""
SCALES: tuple[str, ...] = get_args(Scales)

Trains = Literal["lora", "full", "tuneqdm"]
"""What is trained of a layer: a low-rank update beside the frozen weight, the weight, or the scales
of a frozen weight of few bits (`sw.train.tune`)."""


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
    trains : "lora", "full" or "tuneqdm"
    precision : Precision or None
        None for float32.
    weight_bits : 4, 8 or None
        Of a frozen weight in memory, with a scale for each output channel; None: as it is.
    experts : int
        Sets of scales, for parts of the noise schedule, of TuneQDM.
    input_scales : bool
        Whether TuneQDM has scales of input channels, too.
    schedule : tuple of (float, Precision)
        Arithmetic of samples with less noise: for times t / T below each limit, in ascending order
        between 0 and 1; `precision` is that of the others.

    Raises
    ------
    ValueError
        The members make no sense together.
    """

    trains: Trains = "lora"
    precision: Precision | None = None
    weight_bits: int | None = None
    experts: int = 1
    input_scales: bool = True
    schedule: tuple[tuple[float, Precision], ...] = ()

    def __post_init__(self) -> None:
        limits = [0.0, *(limit for limit, _ in self.schedule), 1.0]
        if any(low >= high for low, high in pairwise(limits)):
            raise ValueError(
                f"limits of a schedule must ascend between 0 and 1, not {limits[1:-1]}"
            )
        if self.schedule and self.precision is None:
            raise ValueError("a schedule of integers needs a precision for the rest of the times")
        if self.weight_bits not in (None, 4, 8):
            raise ValueError(f"weight_bits must be 4 or 8, not {self.weight_bits}")
        if self.trains == "tuneqdm":
            if self.weight_bits is None:
                raise ValueError("tuneqdm needs weight_bits: it trains the scales of such a weight")
            if self.precision is not None and self.precision.scales == "tensor":
                raise ValueError("tuneqdm needs scales by channel: it trains them")
        elif self.experts != 1 or not self.input_scales:
            raise ValueError(f"experts and input_scales are of tuneqdm, not of {self.trains}")
        if self.trains == "full" and self.weight_bits is not None:
            raise ValueError("weight_bits are of a frozen weight, and full training has none")


def _bits(weight: int, activation: int, gradient: int) -> Precision:
    return Precision(weight_bits=weight, activation_bits=activation, gradient_bits=gradient)


_SIX, _FOUR = _bits(6, 6, 6), _bits(4, 4, 4)

PRECISIONS: dict[str, Precision | None] = {
    "fp32": None,
    "int8": Precision(),
    "int8-tensor": Precision(scales="tensor"),
    "int8-stochastic": Precision(rounding="stochastic"),
    "int6": _SIX,
    "int4": _FOUR,
    "int4-weights": _bits(4, 8, 8),
    "int4-activations": _bits(8, 4, 8),
    "int4-gradients": _bits(8, 8, 4),
}
"""Arithmetic by name; ``intN`` have N bits in all operands that the host quantises, or in some."""

SCHEDULES: dict[str, tuple[Precision, tuple[tuple[float, Precision], ...]]] = {
    "int8-low-noise": (_FOUR, ((1 / 3, Precision()), (2 / 3, _SIX))),
    "int8-high-noise": (Precision(), ((1 / 3, _FOUR), (2 / 3, _SIX))),
}
"""Arithmetic by name that differs by noise: eight bits where it says, six in between, and four at
the other end; precision and schedule of a `Method`."""

METHODS: dict[str, Method] = {
    **{name: Method(precision=precision) for name, precision in PRECISIONS.items()},
    "fp32-full": Method("full"),
    "int8-full": Method("full", Precision()),
    "int8-4bit": Method(precision=Precision(), weight_bits=4),
    "fp32-tuneqdm": Method("tuneqdm", weight_bits=4, experts=4),
    "int8-tuneqdm": Method("tuneqdm", Precision(), weight_bits=4, experts=4),
    "int8-tuneqdm-8bit": Method("tuneqdm", Precision(), weight_bits=8, experts=4),
    "int8-tuneqdm-one": Method("tuneqdm", Precision(), weight_bits=4),
    "int8-tuneqdm-out": Method(
        "tuneqdm", Precision(), weight_bits=4, experts=4, input_scales=False
    ),
    **{
        name: Method(precision=precision, schedule=schedule)
        for name, (precision, schedule) in SCHEDULES.items()
    },
}
"""Ways to train that have a name: ``one`` is of one expert, ``out`` of scales of outputs only."""


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
