"""A training step as the products that the array runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ModelError", "Product", "Role", "TrainingStep", "one_line"]


class ModelError(ValueError):
    """A model, or what is asked of it, that gives no training step; the message is one line."""


def one_line(error: BaseException) -> str:
    """Return an error of code that is not the program's own, in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


class Role(StrEnum):
    """What a product is to its layer: Y = X.W, or with LoRA Y = X.W + (X.A).B^T."""

    FORWARD = "forward"
    """X.W"""
    DX = "dx"
    """dY.W^T"""
    DW = "dw"
    """X^T.dY"""
    LORA_H = "h"
    """X.A"""
    LORA_UP = "up"
    """H.B^T, added to Y"""
    DH = "dh"
    """dY.B"""
    DB = "db"
    """dY^T.H"""
    DA = "da"
    """X^T.dH"""
    LORA_DX = "dx_up"
    """dH.A^T, added to dX"""
    QK = "qk"
    """Q.K^T, the scores S of an attention head"""
    PV = "pv"
    """P.V, where P is the softmax of S"""
    DP = "dp"
    """dO.V^T"""
    DV = "dv"
    """P^T.dO"""
    DQ = "dq"
    """dS.K"""
    DK = "dk"
    """Q^T.dS, which is dK^T"""

    @property
    def forward(self) -> bool:
        """Whether it runs before the loss is known."""
        return self in (Role.FORWARD, Role.LORA_H, Role.LORA_UP, Role.QK, Role.PV)

    @property
    def gradient(self) -> bool:
        """Whether its result is the gradient of weights, for the optimiser."""
        return self in (Role.DW, Role.DA, Role.DB)


@dataclass(frozen=True)
class Product:
    """C (M x N) = A (M x K) . B (K x N), all INT8, sums in int32.

    Members
    -------
    site : str
        Path of the layer in the model, such as ``mid_block.attentions.0.proj_in``.
    role : Role
    m, k, n : int
        Rows of A, length of the sums, columns of B.
    count : int
        Times it runs in a step: heads x batch for products of attention, the number of equal
        pieces where a layer falls into such, otherwise 1.
    """

    site: str
    role: Role
    m: int
    k: int
    n: int
    count: int = 1

    @property
    def gradient(self) -> bool:
        """Whether C stays int32 sums; every other C becomes INT8 for the product that reads it."""
        return self.role.gradient

    @property
    def macs(self) -> int:
        """Multiplications of a step."""
        return self.m * self.k * self.n * self.count


@dataclass(frozen=True)
class TrainingStep:
    """All products of one step of training.

    Members
    -------
    name, reading : str
        Of the model, and which of its layers run.
    batch : int
    rank : int or None
        Of LoRA, the largest if there are several; None if the weights themselves are trained.
    products : tuple of Product
        In an order in which they can run: forwards, then backwards.
    parameters : int
        All parameters of the model without LoRA, biases and norms too.
    weights : int
        Those of them that products read: of linear layers and convolutions, without biases.
    """

    name: str
    reading: str
    batch: int
    rank: int | None
    products: tuple[Product, ...]
    parameters: int
    weights: int

    @property
    def trained(self) -> int:
        """Weights of which the step makes the gradient."""
        sizes = {(p.site, p.role): p.m * p.n * p.count for p in self.products if p.gradient}
        return sum(sizes.values())

    @property
    def sites(self) -> int:
        """Layers of which the step trains something."""
        return len({product.site for product in self.products if product.gradient})

    @property
    def macs(self) -> int:
        """Multiplications of the step."""
        return sum(product.macs for product in self.products)

    @property
    def forward_macs(self) -> int:
        """Multiplications before the loss is known."""
        return sum(product.macs for product in self.products if product.role.forward)
