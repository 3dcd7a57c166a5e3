"""Which of many costs are worth having: those that no other beats in everything."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf

__all__ = ["front"]

Cost = tuple[float, float, float]


def front(costs: Sequence[Cost]) -> list[bool]:
    """Tell of each cost whether it is on the Pareto front: smaller is better.

    A cost is dominated if another is at most as large in all three and smaller in one; equal costs
    do not dominate each other. Kung, Luccio and Preparata (1975): in the order of the first, only a
    cost before can dominate, and the best of the two others so far make a staircase, so all are
    told in O(n log n) comparisons.
    """
    stairs: list[tuple[float, float]] = []  # second rising, third falling
    kept: set[Cost] = set()
    for cost in sorted(set(costs)):
        _, second, third = cost
        place = bisect_right(stairs, (second, inf))
        if place and stairs[place - 1][1] <= third:
            continue
        kept.add(cost)
        start = stop = bisect_left(stairs, (second, -inf))
        while stop < len(stairs) and stairs[stop][1] >= third:
            stop += 1
        stairs[start:stop] = [(second, third)]
    return [cost in kept for cost in costs]
