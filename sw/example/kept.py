"""Trained models in the user's cache: made once, read again, and made anew if damaged."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from sim.cache import digest, lock, place
from sim.toolchain import cache_folder

from .size import Size

__all__ = ["Progress", "frozen", "kept", "kept_folder", "seeded"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, steps done, and steps in all."""

Module = TypeVar("Module", bound=nn.Module)

_MODEL, _SUM = "model.safetensors", "model.sha256"


def seeded(make: Callable[[], Module], seed: int) -> Module:
    """Return a module whose parameters depend on the seed only; torch's own seed stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def frozen(module: Module) -> Module:
    """Return the module, none of whose parameters is to be trained."""
    return module.requires_grad_(False).eval()


def kept_folder(name: str, size: Size, modules: Sequence[str]) -> Path:
    """Return where a model is kept, by all that it depends on.

    Parameters
    ----------
    name : str
        Of the model.
    size : Size
        Its sizes.
    modules : sequence of str
        Names of the modules of this package that make it.
    """
    here = Path(__file__).parent
    sources = [here / f"{module}.py" for module in sorted(modules)]
    facts = [name, repr(asdict(size)), torch.__version__]
    return cache_folder() / "example" / f"{name}-{digest(facts, sources)}"


def kept(folder: Path, model: nn.Module, make: Callable[[], None]) -> None:
    """Load a model's parameters, or, where there are none that are whole, make and keep them.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    model : nn.Module
        Takes them.
    make : callable
        Trains the model in place.
    """
    with lock(folder):
        if _load(folder, model):
            return
        shutil.rmtree(folder, ignore_errors=True)
        make()
        data = save({name: value.contiguous() for name, value in model.state_dict().items()})
        with tempfile.TemporaryDirectory() as work:
            files = [Path(work, _MODEL), Path(work, _SUM)]
            files[0].write_bytes(data)
            files[1].write_text(hashlib.sha256(data).hexdigest() + "\n")
            place(files, folder)


def _load(folder: Path, model: nn.Module) -> bool:
    """Load what is kept; return whether it was whole."""
    state = _state(folder)
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    if {name: value.shape for name, value in state.items()} != wanted:
        return False
    model.load_state_dict(state)
    return True


def _state(folder: Path) -> dict[str, Tensor]:
    try:
        data = (folder / _MODEL).read_bytes()
        if (folder / _SUM).read_text().strip() != hashlib.sha256(data).hexdigest():
            return {}
        return load(data)
    except (OSError, UnicodeDecodeError, SafetensorError):
        return {}
