"""Computes what is missing of a grid, and keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .local import Runner
from .pareto import front
from .point import Outcome, Status
from .store import Store
from .sweep import Candidate

__all__ = ["Result", "explore", "with_front"]


@dataclass(frozen=True)
class Result:
    """A place of the grid with what came of it.

    Members
    -------
    candidate : Candidate
    outcome : Outcome
        Refused, too, if there is no point.
    pareto : bool
        No other result of the same workload costs less.
    """

    candidate: Candidate
    outcome: Outcome
    pareto: bool = False

    @property
    def done(self) -> bool:
        """Tell whether there are figures."""
        return self.outcome.status is Status.DONE


def explore(
    candidates: Sequence[Candidate],
    store: Store,
    run: Runner,
    show: Callable[[int, int], None] | None = None,
) -> tuple[Result, ...]:
    """Return a result for each candidate, computing those points that `store` does not have.

    Parameters
    ----------
    show : callable, optional
        Called with the number of points that are there and of all, at first and after each.
    """
    points = {each.point.key: each.point for each in candidates if each.point is not None}
    outcomes = store.get(points)
    missing = [point for key, point in points.items() if key not in outcomes]
    if show is not None:
        show(len(outcomes), len(points))
    if missing:
        for point, outcome in run(missing):
            store.put(point, outcome)
            outcomes[point.key] = outcome
            if show is not None:
                show(len(outcomes), len(points))
    refused = [Outcome(Status.REFUSED, error=each.refused) for each in candidates]
    found = [
        no if each.point is None else outcomes[each.point.key]
        for each, no in zip(candidates, refused, strict=True)
    ]
    return with_front(list(map(Result, candidates, found)))


def with_front(results: Sequence[Result]) -> tuple[Result, ...]:
    """Return the results, marked where they are on the Pareto front of their workload."""
    marked = list(results)
    groups: dict[object, list[int]] = {}
    for index, result in enumerate(results):
        if result.done:
            groups.setdefault(result.candidate.point.step, []).append(index)
    for members in groups.values():
        kept = front([results[index].outcome.costs for index in members])
        for index, pareto in zip(members, kept, strict=True):
            marked[index] = Result(results[index].candidate, results[index].outcome, pareto)
    return tuple(marked)
