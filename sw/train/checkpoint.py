"""Checkpoints: the whole state of a run in one file, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..program_file import write_file
from .adapt import Adapted

__all__ = ["CheckpointError", "fingerprint", "read", "write"]

_VERSION = 2
_KEYS = {"version", "identity", "step", "adapted", "also", "optimiser", "history"}


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to something else."""


def fingerprint(adapted: Adapted, also: Iterable[Tensor] = ()) -> str:
    """Return a digest of what a model is made of: its layers, its tensors, and frozen values.

    Parameters
    ----------
    also : iterable of Tensor
        What trains beside the layers.
    """
    value = hashlib.sha256()
    for layer in (*adapted.trained.values(), *adapted.frozen.values()):
        value.update(f"{layer.name} {type(layer).__name__} {layer.detach_first};".encode())
    value.update(f"attention {' '.join(adapted.attention)};".encode())
    trains = {each.data_ptr() for each in (*adapted.parameters(), *also)}
    for name, tensor in adapted.model.state_dict().items():
        value.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        if tensor.numel() and tensor.data_ptr() not in trains:
            value.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return value.hexdigest()[:16]


def write(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint in the place of the one before.

    Parameters
    ----------
    identity : dict
        What a run must have in common with it to go on: plain values by name.
    state : dict
        ``step``, ``adapted``, ``also``, ``optimiser`` and ``history``: tensors and plain values.

    Raises
    ------
    ProgramFileError
        It cannot be written; the one before is as it was.
    """
    buffer = io.BytesIO()
    torch.save({"version": _VERSION, "identity": identity, **state}, buffer)
    write_file(os.fspath(path), buffer.getvalue())


def read(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint.

    Raises
    ------
    CheckpointError
        The file is no checkpoint, or damaged, or of another version, or of another model or run:
        the message names what differs.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile, ValueError):
        raise CheckpointError(f"{path} is no checkpoint, or is damaged") from None
    if not isinstance(state, dict) or "version" not in state:
        raise CheckpointError(f"{path} is no checkpoint of a training run")
    if state["version"] != _VERSION:
        raise CheckpointError(
            f"{path} is a checkpoint of version {state['version']}; accepted: {_VERSION}"
        )
    if missing := _KEYS - state.keys():
        raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))}")
    if not isinstance(state["identity"], dict):
        raise CheckpointError(f"{path} does not say what run it is of")
    for key, own in identity.items():
        if (other := state["identity"].get(key)) != own:
            raise CheckpointError(f"{path} is of another run: its {key} is {other}, not {own}")
    return state
