"""Models by name: descriptions that come with the program, and functions that make a model."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .layers import Model, Reading
from .product import ModelError, TrainingStep, one_line
from .torch_model import trace
from .training import training_step
from .unet import DESCRIPTIONS, UNet
from .walk import walk

__all__ = ["call_named", "load_model", "load_step"]


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

    Parameters
    ----------
    name : str
        One of `DESCRIPTIONS`, or ``module:function``. The function is called without arguments and
        returns a torch.nn.Module, a pair of one and its example inputs, or a `UNet`. Modules in
        the present folder are found.

    Raises
    ------
    ModelError
        There is no such model, the function fails, or returns something else.
    """
    if name in DESCRIPTIONS:
        return walk(DESCRIPTIONS[name])
    module, separator, function = name.partition(":")
    if not (separator and module and function):
        accepted = ", ".join(DESCRIPTIONS)
        raise ModelError(f"model must be one of {accepted}, or module:function, not {name!r}")
    with _present_folder():
        made = _call(name)
        return walk(made) if isinstance(made, UNet) else _traced(name, made)


def call_named(name: str) -> Any:
    """Return what a function returns, given as ``module:function``.

    Modules in the present folder are found.

    Raises
    ------
    ModelError
        There is no such function, or it fails.
    """
    with _present_folder():
        return _call(name)


def _call(name: str) -> Any:
    try:
        function = pkgutil.resolve_name(name)
    except (Exception, SystemExit) as error:  # the module is the user's, and may do anything
        raise ModelError(f"{name}: cannot be imported: {one_line(error)}") from None
    if not callable(function):
        raise ModelError(f"{name}: must be a function, not {type(function).__name__}")
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name}: fails when called: {one_line(error)}") from None


@contextmanager
def _present_folder() -> Iterator[None]:
    """Let modules of the present folder be imported, as `python -m` does."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module may have taken it away itself
            sys.path.remove(folder)


def _traced(name: str, made: Any) -> Model:
    module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    try:
        from torch.nn import Module
    except ImportError:
        raise ModelError(
            f"{name}: needs torch, which is not installed: pip install 'cdmqta[golden]'"
        ) from None
    if not isinstance(module, Module):
        raise ModelError(
            f"{name}: must return a torch.nn.Module, (module, example inputs) or a UNet, "
            f"not {type(module).__name__}"
        )
    return trace(name, module, inputs)
