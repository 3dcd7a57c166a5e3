"""The float tensors of a step: weights by their names in checkpoints, and what it works on."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..image import InputError, as_array
from .shape import Shape

__all__ = [
    "TEXT_INPUT",
    "WeightsError",
    "check_tensors",
    "frozen_shapes",
    "input_shapes",
    "latent_input",
    "load_weights",
    "lora_names",
    "lora_shapes",
    "random_tensors",
    "tensor_shapes",
    "weight_name",
]

TEXT_INPUT = "text"
"""The text that all sites read: (batch, tokens, width)."""
_PREFIXES = ("", "base_model.model.")
"""In front of the names in a checkpoint; the second is what peft writes."""
_FLOATS = (np.float16, np.float32, np.float64)

Shapes = dict[str, tuple[int, ...]]


class WeightsError(ValueError):
    """A file of weights that does not hold those of a step; the message is one line."""


def weight_name(path: str) -> str:
    """Return the name of the weight of a linear layer, (out, in)."""
    return f"{path}.weight"


def lora_names(path: str) -> tuple[str, str]:
    """Return the names of LoRA's A, (rank, in), and B, (out, rank), as peft saves them."""
    return f"{path}.lora_A.weight", f"{path}.lora_B.weight"


def latent_input(path: str) -> str:
    """Return the name of what a cross-attention module reads: (batch, tokens, width)."""
    return f"{path}.input"


def frozen_shapes(shape: Shape) -> Shapes:
    """Return the weights that are the same in every step, by name."""
    found: Shapes = {
        weight_name(site.path): (site.outputs, shape.text_width) for site in shape.sites
    }
    for module in shape.modules:
        found[weight_name(module.query)] = module.channels, module.inputs
        found[weight_name(module.out)] = module.outputs, module.channels
    return found


def lora_shapes(shape: Shape) -> Shapes:
    """Return the weights that are trained, by name."""
    found: Shapes = {}
    for site in shape.sites:
        if site.rank:
            down, up = lora_names(site.path)
            found |= {down: (site.rank, shape.text_width), up: (site.outputs, site.rank)}
    return found


def input_shapes(shape: Shape) -> Shapes:
    """Return what a step works on, by name."""
    found: Shapes = {TEXT_INPUT: (shape.batch, shape.text_tokens, shape.text_width)}
    for module in shape.modules:
        found[latent_input(module.path)] = shape.batch, module.tokens, module.inputs
    return found


def tensor_shapes(shape: Shape) -> Shapes:
    """Return every float tensor of a step by name: frozen, trained, and inputs."""
    return frozen_shapes(shape) | lora_shapes(shape) | input_shapes(shape)


def check_tensors(
    shape: Shape, given: Mapping[str, Any], *, kept: Iterable[str] = (), fixed: bool = False
) -> dict[str, np.ndarray]:
    """Return tensors in float64, all that are missing or do not fit refused.

    Parameters
    ----------
    given : dict of arrays or torch tensors
    kept : iterable of str
        Those that are there from the step before, and may be left out.
    fixed : bool
        Whether frozen weights are in the device's DRAM already, and cannot be given again.

    Raises
    ------
    InputError
        Names the tensor, and what it must be.
    """
    expected, frozen, kept = tensor_shapes(shape), frozen_shapes(shape), frozenset(kept)
    for name in given:
        if name not in expected:
            raise InputError(f"the step has no tensor {name!r}; it takes: {_some(expected)}")
        if fixed and name in frozen:
            raise InputError(f"tensor {name!r} is frozen: it is given with the first step only")
    missing = [name for name in expected if name not in given and name not in kept]
    if missing:
        raise InputError(f"tensor {missing[0]!r} of the step is missing{_more(missing)}")
    return {name: _fitting(name, expected[name], value) for name, value in given.items()}


def _some(names: Iterable[str]) -> str:
    """Return names, of many only the first."""
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _more(missing: list[str]) -> str:
    return f", and {len(missing) - 1} more" if len(missing) > 1 else ""


def _fitting(name: str, shape: tuple[int, ...], value: Any) -> np.ndarray:
    array = as_array(name, value)
    if array.dtype not in _FLOATS:
        raise InputError(f"tensor {name!r} must be float, not {array.dtype}")
    if array.shape != shape:
        raise InputError(f"tensor {name!r} must be {_text(shape)}, not {_text(array.shape)}")
    exact = array.astype(np.float64)
    if not np.isfinite(exact).all():
        raise InputError(f"tensor {name!r} has values that are not finite")
    return exact


def _text(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def load_weights(file: str | os.PathLike[str], shape: Shape) -> dict[str, np.ndarray]:
    """Read weights of a step from a safetensors file, by name.

    The file holds the frozen weights, the LoRA weights, or both; what else is in it is passed over.
    Names may have peft's ``base_model.model.`` in front, and ``.base_layer`` before ``.weight``.

    Returns
    -------
    dict of float arrays
        All frozen weights, all LoRA weights, or both.

    Raises
    ------
    WeightsError
        The file is none, lacks some of the weights, or has one of another shape.
    """
    from safetensors import SafetensorError, safe_open

    try:
        Path(file).open("rb").close()  # whose errors say more
        with safe_open(file, framework="numpy") as opened:
            places = _places(opened.keys(), tensor_shapes(shape))
            groups = [frozen_shapes(shape), lora_shapes(shape)]
            wanted = [group for group in groups if group.keys() & places.keys()]
            if not wanted:
                raise WeightsError(
                    f"{file} holds none of the step's weights, such as {next(iter(groups[0]))} "
                    f"({_text(next(iter(groups[0].values())))})"
                )
            return {
                name: _loaded(file, opened, name, places.get(name), size)
                for group in wanted
                for name, size in group.items()
            }
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error.strerror or error}") from None
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{file} is no safetensors file: {reason}") from None


def _places(found: Iterable[str], expected: Iterable[str]) -> dict[str, str]:
    """Return the names in a file of what is expected."""
    found, places = frozenset(found), {}
    for wanted in expected:
        inner = wanted.removesuffix(".weight") + ".base_layer.weight"
        names = [prefix + each for prefix in _PREFIXES for each in (wanted, inner)]
        if name := next((each for each in names if each in found), None):
            places[wanted] = name
    return places


def _loaded(
    file: object, opened: Any, name: str, place: str | None, shape: tuple[int, ...]
) -> np.ndarray:
    if place is None:
        raise WeightsError(f"{file} lacks {name} ({_text(shape)})")
    described = opened.get_slice(place)
    given = tuple(described.get_shape())
    if given != shape:
        raise WeightsError(f"{file}: {place} must be {_text(shape)}, not {_text(given)}")
    if described.get_dtype() not in ("F16", "F32", "F64"):
        raise WeightsError(f"{file}: {place} must be F16, F32 or F64, not {described.get_dtype()}")
    return opened.get_tensor(place)


def random_tensors(
    shape: Shape, seed: int = 0, given: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return what `given` holds, and all other tensors of a step made from a seed, in float32.

    Weights are Gaussian with deviation 1/sqrt(inputs), the text and latent inputs with 1. B, which
    begins at zero in training, has a tenth of a weight's deviation, so that every product has work.
    """
    made = dict(given or {})
    inputs = input_shapes(shape)
    ups = {lora_names(site.path)[1] for site in shape.sites}
    for name, size in tensor_shapes(shape).items():
        if name in made:
            continue
        # A stream of its own for each: none depends on which others are given.
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        array = rng.standard_normal(size, np.float32)
        if name not in inputs:
            array *= np.float32((0.1 if name in ups else 1.0) / math.sqrt(size[-1]))
        made[name] = array
    return made
