"""A torch module as layers: it runs once, on shapes alone where that is possible."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .classify import layers_of
from .layers import Model
from .product import ModelError, one_line
from .record import Call, Recorder, tensors_in

__all__ = ["trace"]

TEXT_TOKENS = 77
"""Of the text of a module that comes without example inputs, as CLIP makes them."""
SIZES = 6
"""Numbers of image sizes and crops that SDXL embeds beside the text."""
WRAPPED = "base_model.model."
"""What peft puts in front of all paths."""


def trace(name: str, module: Any, inputs: Any = None) -> Model:
    """Return the layers of a torch module, in the order they run.

    Parameters
    ----------
    name : str
        Of the model that is returned, and for messages.
    module : torch.nn.Module
        Put in evaluation mode.
    inputs : tuple, dict or torch.Tensor, optional
        Arguments of a call with one sample: the first tensor is the sample, its first size 1.
        Without it, the module must have a configuration as diffusers' UNet2DConditionModel.

    Raises
    ------
    ModelError
        The module does not run, or does what is not followed.
    """
    try:
        args, kwargs = _arguments(module, inputs)
        module.eval()
        calls = _calls(module, args, kwargs)
        sizes = {_path(path): tensor.numel() for path, tensor in module.named_parameters()}
        return Model(name, layers_of(calls, sizes, _lora_layers(module)))
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None


def _calls(module: Any, args: tuple, kwargs: dict[str, Any]) -> list[Call]:
    """Return the products that a call of the module computes."""
    import torch

    weights, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    shapes = {path: tensor.detach().to("meta") for path, tensor in weights.items()}
    state = shapes | {path: tensor.to("meta") for path, tensor in buffers.items()}

    def on_shapes(*given: Any, **named: Any) -> None:
        with torch.device("meta"):
            torch.func.functional_call(module, state, given, named)

    with _running(module) as running:
        try:
            return _record(on_shapes, shapes, *_moved((args, kwargs)))
        except ModelError as error:
            raise _located(running, error) from None
        except Exception:  # it looks at values, or keeps tensors where they cannot be replaced
            running.clear()
        try:
            return _record(module, weights, args, kwargs)
        except ModelError as error:
            raise _located(running, error) from None
        except Exception as error:
            line = f"its forward fails on the example inputs: {one_line(error)}"
            raise ModelError(line) from None


@contextmanager
def _running(module: Any) -> Iterator[list[str]]:
    """Keep the paths of the modules that run, from the outermost to the innermost.

    Those in which an exception was raised stay.
    """
    running: list[str] = []
    hooks = []

    def leave(*_: Any) -> None:
        running.pop()

    for path, part in module.named_modules():
        enter = partial(_enter, running, _path(path))
        hooks += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield running
    finally:
        for hook in hooks:
            hook.remove()


def _enter(running: list[str], path: str, *_: Any) -> None:
    running.append(path)


def _located(running: list[str], error: ModelError) -> ModelError:
    """Return an error that says in which module it was found."""
    path = running[-1] if running else ""
    return ModelError(f"{path}: {error}") if path else error


def _record(call: Callable, weights: dict[str, Any], args: tuple, kwargs: dict) -> list[Call]:
    import torch
    from torch.overrides import TorchFunctionMode

    recorder = Recorder({id(tensor): _path(path) for path, tensor in weights.items()})

    class Watch(TorchFunctionMode):
        """Shows the recorder every call of a torch function."""

        def __torch_function__(
            self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            recorder.see(function, args, kwargs or {}, result)
            return result

    for index, tensor in enumerate(tensors_in((args, kwargs))):
        recorder.mark_input(tensor, index)
    with torch.no_grad(), Watch():
        call(*args, **kwargs)
    return recorder.calls


def _moved(value: Any) -> Any:
    """Return nested arguments with their tensors as shapes alone."""
    if isinstance(value, dict):
        return {key: _moved(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_moved(each) for each in value)
    return value.to("meta") if any(True for _ in tensors_in(value)) else value


def _arguments(module: Any, inputs: Any) -> tuple[tuple, dict[str, Any]]:
    """Return what to call the module with."""
    if inputs is None:
        args, kwargs = (), _example(module)
    elif isinstance(inputs, dict):
        args, kwargs = (), inputs
    else:
        args, kwargs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {}
    sample = next(tensors_in((args, kwargs)), None)
    if sample is None:
        raise ModelError("the example inputs must hold a tensor, and the first be the sample")
    if sample.dim() < 2 or sample.shape[0] != 1:
        raise ModelError(f"the first example input must be one sample, its first size 1, "
                         f"not of shape {tuple(sample.shape)}")  # fmt: skip
    return args, kwargs


def _example(module: Any) -> dict[str, Any]:
    """Return inputs for a module with the configuration of a UNet2DConditionModel."""
    import torch

    config = getattr(module, "config", None)
    try:
        side, channels = config.sample_size, config.in_channels
        text = torch.zeros(1, TEXT_TOKENS, config.cross_attention_dim)
        given = {
            "sample": torch.zeros(1, channels, side, side),
            "timestep": torch.zeros(1),
            "encoder_hidden_states": text,
        }
        if getattr(config, "addition_embed_type", None) == "text_time":
            pooled = config.projection_class_embeddings_input_dim
            pooled -= SIZES * config.addition_time_embed_dim
            added = {"text_embeds": torch.zeros(1, pooled), "time_ids": torch.zeros(1, SIZES)}
            given["added_cond_kwargs"] = added
    except (AttributeError, TypeError):
        raise ModelError(
            "has no configuration to make example inputs from: return (module, inputs)"
        ) from None
    return given


def _path(name: str) -> str:
    return name.removeprefix(WRAPPED)


def _lora_layers(module: Any) -> set[str]:
    """Return the paths of the LoRA layers of peft; without peft there are none."""
    if "peft" not in sys.modules:
        return set()
    from peft.tuners.lora import LoraLayer

    named = module.named_modules()
    return {_path(path) for path, part in named if isinstance(part, LoraLayer)}
