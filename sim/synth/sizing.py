"""Larger cells where a path is too long.

Technology mapping takes the smallest cells; one that drives thirty others is then slow. Cells on
the longest path are exchanged for stronger ones of the same function, one at a time, as long as
that shortens it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .flat import flatten
from .liberty import Cell, Library
from .netlist import parse_modules
from .sta import analyse

__all__ = ["resize", "stronger"]

_MOST = 200
"""Exchanges in a module at most."""
_LEAST_NS = 1e-4
"""What an exchange must gain."""


def stronger(library: Library) -> dict[str, tuple[str, ...]]:
    """Return the larger cells of the same pins and functions, by the name of each cell."""
    alike: dict[Any, list[Cell]] = {}
    for cell in library.cells.values():
        if not cell.dont_use and cell.latch is None and cell.gating is None:
            alike.setdefault(_what(cell), []).append(cell)
    found = {}
    for cells in alike.values():
        cells.sort(key=lambda cell: cell.area_um2)
        for place, cell in enumerate(cells):
            found[cell.name] = tuple(each.name for each in cells[place + 1 :])
    return found


def _what(cell: Cell) -> tuple:
    """Return what two cells have in common that can stand for one another."""
    functions = tuple(
        (pin.name, pin.direction, pin.function and (pin.function.inputs, pin.function.table))
        for pin in sorted(cell.pins.values(), key=lambda pin: pin.name)
    )
    register = cell.register
    kind = None
    if register is not None:
        kind = tuple(
            function and (function.inputs, function.table)
            for function in (
                register.next_state, register.clocked_on, register.clear, register.preset
            )
        )  # fmt: skip
    return functions, kind


def resize(module: dict[str, Any], name: str, library: Library, period_ns: float) -> float:
    """Strengthen cells of a module until its period is `period_ns`, or as short as that makes it.

    Parameters
    ----------
    module : dict
        As yosys writes it in JSON, of cells only; it is changed.

    Returns
    -------
    float
        The period.
    """
    larger = stronger(library)
    best, path = _time(module, name, library)
    for _ in range(_MOST):
        if best <= period_ns:
            break
        trials = []
        for instance in dict.fromkeys(path):
            cell = module["cells"].get(instance)
            for other in larger.get(cell["type"], ())[:2] if cell else ():
                trials.append(_trial(module, name, library, instance, other))
        gains = [trial for trial in trials if trial[0] < best - _LEAST_NS]
        if not gains:
            break
        best, path, instance, other = min(gains, key=lambda trial: trial[0])
        module["cells"][instance]["type"] = other
    return best


def _trial(
    module: dict[str, Any], name: str, library: Library, instance: str, other: str
) -> tuple[float, list[str], str, str]:
    """Return the period and the longest path with an exchange, which is undone."""
    cell = module["cells"][instance]
    kept, cell["type"] = cell["type"], other
    period, path = _time(module, name, library)
    cell["type"] = kept
    return period, path, instance, other


def _time(module: Mapping[str, Any], name: str, library: Library) -> tuple[float, list[str]]:
    """Return the period of a module and the instances on its longest path."""
    timing = analyse(flatten(parse_modules({name: module}, library)), None)
    path = timing.path
    return timing.period_ns, [point.instance for point in path.points] if path else []
