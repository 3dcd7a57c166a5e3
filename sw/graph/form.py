"""What segments have in common: two of one form have the same instructions but for addresses."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from .ir import Segment, Value
from .place import used_by

__all__ = ["form"]


def form(segment: Segment, values: Mapping[str, Value]) -> Hashable:
    """Return the form of a segment: its products without names, values by their order of use."""
    used = used_by(segment)
    numbers: dict[str, Any] = {name: index for index, name in enumerate(used)}
    shapes = tuple((values[name].dtype, values[name].rows, values[name].columns) for name in used)
    return shapes, tuple(
        (p.m, p.n, _plain(p.terms, numbers), _plain(p.outputs, numbers)) for p in segment.products
    )


def _plain(item: Any, numbers: dict[str, Any]) -> Hashable:
    """Return an item with each name by the place of its first mention."""
    if isinstance(item, str):
        return numbers.setdefault(item, ("name", len(numbers)))
    if isinstance(item, tuple):
        return tuple(_plain(each, numbers) for each in item)
    if is_dataclass(item):
        inner = tuple(_plain(getattr(item, each.name), numbers) for each in fields(item))
        return (type(item).__name__, *inner)
    return item
