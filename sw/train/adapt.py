"""Putting trained and quantised layers into a model, chosen by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .attention import replacement
from .context import Context
from .engine import Engine
from .matching import NoLayers, Patterns, linear_layers, matching, refuse_tied
from .modules import FullLinear, LoraLinear, QuantisedLinear
from .precision import Method, method_named
from .times import Times
from .tune import Experts, TuneLinear, quantise_channels

__all__ = ["CROSS_ATTENTION", "Adapted", "NoLayers", "adapt"]

CROSS_ATTENTION = ("*attn2.to_k", "*attn2.to_v")
"""K and V of cross-attention, as `diffusers` names them: what Custom Diffusion trains."""


Trained = LoraLinear | FullLinear | TuneLinear


@dataclass(eq=False)
class Adapted:
    """A model with layers in it that train in a way.

    Members
    -------
    model : nn.Module
        The same object as before; its layers were replaced, and all other parameters frozen.
    method : Method
    context : Context or None
        None where everything is floating point.
    trained, frozen : dict
        The layers that train, and those that are only quantised, by their dotted names.
    attention : tuple of str
        The modules whose two products of attention are in integers.
    total : int
        Steps of noise that the model is trained on.
    """

    model: nn.Module
    method: Method
    context: Context | None
    trained: dict[str, Trained] = field(repr=False)
    frozen: dict[str, QuantisedLinear] = field(repr=False)
    attention: tuple[str, ...] = ()
    total: int = 1000

    @property
    def rank(self) -> int | None:
        """Of LoRA; None if something else is trained."""
        ranks = {layer.rank for layer in self.trained.values() if isinstance(layer, LoraLinear)}
        return next(iter(ranks), None)

    @property
    def alpha(self) -> float | None:
        """Of LoRA; None if something else is trained."""
        alphas = {layer.alpha for layer in self.trained.values() if isinstance(layer, LoraLinear)}
        return next(iter(alphas), None)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the trained parameters of the layers, by dotted name."""
        for name, layer in self.trained.items():
            for short, parameter in layer.named_parameters():
                if parameter.requires_grad:
                    yield f"{name}.{short}", parameter

    def parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters of the layers."""
        return [parameter for _, parameter in self.named_parameters()]

    def state_dict(self) -> dict[str, Any]:
        """Return the trained parameters, and the state of the context."""
        tensors = {name: value.detach().clone() for name, value in self.named_parameters()}
        return {"parameters": tensors, "context": self.context and self.context.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Raises
        ------
        ValueError
            It is of another model: a tensor is missing, unknown or of another shape.
        """
        check_tensors(dict(self.named_parameters()), state["parameters"], "the state")
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(state["parameters"][name])
        if self.context is not None and state["context"] is not None:
            self.context.load_state_dict(state["context"])


def check_tensors(own: dict[str, Any], given: dict[str, Tensor], what: str) -> None:
    """Refuse tensors that are not those of a model.

    Raises
    ------
    ValueError
        The message names the first that is missing, unknown or of another shape.
    """
    for name in own.keys() - given.keys():
        raise ValueError(f"{what} lacks {name}: it is of another model, or of another method")
    for name in given.keys() - own.keys():
        raise ValueError(f"{what} holds {name}, which the model has not")
    for name, tensor in own.items():
        if given[name].shape != tensor.shape:
            shapes = ("x".join(map(str, each.shape)) for each in (given[name], tensor))
            raise ValueError("{}: {} is {}, but {} here".format(what, name, *shapes))


def adapt(
    model: nn.Module,
    match: Patterns = CROSS_ATTENTION,
    method: str | Method = "int8",
    *,
    rank: int = 4,
    alpha: float | None = None,
    frozen: Patterns = (),
    attention: Patterns = (),
    engine: Engine | None = None,
    seed: int = 0,
    detach_first: bool = False,
    total: int = 1000,
) -> Adapted:
    """Replace linear layers of a model by trained ones, and freeze all else.

    Parameters
    ----------
    model : nn.Module
        Changed in place. Subclasses of `nn.Linear` are left alone.
    match : str or sequence of str
        Patterns of dotted names, with ``*`` and ``?``: of the layers that train.
    method : str or Method
        A name of `sw.train.precision.METHODS`, or what it stands for.
    rank : int
        Of LoRA.
    alpha : float, optional
        By default the rank, so that the update is not scaled.
    frozen : str or sequence of str
        Patterns of the layers that are quantised without being trained, if the method quantises;
        what `match` takes is left out.
    attention : str or sequence of str
        Patterns of the modules whose products Q.K^T and P.V are in integers too, if the method
        quantises; see `sw.train.attention.replacement`.
    engine : Engine, optional
        Of integer products; by default torch.
    seed : int
        Of A, and of stochastic rounding.
    detach_first : bool
        See `LoraLinear`.
    total : int
        Steps of noise that the model is trained on, for methods that differ by them.

    Raises
    ------
    NoLayers
        A pattern matches nothing, or `match` is empty.
    ValueError
        Another argument is not as above, a weight is all zero, or a layer is tied to another.
        The model is as it was then.
    """
    method = method_named(method) if isinstance(method, str) else method
    if any(isinstance(each, QuantisedLinear) for each in model.modules()):
        raise ValueError("the model is adapted already: adapt a new one, or match all at once")
    linears, modules = linear_layers(model), dict(model.named_modules())
    chosen = matching(linears, match, kind="linear layer")
    if not chosen:
        raise NoLayers("match is empty: at least one pattern is needed")
    # Misspelt patterns are found in floating point, too, where nothing comes of proper ones.
    others = matching(linears, frozen, of="frozen: ", kind="linear layer")
    attends = matching(modules, attention, of="attention: ")
    refuse_tied(model, dict.fromkeys(chosen + others), weights=method.trains == "full")
    times, context = Times(total), None
    if method.precision:
        context = Context(method.precision, engine, seed, schedule=method.schedule, times=times)
    with _unchanged_if_refused(model):
        make = _maker(
            method, context, Experts(method.experts, times), detach_first=detach_first,
            rank=rank, alpha=rank if alpha is None else alpha,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        trained = {name: make(linears[name], name) for name in chosen}
        changes = [replacement(name, modules[name], context) for name in attends if context]
        timed = _denoisers(model) if method.experts > 1 or method.schedule else []
    rest = [name for name in others if name not in trained] if context else []
    kept = {name: QuantisedLinear(linears[name], name, context) for name in rest}
    for change in changes:
        change()
    for name, layer in (trained | kept).items():
        _replace(model, name, layer)
    for module, signature in timed:
        module.register_forward_pre_hook(_setter(times, signature), with_kwargs=True)
    attention = tuple(attends) if context else ()
    return Adapted(model, method, context, trained, kept, attention, total)


@contextmanager
def _unchanged_if_refused(model: nn.Module) -> Iterator[None]:
    """Freeze a model; let it be as it was if a ValueError comes."""
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.requires_grad_(False)
    try:
        yield
    except ValueError:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(wanted[name])
        raise


def _maker(
    method: Method,
    context: Context | None,
    experts: Experts,
    *,
    rank: int,
    alpha: float,
    generator: torch.Generator,
    detach_first: bool,
) -> Callable[[nn.Linear, str], Trained]:
    """Return what makes the layer that trains in the place of one."""
    common = {"detach_first": detach_first}

    def make(base: nn.Linear, name: str) -> Trained:
        if method.trains == "full":
            return FullLinear(base, name, context, **common)
        if method.trains == "tuneqdm":
            return TuneLinear(
                base, name, context, bits=method.weight_bits or 8, experts=experts,
                input_scales=method.input_scales, **common,
            )  # fmt: skip
        return LoraLinear(
            _rounded(base, method.weight_bits, name), name, context, rank=rank, alpha=alpha,
            generator=generator, **common,
        )  # fmt: skip

    return make


def _rounded(base: nn.Linear, bits: int | None, name: str) -> nn.Linear:
    """Return a layer whose weight is what so many bits keep of it; the layer itself if None."""
    if bits is None:
        return base
    values, scale = quantise_channels(base.weight.detach(), bits, f"{name}: W")
    made = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
    made.weight, made.bias = nn.Parameter(values * scale[:, None]), base.bias
    return made


_ARGUMENTS = ("timestep", "times")
"""What denoisers call the argument that holds the times of their samples."""


def _denoisers(model: nn.Module) -> list[tuple[nn.Module, inspect.Signature]]:
    """Return the modules that are called with times.

    Raises
    ------
    ValueError
        There is none.
    """
    found = [(module, inspect.signature(module.forward)) for module in model.modules()]
    found = [each for each in found if not each[1].parameters.keys().isdisjoint(_ARGUMENTS)]
    if not found:
        raise ValueError(
            "experts and schedules need a model that is called with the times of its samples, in "
            "an argument `timestep` or `times`"
        )
    return found


def _setter(into: Times, signature: inspect.Signature) -> Callable[..., None]:
    """Return a hook that takes the times that a module is called with."""

    def take(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = signature.bind(*args, **kwargs).arguments
        times = next((given[name] for name in _ARGUMENTS if given.get(name) is not None), None)
        if times is not None:  # parts of a denoiser may take them, too, and are not given any
            into.set(torch.as_tensor(times).expand(len(next(iter(given.values())))))

    return take


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)
