"""Which dataflow each term of each product runs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw.isa.config import Config
from hw.isa.instructions import Dataflow

from ..dataflow import Choice, array_cycles, choose, choose_update
from .ir import Fused, Product, Segment, Term

__all__ = ["Chosen", "choose_dataflows", "term_cycles"]


@dataclass(frozen=True)
class Chosen:
    """A fused step, and the dataflow of every term.

    Members
    -------
    fused : Fused
    dataflows : dict
        By the names of segment and product: one for each term.
    """

    fused: Fused
    dataflows: Mapping[tuple[str, str], tuple[Dataflow, ...]]

    def of(self, segment: Segment, product: Product) -> tuple[Dataflow, ...]:
        """Return the dataflows of a product's terms."""
        return self.dataflows[segment.name, product.name]

    def __str__(self) -> str:
        lines = [f"dataflows of {self.fused.name}"]
        for segment in self.fused.segments:
            for product in segment.products:
                flows = [flow.name for flow in self.of(segment, product)]
                counts = ", ".join(f"{flow} {flows.count(flow)}" for flow in sorted(set(flows)))
                lines.append(f"{segment.name} {product.name}: {counts}")
        return "\n".join(lines)


def choose_dataflows(config: Config, fused: Fused, choice: Choice = "auto") -> Chosen:
    """Return the dataflow of fewer cycles for each term, or the one asked for.

    A scale-and-accumulate term has one rounding: its reduction must be one fold in WS.

    Raises
    ------
    ValueError, DataflowError
        As of `sw.dataflow.available` and `choose_update`.
    """
    dataflows = {
        (segment.name, product.name): tuple(_choose(config, choice, t) for t in product.terms)
        for segment in fused.segments
        for product in segment.products
    }
    return Chosen(fused, dataflows)


def _choose(config: Config, choice: Choice, term: Term) -> Dataflow:
    if term.updates:
        return choose_update(config, choice, term.k)
    return choose(config, choice, term.rows.size, term.k, term.columns.size)


def term_cycles(config: Config, dataflow: Dataflow, term: Term) -> int:
    """Return the cycles that the array needs for a term, filling and draining hidden."""
    return array_cycles(config, dataflow, term.rows.size, term.k, term.columns.size)
