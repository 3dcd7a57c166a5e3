"""Verilog models of a library's cells, made from their functions, to simulate mapped netlists.

A function is written as the sum of all its prime implicants. That form tells as much of an output
as can be told where inputs are unknown: a netlist does not stay unknown for longer than its cells.
"""

from __future__ import annotations

from collections.abc import Iterable

from .cellmodel import CellModel, SimulationError, cell_model
from .gate_kernel import FLIP_FLOP, LOGIC
from .liberty import Library

__all__ = ["prime_implicants", "verilog_models"]


def verilog_models(
    library: Library, cells: Iterable[str] | None = None, *, timed: bool = False
) -> str:
    """Return modules with the names and pins of cells; what flip-flops store begins as 0.

    Parameters
    ----------
    cells : iterable of str, optional
        Names; all cells that have a model by default.
    timed : bool
        Give modules parameters ``rise_<output>`` and ``fall_<output>``, delays in units of time.

    Raises
    ------
    SimulationError
        A cell is unknown, or of a kind that cannot be simulated.
    """
    if cells is None:
        models = []
        for cell in library.cells.values():
            try:
                models.append(cell_model(cell))
            except SimulationError:
                continue
    else:
        models = []
        for name in dict.fromkeys(cells):
            if name not in library.cells:
                raise SimulationError(f"no cell {name!r} in {library.origin}")
            models.append(cell_model(library.cells[name]))
    return "\n".join(_module(model, timed) for model in models if model.outputs)


def prime_implicants(table: int, inputs: int) -> list[tuple[int, int]]:
    """Return all prime implicants of a truth table, as (mask, value): inputs asked for, and how.

    Quine's method: two implicants that differ in one input are merged.
    """
    full = (1 << inputs) - 1
    level = {(full, index) for index in range(1 << inputs) if table >> index & 1}
    primes = []
    while level:
        merged, above = set(), set()
        for mask, value in level:
            for place in range(inputs):
                bit = 1 << place
                if mask & bit and (mask, value ^ bit) in level:
                    above.add((mask & ~bit, value & ~bit))
                    merged.add((mask, value))
        primes += sorted(level - merged)
        level = above
    return primes


def _sum(table: int, names: tuple[str, ...]) -> str:
    """Return a truth table as an expression."""
    terms = []
    for mask, value in prime_implicants(table, len(names)):
        literals = [
            name if value >> place & 1 else f"~{name}"
            for place, name in enumerate(names)
            if mask >> place & 1
        ]
        terms.append(" & ".join(literals) or "1'b1")
    return " | ".join(terms) or "1'b0"


def _module(model: CellModel, timed: bool) -> str:
    pins = ", ".join((*model.inputs, *model.outputs))
    delays = [f"parameter {edge}_{pin} = 0" for pin in model.outputs for edge in ("rise", "fall")]
    head = f" #({', '.join(delays)})" if timed else ""
    lines = [f"module {model.cell.name}{head} ({pins});"]
    lines += [f"  input {', '.join(model.inputs)};"] if model.inputs else []
    lines += [f"  output {', '.join(model.outputs)};"]
    names = model.inputs
    if model.kind != LOGIC:
        names = (*names, "held")
        lines.append("  reg held = 1'b0;")
        if model.kind == FLIP_FLOP:
            taken = _sum(model.next_state, model.inputs)
            lines.append(f"  always @(posedge {model.inputs[model.clock]}) held <= {taken};")
        else:
            clock, enable = model.inputs[model.clock], model.inputs[model.enable]
            lines.append("  /* verilator lint_off LATCH */")
            lines.append(f"  always @* if (~{clock}) held = {enable};")
            lines.append("  /* verilator lint_on LATCH */")
    for pin, table in zip(model.outputs, model.tables, strict=True):
        after = f"#(rise_{pin}, fall_{pin}) " if timed else ""
        lines.append(f"  assign {after}{pin} = {_sum(table, names)};")
    return "\n".join([*lines, "endmodule", ""])
