"""Which windows of values have been made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from ..tile import Span
from .ir import GraphError, Value, View

__all__ = ["Made", "Window", "covered", "inside", "overlap"]

Window = tuple[Span, Span]
"""Rows and columns."""


def inside(span: Span, size: int) -> bool:
    """Tell whether a span is not empty and inside an axis of a size."""
    return span.start >= 0 and span.size >= 1 and span.start + span.size <= size


def overlap(one: Window, other: Window) -> bool:
    """Tell whether two windows share an element."""
    return all(a.start < b.start + b.size and b.start < a.start + a.size
               for a, b in zip(one, other, strict=True))  # fmt: skip


def covered(window: Window, parts: Iterable[Window]) -> bool:
    """Tell whether every element of a window is in one of the parts."""
    near = [part for part in parts if overlap(window, part)]
    bounds = []
    for axis in (0, 1):
        low, high = window[axis].start, window[axis].start + window[axis].size
        ends = {end for part in near for end in (part[axis].start, sum(part[axis]))}
        bounds.append(sorted({low, high, *(end for end in ends if low < end < high)}))
    filled = np.zeros((len(bounds[0]) - 1, len(bounds[1]) - 1), bool)
    for part in near:
        places = [slice(*np.searchsorted(b[:-1], (part[a].start, sum(part[a]))))
                  for a, b in enumerate(bounds)]  # fmt: skip
        filled[tuple(places)] = True
    return bool(filled.all())


class Made:
    """Keeps what has been made of every value.

    Parameters
    ----------
    values : dict of Value
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values
        self._parts: dict[str, list[Window]] = defaultdict(list)

    def value(self, what: str, name: str) -> Value:
        """Return a value by its name.

        Raises
        ------
        GraphError
            There is none. `what` says who asks.
        """
        if name not in self._values:
            raise GraphError(f"{what}: there is no value {name}")
        return self._values[name]

    def check(self, what: str, view: View) -> Value:
        """Return the value of a view, if the view is inside of it.

        Raises
        ------
        GraphError
            It is not.
        """
        value = self.value(what, view.value)
        if not (inside(view.rows, value.rows) and inside(view.columns, value.columns)):
            raise GraphError(f"{what}: {view} is not inside {value}")
        return value

    def read(self, what: str, view: View, *, padded: bool = False) -> Value:
        """Return the value of a view that is made already; with `padded`, parts of it at least.

        Raises
        ------
        GraphError
            It is not made.
        """
        value = self.check(what, view)
        window = view.rows, view.columns
        parts = self._parts[view.value]
        near = padded and any(overlap(window, part) for part in parts)
        if not near and window not in parts and not covered(window, parts):
            raise GraphError(f"{what}: reads {view} before it is made")
        return value

    def read_any(self, what: str, name: str) -> None:
        """Check that a value, or parts of it, are made.

        Raises
        ------
        GraphError
            Nothing of it is.
        """
        self.value(what, name)
        if not self._parts[name]:
            raise GraphError(f"{what}: reads {name} before it is made")

    def write(self, what: str, view: View) -> Value:
        """Note that a view is made, and return its value.

        Raises
        ------
        GraphError
            It is made already, or is not inside its value.
        """
        value, window = self.check(what, view), (view.rows, view.columns)
        if any(overlap(window, part) for part in self._parts[view.value]):
            raise GraphError(f"{what}: makes {view}, which is made already")
        self._parts[view.value].append(window)
        return value
