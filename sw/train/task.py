"""What is trained: a model, how a loss is made of it, and what else than layers learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .adapt import CROSS_ATTENTION

__all__ = ["Losses", "Task"]

Losses = Callable[[torch.Generator], dict[str, Tensor]]
"""Draws a batch with the generator and returns scalars by name; ``loss`` is the one to make small,
the others are logged."""


@dataclass(eq=False)
class Task:
    """A fine-tuning task.

    Members
    -------
    name : str
    model : nn.Module
        It is adapted in place.
    losses : Losses
    match : sequence of str
        Patterns of the layers that train, see `sw.train.adapt.adapt`.
    frozen : sequence of str
        Patterns of the layers that are quantised only.
    attention : sequence of str
        Patterns of the modules whose two products of attention are in integers, too.
    alpha : float, optional
        Of LoRA; by default the rank, so that the update is not scaled.
    also : dict
        Parameters that train beside the layers, in floating point, by name: a modifier token.
    detach_first : bool
        See `sw.train.modules.LoraLinear`.
    total : int
        Steps of noise: times are from 0 to that, less one.

    Raises
    ------
    ValueError
        The model is no module, the losses cannot be called, or what trains beside the layers is no
        parameter; `adapt` checks the rest.
    """

    name: str
    model: nn.Module
    losses: Losses
    match: Sequence[str] = CROSS_ATTENTION
    frozen: Sequence[str] = ()
    attention: Sequence[str] = ()
    alpha: float | None = None
    also: dict[str, nn.Parameter] = field(default_factory=dict)
    detach_first: bool = False
    total: int = 1000

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise ValueError(f"model must be a torch.nn.Module, not {type(self.model).__name__}")
        if not callable(self.losses):
            raise ValueError(f"losses must be a function, not {type(self.losses).__name__}")
        for name, value in self.also.items():
            if not isinstance(value, nn.Parameter):
                raise ValueError(f"also: {name} must be a parameter, not {type(value).__name__}")
