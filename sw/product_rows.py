"""A row of figures for each product of a run, as tables and JSON show them."""

from __future__ import annotations

from typing import Any

from sim.result import RunResult

from .program import Program

__all__ = ["product_rows"]


def product_rows(program: Program, result: RunResult | None) -> list[dict[str, Any]]:
    """Return the products of a program, in order, with what a run says about each.

    Products overlap. One's `cycles` are those from the end of the product before it to the end of
    its own last instruction, so that all rows together are the time to the end of the last one.

    Returns
    -------
    list of dict
        `product`, `shape` ([M, K, N]), `dataflow`, `swapped`, `macs`, `instructions` ([first,
        last]), `choice` (how good its tiling is known to be), and, if the run has events,
        `cycles` and `utilisation` (MACs / (cycles x rows x columns)).
    """
    events = result.events if result else ()
    ends = {event.index: event.cycle for event in events if event.kind == "done"}
    places = program.config.macs_per_cycle
    rows, before = [], 0
    for product in program.products:
        row = {
            "product": product.name,
            "shape": [product.m, product.k, product.n],
            "dataflow": product.dataflow,
            "swapped": product.swapped,
            "macs": product.macs,
            "instructions": [product.start, product.stop - 1],
            "choice": product.choice,
        }
        done = [ends[index] for index in range(product.start, product.stop) if index in ends]
        if done:
            end = max(before, *done)
            row["cycles"] = end - before
            row["utilisation"] = product.macs / (max(end - before, 1) * places)
            before = end
        rows.append(row)
    return rows
