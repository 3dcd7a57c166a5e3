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
    also : dict
        Parameters that train beside the layers, in floating point, by name: a modifier token.
    detach_first : bool
        See `sw.train.modules.LoraLinear`.
    """

    name: str
    model: nn.Module
    losses: Losses
    match: Sequence[str] = CROSS_ATTENTION
    frozen: Sequence[str] = ()
    also: dict[str, nn.Parameter] = field(default_factory=dict)
    detach_first: bool = False
