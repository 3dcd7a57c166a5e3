"""Figures of a step: by product, by kind of program and in all, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hw.isa.config import Config
from hw.isa.instructions import INSTRUCTION_BYTES, Dataflow, Engine, Execute, Instruction
from sim.activity import activity
from sim.energy import energy
from sim.result import RunResult

from ..console import Report
from ..dataflow import array_cycles
from ..program import Program
from .ir import Host
from .program import StepProgram

__all__ = ["print_step", "print_time", "step_figures", "time_figures"]

_SUMMED = ("cycles", "array_cycles", "macs", "dram_read_bytes", "dram_write_bytes")


def step_figures(step: StepProgram) -> dict[str, Any]:
    """Return what a step is: `step`, `programs`, `instructions`, bytes of code and DRAM, `macs`.

    `ideal_cycles` are those of its multiplications on a full array.
    """
    programs = list(step.programs)
    instructions = sum(len(program.instructions) for program in programs)
    macs = sum(program.macs for program in programs)
    return {
        "step": step.name,
        "programs": len(programs),
        "host_operations": sum(isinstance(each, Host) for each in step.steps),
        "instructions": instructions,
        "instruction_bytes": instructions * INSTRUCTION_BYTES,
        "dram_bytes": step.dram_bytes,
        "macs": macs,
        "ideal_cycles": macs / _places(step),
    }


def _places(step: StepProgram) -> int:
    return step.config.macs_per_cycle


def time_figures(step: StepProgram, results: Sequence[RunResult]) -> dict[str, Any]:
    """Return what a run of a step took.

    Returns
    -------
    dict
        Totals of the counters, `utilisation`, `energy` (see `_energy`), and lists of rows:
        `kinds` by kind of program, `parts` by kind of product, `products` by product; each row with
        `cycles`, `macs`, `ideal_cycles` and `gap_cycles`, which is what the ideal lacks;
        `fold_cycles` of it are for folds that do not fill the array, those that fill places with
        zeros, and for sums of OS that leave between folds: the rest is waiting, for operands,
        results, and at the ends of programs.
    """
    rows = [
        {"program": program.name} | row
        for program, result in zip(step.programs, results, strict=True)
        for row in _products(program, result)
    ]
    total = {name: sum(r.counters[name] for r in results) for name in results[0].counters}
    total["macs"] = sum(program.macs for program in step.programs)
    kinds = [
        {
            "program": kind_of(program.name),
            "times": 1,
            "macs": program.macs,
            "folds": sum(_folds(program.config, each) for each in program.instructions),
        }
        | {name: result.counters[name] for name in _SUMMED if name != "macs"}
        for program, result in zip(step.programs, results, strict=True)
    ]
    parts = [
        {"program": kind_of(row["program"]), "product": kind_of(row["product"]), "times": 1,
         "cycles": row["cycles"], "macs": row["macs"], "folds": row["folds"]}
        for row in rows
    ]  # fmt: skip
    return {
        **total,
        "backend": results[0].backend,
        "seconds": sum(result.seconds for result in results),
        "utilisation": total["macs"] / (total["cycles"] * _places(step)),
        "energy": _energy(step, results),
        "kinds": [_ideal(step, row) for row in _grouped(kinds, "program")],
        "parts": [_ideal(step, row) for row in _grouped(parts, "program", "product")],
        "products": [_ideal(step, row) for row in rows],
    }


def _products(program: Program, result: RunResult) -> list[dict[str, Any]]:
    """Return the products of a program, and what it takes behind the last of them.

    Instructions of products are mixed. The time from one multiplication's end to that of the next
    one's counts for the product of the next.
    """
    owner: dict[int, str] = {}
    rows: dict[str, dict[str, Any]] = {}
    for span in program.products:
        owner |= dict.fromkeys(range(span.start, span.stop), span.name)
        row = rows.setdefault(span.name, {"product": span.name, "shape": [span.m, span.k, span.n],
                                          "macs": 0, "cycles": 0, "folds": 0})  # fmt: skip
        row["macs"] += span.macs
    before = 0
    for event in result.events:
        if event.kind == "done" and event.engine is Engine.EXECUTE and event.index in owner:
            row = rows[owner[event.index]]
            row["cycles"] += event.cycle - before
            row["folds"] += _folds(program.config, program.instructions[event.index])
            before = event.cycle
    rest = result.counters["cycles"] - before
    return [*rows.values(), {"product": "last results", "macs": 0, "cycles": rest, "folds": 0}]


def _folds(config: Config, instruction: Instruction) -> int:
    """Return the cycles of an EXECUTE whose folds follow one another; 0 of others."""
    if not isinstance(instruction, Execute):
        return 0
    dataflow = Dataflow(instruction.dataflow)
    shape = instruction.rows, instruction.reduction, instruction.columns
    return array_cycles(config, dataflow, *shape)


def kind_of(name: str) -> str:
    """Return a name without the path in front and the numbers behind: of the text, with `text`."""
    words = name.split(".")
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    return ".".join(words) if words[0] == "text" else words[-1]


def _grouped(rows: Sequence[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """Return the sums of rows whose values of `keys` are the same, in their order."""
    found: dict[tuple, dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        if key not in found:
            found[key] = dict(row)
            continue
        for name in row.keys() - set(keys):
            found[key][name] += row[name]
    return list(found.values())


def _ideal(step: StepProgram, row: dict[str, Any]) -> dict[str, Any]:
    ideal = row["macs"] / _places(step)
    utilisation = ideal / max(row["cycles"], 1)
    row = dict(row)
    folds = row.pop("folds")
    return row | {"ideal_cycles": ideal, "gap_cycles": row["cycles"] - ideal,
                  "fold_cycles": folds - ideal, "utilisation": utilisation}  # fmt: skip


def _energy(step: StepProgram, results: Sequence[RunResult]) -> dict[str, Any]:
    """Return joules on the chip, and those of DRAM by its class."""
    found = [
        energy(step.config, activity(step.config, program.instructions), result.counters["cycles"])
        for program, result in zip(step.programs, results, strict=True)
    ]
    dram = {name: sum(each.dram[name] for each in found) for name in found[0].dram}
    return {"chip_joules": sum(each.chip for each in found), "dram_joules": dram}


def print_step(report: Report, figures: dict[str, Any]) -> None:
    """Print what a step is."""
    report.line(
        f"{figures['step']}: {figures['programs']:,} programs, "
        f"{figures['host_operations']:,} operations of the host between them"
    )
    report.line(
        f"{figures['instructions']:,} instructions ({figures['instruction_bytes']:,} bytes), "
        f"{figures['dram_bytes']:,} bytes of DRAM with them"
    )
    report.line(f"{figures['macs']:,} MACs, at best {figures['ideal_cycles']:,.0f} cycles")


def print_time(report: Report, figures: dict[str, Any]) -> None:
    """Print what a run took: by kind of program, by kind of product, and in all."""
    report.table([_shown(row, dram=True) for row in figures["kinds"]], section="section")
    report.line("")
    rows = [row for row in figures["parts"] if row["cycles"]]
    report.table([_shown(row, dram=False) for row in rows], section="program")
    report.line(
        "gap: cycles above those that the multiplications take on a full array; of it, folds: for "
        "parts of it that are not full, and sums that leave between folds; the rest is waiting"
    )
    joules = figures["energy"]
    dram = ", ".join(f"{name} {each * 1e3:.3g}" for name, each in joules["dram_joules"].items())
    report.line(f"energy: {joules['chip_joules'] * 1e3:.3g} mJ on the chip; mJ of DRAM: {dram}")


def _shown(row: dict[str, Any], *, dram: bool) -> dict[str, Any]:
    """Return a row with the titles of its columns."""
    shown = {"program": row["program"], "product": row.get("product")}
    shown |= {
        "times": row["times"], "cycles": row["cycles"], "ideal": round(row["ideal_cycles"]),
        "gap": round(row["gap_cycles"]), "folds": round(row["fold_cycles"]),
        "util.": row["utilisation"],
    }  # fmt: skip
    if dram:
        shown |= {"array cycles": row["array_cycles"], "DRAM read": row["dram_read_bytes"],
                  "written": row["dram_write_bytes"], "section": ""}  # fmt: skip
    return shown
