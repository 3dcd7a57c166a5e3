"""A model as its layers, in the order they run: what a step is derived from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from math import prod

__all__ = ["Dense", "Layer", "Model", "Other", "Pair", "Reading"]


class Reading(StrEnum):
    """Which layers "one training step" means; each reading holds those before it."""

    KV = "kv"
    """K and V of cross-attention."""
    XATTN = "xattn"
    """The cross-attention modules: q, k, v, scores, values, out."""
    TRANSFORMER = "transformer"
    """The transformers around them."""
    UNET = "unet"
    """Everything."""

    def holds(self, other: Reading) -> bool:
        """Tell whether what belongs to `other` belongs to this one."""
        order = list(Reading)
        return order.index(other) <= order.index(self)


@dataclass(frozen=True)
class Dense:
    """A linear layer or a convolution: Y (rows x outputs) = X (rows x reduction) . W.

    The rows of a convolution are places of its output, its X is im2col of its input.

    Members
    -------
    path : str
    rows : int
        Of one sample.
    inputs, outputs : int
        Channels.
    reading : Reading
        The smallest one that holds it.
    kernel, stride : tuple of int
        Of a convolution, along each axis; a linear layer has none.
    groups : int
        The channels fall into so many groups, each a product of its own.
    bias : bool
    conditioning : bool
        Its input depends neither on the sample nor on the text: it is made of the time step.
    rank : int or None
        Of LoRA layers that are in the model already.
    source : str
        Where its input comes from, if that is known; those of one tensor are equal. It is no part
        of what a layer is: equal layers may have different ones.
    """

    path: str
    rows: int
    inputs: int
    outputs: int
    reading: Reading
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = True
    conditioning: bool = False
    rank: int | None = None
    source: str = field(default="", compare=False)

    @property
    def reduction(self) -> int:
        """Length of the sums of one group."""
        return self.inputs // self.groups * prod(self.kernel)

    @property
    def columns(self) -> int:
        """Outputs of one group."""
        return self.outputs // self.groups

    @property
    def weights(self) -> int:
        """Elements of W."""
        return self.groups * self.reduction * self.columns

    @property
    def parameters(self) -> int:
        """Elements of W and of the bias."""
        return self.weights + self.bias * self.outputs

    def taps(self) -> Iterator[int]:
        """Yield, for each phase of the stride, how many taps of the kernel reach an input there.

        dX of a convolution is a convolution of dY. With a stride, inputs fall into phases, one for
        each remainder of the position; those of a phase see the same few taps.
        """
        axes = zip(self.kernel, self.stride, strict=True)
        reach = [[len(range(phase, size, step)) for phase in range(step)] for size, step in axes]
        yield from (count for phase in product(*reach) if (count := prod(phase)))


@dataclass(frozen=True)
class Pair:
    """A product of two activations in attention: scores Q.K^T or values P.V.

    Members
    -------
    path : str
        Of the attention module.
    scores : bool
        Q.K^T; otherwise P.V.
    m, k, n : int
        As of a product.
    count : int
        Heads.
    reading : Reading
        The smallest one that holds it.
    right : str
        Path of the layer that makes the right operand, if that is known: as `Dense.source`.
    other : tuple of str
        What is between it and the products before, beside the softmax of the scores, and what is
        not there of that, in words.
    """

    path: str
    scores: bool
    m: int
    k: int
    n: int
    count: int
    reading: Reading
    right: str = field(default="", compare=False)
    other: tuple[str, ...] = field(default=(), compare=False)

    @property
    def parameters(self) -> int:
        """None."""
        return 0


@dataclass(frozen=True)
class Other:
    """Parameters that no product reads, of a norm for instance."""

    path: str
    parameters: int


Layer = Dense | Pair | Other


@dataclass(frozen=True)
class Model:
    """Layers in the order they run. One that runs twice is there twice, its weights count once."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def dense(self) -> list[Dense]:
        """Linear layers and convolutions."""
        return [layer for layer in self.layers if isinstance(layer, Dense)]

    @property
    def parameters(self) -> int:
        """All parameters."""
        return sum({layer.path: layer.parameters for layer in self.layers
                    if not isinstance(layer, Pair)}.values())  # fmt: skip

    @property
    def weights(self) -> int:
        """Parameters that products read: those of linear layers and convolutions less biases."""
        return sum({layer.path: layer.weights for layer in self.dense}.values())
