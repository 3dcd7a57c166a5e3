"""Makes a failing case small: leaves out and halves whatever it fails without."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from hw.isa.encoding import disassemble

from .case import Case, Misfit, Step
from .layout import Layout
from .lower import lower
from .rungs import Failure

__all__ = ["explain", "expression", "minimise", "simpler"]

Check = Callable[[Case], Failure | None]

_SIZES = ("m", "n", "parts")


def minimise(case: Case, failure: Failure, check: Check, *, tries: int) -> tuple[Case, Failure]:
    """Return a smaller case that fails on the same rung, and its failure.

    Parameters
    ----------
    check : callable
        Runs a case; raises Misfit if it cannot be run.
    tries : int
        Most runs; what is smallest by then is returned.
    """
    at = fruitless = 0
    while tries:
        candidates = list(simpler(case))
        if fruitless >= len(candidates):
            break
        at %= len(candidates)
        found, ran = _same(candidates[at], failure, check)
        tries -= ran
        if found is None:
            at, fruitless = at + 1, fruitless + 1
        else:
            # Those before `at` were of no help, and seldom are now: go on from here.
            case, failure, fruitless = candidates[at], found, 0
    return case, failure


def _same(case: Case, failure: Failure, check: Check) -> tuple[Failure | None, bool]:
    """Return the failure of a case if it is on the same rung, and whether the case was run."""
    try:
        found = check(case)
    except Misfit:
        return None, False
    return (found if found is not None and found.rung == failure.rung else None), True


def simpler(case: Case) -> Iterator[Case]:
    """Return cases that are each simpler in one way, the boldest first."""
    for each in _simpler(case):
        yield replace(each, steps=tuple(_freed(each.steps)))


def _freed(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Let a step whose sums were kept from one that is gone start anew."""
    before: Step | None = None
    for step in steps:
        kept = step.keep and before is not None and (before.m, before.n) == (step.m, step.n)
        if not kept and hasattr(step.actions[0], "accumulate"):
            first = replace(step.actions[0], accumulate=False)
            step = replace(step, keep=False, actions=(first, *step.actions[1:]))
        yield step
        before = step


def _simpler(value: Any) -> Iterator[Any]:
    """Return values that differ in one field: left out, at its default, or simpler itself."""
    for item in fields(value):
        now = getattr(value, item.name)
        for other in _others(item, now):
            yield replace(value, **{item.name: other})


def _others(item: dataclasses.Field, now: Any) -> Iterator[Any]:
    if item.default is not dataclasses.MISSING and now != item.default:
        yield item.default
    if item.name in _SIZES:
        yield from _smaller(now)
    elif isinstance(now, tuple) and now and dataclasses.is_dataclass(now[0]):
        least = 0 if item.default is not dataclasses.MISSING else 1
        if len(now) > least:
            yield from ((*now[:index], *now[index + 1 :]) for index in range(len(now)))
        for index, each in enumerate(now):
            yield from ((*now[:index], other, *now[index + 1 :]) for other in _simpler(each))
    elif dataclasses.is_dataclass(now):
        yield from _simpler(now)


def _smaller(sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Return fewer sizes, then smaller ones."""
    if len(sizes) > 1:
        yield from ((size,) for size in sizes)
        yield (sum(sizes),)
    for index, size in enumerate(sizes):
        for less in {1, size // 2, size - 1} - {0, size}:
            yield (*sizes[:index], less, *sizes[index + 1 :])


def expression(value: Any) -> str:
    """Return Python that makes a value anew; what is as its default is left out."""
    if isinstance(value, tuple):
        return f"({''.join(f'{expression(each)}, ' for each in value)})"
    if not dataclasses.is_dataclass(value):
        return repr(value)
    given = (
        f"{item.name}={expression(getattr(value, item.name))}"
        for item in fields(value)
        if item.default is dataclasses.MISSING or getattr(value, item.name) != item.default
    )
    return f"{type(value).__name__}({', '.join(given)})"


def explain(seed: int | None, case: Case, failure: Failure, check: Check, *, tries: int) -> str:
    """Return the message of a failure: what broke, and a small program that shows it too."""
    small, again = minimise(case, failure, check, tries=tries)
    program = lower(small, Layout.of(small))
    return (
        f"seed {seed}: {failure.rung}: {failure.detail}\n"
        f"smaller: {again.rung}: {again.detail}\n"
        f"{expression(small)}\n{disassemble(program)}"
    )
