"""Models by name: descriptions that come with the program."""

from __future__ import annotations

from .layers import Model, Reading
from .product import ModelError, TrainingStep
from .training import training_step
from .unet import DESCRIPTIONS
from .walk import walk

__all__ = ["load_model", "load_step"]


def load_step(
    model: str,
    reading: str = Reading.XATTN,
    batch: int = 1,
    rank: int | None = None,
    full: bool = False,
) -> TrainingStep:
    """Return the products of one training step of a model by name.

    Parameters are those of `training_step`, the name that of `load_model`.

    Raises
    ------
    ModelError
        As `load_model` and `training_step`.
    """
    return training_step(load_model(model), reading, batch, rank, full)


def load_model(name: str) -> Model:
    """Return the layers of a model by name.

    Raises
    ------
    ModelError
        There is no such model.
    """
    if name in DESCRIPTIONS:
        return walk(DESCRIPTIONS[name])
    accepted = ", ".join(DESCRIPTIONS)
    raise ModelError(f"model must be one of {accepted}, or module:function, not {name!r}")
