"""The search for the sizes of tiles: which fit the memories, and which of these look fastest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hw.isa.instructions import Axis

from .tile_cost import cost
from .tile_problem import Problem

__all__ = ["Sizes", "fitting", "ranked"]


def fitting(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return M, K and N of every candidate that fits the memories; of whole words, if any does."""
    axes = np.meshgrid(*problem.candidates(), indexing="ij")
    tm, tk, tn = (axis.ravel() for axis in axes)
    words, capacities = problem.words(tm, tk, tn), problem.capacities()
    fits = np.logical_and.reduce([words[memory] <= capacities[memory] for memory in words])
    if problem.whole_words and not fits.any():
        return fitting(replace(problem, whole_words=False))
    return tm[fits], tk[fits], tn[fits]


Sizes = tuple[int, int, int, bool]
"""Tile M, tile K, tile N, and whether rows are outer."""


def ranked(problem: Problem, most: int) -> list[tuple[float, Sizes]]:
    """Return up to `most` tilings with their estimated cycles, best first; none if nothing fits."""
    sizes = fitting(problem)
    found = []
    orders = {Axis.ROW: (True,), Axis.COLUMN: (False,)}.get(problem.demand.group, (True, False))
    for rows_outer in orders if sizes[0].size else ():
        terms = cost(problem, *sizes, rows_outer)
        for index in np.lexsort(terms[::-1])[:most]:
            key = tuple(float(term[index]) for term in terms)
            found.append((key, (*(int(axis[index]) for axis in sizes), rows_outer)))
    found.sort(key=lambda item: item[0])
    seen: dict[tuple, tuple[float, Sizes]] = {}
    for key, tiling in found:
        # The order of tiles along one axis is the same both ways.
        alone = tiling[0] >= problem.m or tiling[2] >= problem.n
        same = tiling[:3] if alone else tiling
        seen.setdefault(same, (key[0], tiling))
    return list(seen.values())[:most]
