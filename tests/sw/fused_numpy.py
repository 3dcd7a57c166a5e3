"""Runs a fused step with numpy in the array's place: what its products mean, without a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sim.arithmetic import decode_scales, matmul, scale_accumulate
from sw.graph.host import HostState
from sw.graph.host_operations import run_host
from sw.graph.host_sums import drain
from sw.graph.ir import Fused, Host, Product, Term, Updates, Value, View

__all__ = ["run_fused"]

_SUMS = "sums of the present product"


def run_fused(fused: Fused, state: HostState) -> None:
    """Run a step; `state` has the tensors, and then all that the step gives."""
    for step in fused.steps:
        if isinstance(step, Host):
            missing = [name for name in step.reads if name not in state.values]
            assert not missing, f"{step.name} reads {missing}, which nothing has made"
            run_host(state, step, fused.values)
        else:
            for product in step.products:
                _Machine(state, fused.values).run(product)


@dataclass
class _Machine:
    state: HostState
    values: Mapping[str, Value]

    def run(self, product: Product) -> None:
        sums = np.zeros((product.m, product.n), np.int32)
        for term in product.terms:
            if not term.updates:
                rows, columns = self._place(term)
                sums[rows, columns] += self._product(term)
        for (rows, columns, table), terms in self._updates(product).items():
            update = sum(self._product(term) for term in terms)
            place = _slice(rows), _slice(columns)
            entries = self.state.values[table].reshape(-1, 1)
            sums[place], _ = scale_accumulate(sums[place], update, *decode_scales(entries))
        self.state.values[_SUMS] = sums
        tables = {each.table for each in product.outputs if isinstance(each, Updates)}
        declared = self.values | {t: Value(t, "uint32", 1, product.m) for t in tables}
        op = Host("drain", product.name, (_SUMS,), (), product.outputs)
        drain(self.state, op, declared)
        del self.state.values[_SUMS]

    def _updates(self, product: Product) -> dict[tuple, list[Term]]:
        found: dict[tuple, list[Term]] = {}
        for term in product.terms:
            if term.updates:
                found.setdefault((term.rows, term.columns, term.updates), []).append(term)
        return found

    def _place(self, term: Term) -> tuple[slice, slice]:
        return _slice(term.rows), _slice(term.columns)

    def _product(self, term: Term) -> np.ndarray:
        return matmul(self._read(term.left), self._read(term.right))

    def _read(self, view: View) -> np.ndarray:
        array = self.state.values[view.value][_slice(view.rows), _slice(view.columns)]
        return array.T if view.transposed else array


def _slice(span) -> slice:
    return slice(span.start, span.start + span.size)
