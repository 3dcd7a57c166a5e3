"""Measures of the example over seeds, and what a method is judged by."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from ..train.precision import Method
from .runs import Outcome
from .verdict import Verdict

__all__ = ["Summary", "reference_of", "summarise"]


def reference_of(methods: Mapping[str, Method], method: str) -> str:
    """Return what a method is judged by: the same in float, or, if that is not there, the first."""
    plain = replace(methods[method], precision=None, schedule=())
    return next((name for name, each in methods.items() if each == plain), next(iter(methods)))


@dataclass(frozen=True)
class Summary:
    """One measure over the seeds of a method.

    Members
    -------
    mean : float
    spread : float
        From the least to the largest.
    change : float
        Mean over that of the reference, less one.
    within : bool
        Whether the means differ by no more than the reference's spread.
    """

    mean: float
    spread: float
    change: float
    within: bool


def summarise(
    outcomes: Sequence[Outcome], reference: str | None = None
) -> dict[str, dict[str, Summary]]:
    """Return each measure of each method over its seeds; by default the first is the reference."""
    methods = list(dict.fromkeys(outcome.method for outcome in outcomes))
    reference = methods[0] if reference is None else reference
    names = [each.name for each in fields(Verdict) if not each.name.endswith("_ranges")]
    found: dict[str, dict[str, Summary]] = {}
    for method in methods:
        found[method] = {}
        for name in names:
            values, others = (
                [getattr(outcome.verdict, name) for outcome in outcomes if outcome.method == which]
                for which in (method, reference)
            )
            mean, base = statistics.fmean(values), statistics.fmean(others)
            spread, allowed = (max(each) - min(each) for each in (values, others))
            change = mean / base - 1 if base else 0.0 if mean == base else float("inf")
            found[method][name] = Summary(mean, spread, change, abs(mean - base) <= allowed)
    return found
