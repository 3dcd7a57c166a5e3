"""Adapters on disk, in the form of `peft`: safetensors, and a configuration beside them.

Metadata of the tensors, which `peft` leaves alone, say what weights the update was trained on: it
is worth nothing beside others.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..program_file import write_files
from .adapt import Adapted, check_tensors
from .modules import LoraLinear

__all__ = ["AdapterError", "load_adapter", "save_adapter"]

_TENSORS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_ALSO = "learned_tokens.safetensors"
_UNKNOWN = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
"""What `peft` may do that changes what the tensors mean."""
_BASE = "cdmqta.base"
"""Metadata: digests of the frozen weights by layer, as JSON."""
_BITS = "cdmqta.weight_bits"
"""Metadata: bits of the frozen weights; none as they were."""
_PREFIX = "base_model.model."
"""What `peft` puts before the names of the model's own modules."""


class AdapterError(ValueError):
    """An adapter cannot be read, or is not of this model."""


def save_adapter(
    adapted: Adapted, folder: Path, *, also: Mapping[str, Tensor] | None = None, base: str = ""
) -> None:
    """Write a LoRA adapter that `peft.PeftModel.from_pretrained` loads into the same model.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    also : dict of tensors, optional
        What trained beside the layers, such as the embedding of a modifier token, by name: written
        to a file of its own.
    base : str
        Name of the base model, for the configuration.

    Raises
    ------
    AdapterError
        The weights themselves were trained, and there is no adapter; or the folder cannot be made.
    ProgramFileError
        A file cannot be written; none is then.
    """
    layers = {name: layer for name, layer in adapted.trained.items()}
    if not all(isinstance(layer, LoraLinear) for layer in layers.values()):
        raise AdapterError("the weights themselves were trained: there is no adapter to save")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdapterError(f"cannot make {folder}: {error.strerror}") from None
    files = {
        folder / _TENSORS: save(_tensors(adapted), {"format": "pt"} | _base(adapted)),
        folder / _CONFIG: (json.dumps(_config(layers, base), indent=2) + "\n").encode(),
    }
    if also:
        plain = {name: value.detach().cpu().contiguous() for name, value in also.items()}
        files[folder / _ALSO] = save(plain)
    write_files(files)


def load_adapter(
    adapted: Adapted,
    folder: Path,
    *,
    also: Mapping[str, Tensor] | None = None,
    any_base: bool = False,
) -> None:
    """Put a saved adapter into a model that was adapted in the same way.

    Parameters
    ----------
    also : dict of tensors, optional
        Those that `save_adapter` was given; they are overwritten.
    any_base : bool
        Take it also where the frozen weights are not those that it was trained on: rounded to
        other bits, or to half precision. One that `peft` has saved does not tell its base, and is
        taken anyway.

    Raises
    ------
    AdapterError
        A file is missing or damaged, or of another rank, scaling, model or base. Nothing has
        changed.
    """
    config = _read_config(folder)
    for layer in adapted.trained.values():
        if not isinstance(layer, LoraLinear):
            raise AdapterError(f"the model has no LoRA that {folder} could be put into")
        for key, value in {"r": layer.rank, "lora_alpha": layer.alpha}.items():
            if config.get(key) != value:
                what = {"r": "rank", "lora_alpha": "alpha"}[key]
                raise AdapterError(
                    f"{folder} is an adapter of {what} {config.get(key)}, not {value}"
                )
    (found, metadata), tensors = _read_tensors(folder / _TENSORS), _tensors(adapted)
    extra = _read_tensors(folder / _ALSO)[0] if also else {}
    try:
        check_tensors(tensors, found, os.fspath(folder))
        check_tensors(dict(also or {}), extra, os.fspath(folder))
    except ValueError as error:
        raise AdapterError(str(error)) from None
    if not any_base:
        _check_base(folder, metadata, _base(adapted))
    with torch.no_grad():
        for name, parameter in _named(adapted).items():
            parameter.copy_(found[name])
        for name, parameter in (also or {}).items():
            parameter.copy_(extra[name])


def _named(adapted: Adapted) -> dict[str, Tensor]:
    """Return the trained parameters by the names of `peft`."""
    return {f"{_PREFIX}{name}.weight": value for name, value in adapted.named_parameters()}


def _tensors(adapted: Adapted) -> dict[str, Tensor]:
    return {n: value.detach().cpu().contiguous() for n, value in _named(adapted).items()}


def _config(layers: Mapping[str, Any], base: str) -> dict[str, Any]:
    first = next(iter(layers.values()))
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": list(layers),
    }


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise AdapterError(f"{path} is no JSON") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterError(f"{path} is not of a LoRA adapter")
    for key in _UNKNOWN:
        if config.get(key):
            raise AdapterError(f"{path} has {key} {config[key]!r}, which is not supported")
    return config


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata of a file."""
    try:
        data = path.read_bytes()
        tensors = load(data)
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error.strerror}") from None
    except SafetensorError:
        raise AdapterError(f"{path} is damaged, or no safetensors file") from None
    # The header, which is whole if the tensors are: its length in 8 bytes, and JSON.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__") or {}


def _base(adapted: Adapted) -> dict[str, str]:
    """Return the metadata that tell the frozen weights below an update."""
    digests = {}
    for name, layer in adapted.trained.items():
        # In float32, so that it does not matter in what type a weight of few digits is held.
        weight = layer.weight.detach().float().cpu().contiguous()
        digests[name] = hashlib.sha256(weight.numpy()).hexdigest()[:16]
    return {_BASE: json.dumps(digests), _BITS: str(adapted.method.weight_bits or "none")}


def _check_base(folder: Path, metadata: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Refuse an adapter whose base is known, and is another."""
    if _BASE not in metadata:
        return
    try:
        theirs, bits = dict(json.loads(metadata[_BASE])), metadata[_BITS]
    except (KeyError, TypeError, ValueError):
        raise AdapterError(f"{folder / _TENSORS} is damaged: its metadata tell no base") from None
    for name, digest in json.loads(own[_BASE]).items():
        if theirs.get(name) != digest:
            bits = " and ".join(
                "as they were" if each == "none" else f"of {each} bits"
                for each in (bits, own[_BITS])
            )
            raise AdapterError(
                f"{folder} is an adapter of another base: its weight of {name} differs (weights "
                f"there and here: {bits}); any_base takes it all the same"
            )
