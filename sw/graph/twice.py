"""Frozen weights that are stored twice: as they are, and transposed, where that pays.

A left operand that lies transposed is cut where DRAM cuts its columns, at whole beats, and not
where its product wants it, at the rows of a head; and each of its loads fills and empties the
transposer. What it costs are the bytes of a copy. Right operands are loaded a word a cycle either
way: those are stored once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .ir import Fused, Host, Product, Segment, Term, Value, View

__all__ = ["TRANSPOSED", "store_twice"]

TRANSPOSED = ".T"
"""What stands behind the name of a constant that is the transpose of another."""


def store_twice(fused: Fused) -> Fused:
    """Return the step with transposed copies of the constants that are transposed left operands."""
    values = dict(fused.values)
    added: dict[str, Value] = {}

    def term(each: Term) -> Term:
        value = values[each.left.value]
        if not (value.constant and each.left.transposed):
            return each
        name = value.name + TRANSPOSED
        added[name] = Value(name, value.dtype, value.columns, value.rows, constant=True)
        return replace(each, left=View(name, each.left.columns, each.left.rows))

    def product(each: Product) -> Product:
        return replace(each, terms=tuple(map(term, each.terms)))

    steps = [
        replace(step, products=tuple(map(product, step.products)))
        if isinstance(step, Segment)
        else step
        for step in fused.steps
    ]
    return replace(fused, values=values | added, steps=tuple(_making(steps, added)))


def _making(steps: Iterable[Segment | Host], added: dict[str, Value]) -> Iterable[Segment | Host]:
    """Yield the steps, with the host making the copies where it makes what they are copies of."""
    for step in steps:
        if isinstance(step, Host):
            own = tuple(name + TRANSPOSED for name in step.writes if name + TRANSPOSED in added)
            step = replace(step, writes=(*step.writes, *own))
        yield step
