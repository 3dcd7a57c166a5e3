"""Modules of a model by patterns of their dotted names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from typing import Any

from torch import nn

__all__ = ["NoLayers", "Patterns", "linear_layers", "matching", "refuse_tied"]

Patterns = str | Sequence[str]
"""Dotted names, with ``*`` and ``?``."""


class NoLayers(ValueError):
    """A model has no layers of the names asked for."""


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of a model by name; subclasses of `nn.Linear` are none."""
    return {name: module for name, module in model.named_modules() if type(module) is nn.Linear}


def matching(
    modules: Mapping[str, nn.Module], patterns: Patterns, *, of: str = "", kind: str = "module"
) -> list[str]:
    """Return the names that match at least one pattern, in the order of the modules.

    Parameters
    ----------
    of : str
        The argument that holds the patterns, for the message.
    kind : str
        What the modules are, for the message.

    Raises
    ------
    NoLayers
        A pattern matches nothing: it would be without effect, as a misspelt one is.
    """
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    found: set[str] = set()
    for pattern in given:
        if not isinstance(pattern, str):
            raise NoLayers(f"{of}patterns are strings, not {type(pattern).__name__}")
        compiled = re.compile(translate(pattern))
        names = {name for name in modules if compiled.match(name)}
        if not names:
            has = _listed(modules) or "none"
            raise NoLayers(f"{of}no {kind} matches {pattern}; the model has {has}")
        found |= names
    return [name for name in modules if name in found]


def refuse_tied(model: nn.Module, chosen: Iterable[str], *, weights: bool) -> None:
    """Refuse layers of a model that lie in two places of it, or share their weight.

    The one in the first place alone would be replaced, and a shared weight that trains be frozen
    by the other layer, or trained twice. One place under two names, in a block that is used twice,
    does no harm.

    Parameters
    ----------
    chosen : iterable of str
        Of the layers that are to be replaced.
    weights : bool
        Whether weights train.

    Raises
    ------
    ValueError
        The message names both.
    """
    places: dict[int, dict[tuple[int, str], str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        parent, _, last = name.rpartition(".")
        key = id(model.get_submodule(parent)), last
        places.setdefault(id(module), {}).setdefault(key, name)
    seen: dict[int, str] = {}
    for name in chosen:
        layer = model.get_submodule(name)
        first, *others = places[id(layer)].values()
        if others:
            raise ValueError(
                f"{first} and {others[0]} are one layer: give each a layer of its own, or match "
                "neither"
            )
        other = seen.setdefault(id(layer.weight), name)
        if weights and other != name:
            raise ValueError(
                f"{other} and {name} share one weight: give each a weight of its own, or match "
                "one of them"
            )


def _listed(names: Any, most: int = 8) -> str:
    """Return names for a message, of which there may be hundreds."""
    listed = [name for name in names if name]  # the model itself has none
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
