"""What a random program has in it, and how many of a thousand must."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hw.isa.instructions import Absmax, Dataflow, Execute, Format, Instruction, Store
from sim.dram import Stalls

from .case import CONFIGS, Case, Maxima, Operand, Output, Place, Product, Step, config_of
from .lower import beyond_lanes, padding_counts

__all__ = ["LEAST", "features"]

LEAST: dict[str, int] = {
    **{f"config {name}": 100 for name in CONFIGS},
    "latency of one cycle": 100,
    "latency of a hundred cycles": 100,
    "bandwidth limited": 400,
    "no stalls": 200,
    **{f"stalls on {channel}": 400 for channel in ("ar", "r", "aw", "w", "b")},
    "reordered": 300,
    "waits for several tokens": 100,
    "program before the data": 300,
    "several steps": 400,
    "several row tiles": 250,
    "several column tiles": 250,
    "sums of an earlier step kept": 100,
    "sums spread over both halves": 10,
    "words between words": 300,
    "blocks before rows": 300,
    "a tile of thirty rows": 20,
    "a tile of thirty columns": 20,
    "a reduction of thirty": 40,
    "one row": 150,
    "one column": 150,
    "reduction of one": 150,
    "reduction above a fold, ws": 150,
    "reduction above a fold, os": 150,
    "execute ws": 500,
    "execute os": 500,
    "execute accumulates": 300,
    "execute overwrites sums": 100,
    "reduction in several, loaded whole": 50,
    "reduction in several, loaded apart": 100,
    "scaled ws": 150,
    "scaled os": 150,
    "scaled and overwriting": 50,
    "scaled by table": 150,
    "scaled by made entries": 100,
    "scaled by made entries of a tensor": 10,
    "table beside made entries": 30,
    "table loaded while entries are made": 60,
    "scale fill large": 40,
    "scale fill extreme": 40,
    **{
        f"transposed {memory}, {flow}": 100 for memory in ("left", "right") for flow in ("ws", "os")
    },
    "packed and transposed": 100,
    **{f"packed {memory}, {flow}": 80 for memory in ("left", "right") for flow in ("ws", "os")},
    **{f"copy as {role}": 100 for role in ("left", "right")},
    "copy as transposed operand": 50,
    **{f"lanes beyond {role}, {flow}": 60 for role in ("left", "right") for flow in ("ws", "os")},
    "columns beyond the matrix, scaled by large entries": 15,
    "copy over an earlier one": 50,
    **{
        f"operand fill {fill}": 50
        for fill in ("random", "minus128", "full", "ones", "zeros", "sparse")
    },
    **{f"store {form.name.lower()}": 150 for form in Format},
    **{f"stochastic {form.name.lower()}": 60 for form in Format if form is not Format.INT32},
    "origin past its end": 40,
    "made scales, row": 80,
    "made scales, column": 100,
    "made scales, tensor": 80,
    "row scales made, then columns rescaled by them": 3,
    **{
        f"absmax {axis} {what}": least
        for axis, extra in (("row", 1), ("column", 0), ("tensor", 1))
        for what, least in (
            ("to dram", 150),
            ("to scales", 150),
            ("to updates", 80 * extra),
            ("scaled", 60),
            ("merged", 60),
            ("kept only", 20),
        )
        if least
    },
    "absmax to everything": 30,
    "absmax asked for every tile": 40,
    "factor zero": 20,
    "factor far out": 20,
    "factor of large sums far out": 5,
    "both operands minus128": 5,
    "requantised with large scales": 50,
}
"""Least number of programs of a thousand, by feature; about half of what is drawn now."""


def features(case: Case, program: Sequence[Instruction]) -> set[str]:
    """Return every feature of a case; all are named in `LEAST`."""
    found = set(_of_world(case))
    for number, step in enumerate(case.steps):
        found.update(_of_step(step))
        for action in step.actions:
            if isinstance(action, Product):
                found.update(_of_padding(case, number, action))
    for instruction in program:
        found.update(_of_instruction(case, instruction))
    return found


def _of_world(case: Case) -> Iterator[str]:
    yield f"config {case.config}"
    if case.timing.latency == 1:
        yield "latency of one cycle"
    if case.timing.latency == 100:
        yield "latency of a hundred cycles"
    if case.timing.bytes_per_cycle is not None:
        yield "bandwidth limited"
    if case.stalls == Stalls():
        yield "no stalls"
    for channel in ("ar", "r", "aw", "w", "b"):
        if getattr(case.stalls, channel):
            yield f"stalls on {channel}"
    if case.order is not None:
        yield "reordered"
    if case.program_first:
        yield "program before the data"
    if len(case.steps) > 1:
        yield "several steps"


def _of_step(step: Step) -> Iterator[str]:
    if len(step.m) > 1:
        yield "several row tiles"
    if len(step.n) > 1:
        yield "several column tiles"
    if step.keep:
        yield "sums of an earlier step kept"
    if step.place.gap or step.place.step > 1:
        yield "words between words"
    if step.place.by_block:
        yield "blocks before rows"
    tensor = large = False
    pairs = [
        (one, other)
        for one, other in zip(step.actions, step.actions[1:], strict=False)
        if isinstance(one, Product) and isinstance(other, Product) and one.made
    ]
    if pairs:
        yield "table beside made entries"
    if any(one.left.source == 1 for one, _ in pairs):
        yield "table loaded while entries are made"
    for turn, action in enumerate(step.actions):
        if isinstance(action, Product):
            yield from _of_product(action)
            if (turn or step.keep) and not action.accumulate:
                yield "execute overwrites sums"
            large = large or (action.scale is not None and action.scale.fill == "large")
            if action.made and tensor:
                yield "scaled by made entries of a tensor"
        else:
            yield from _of_output(action)
            for maxima in action.maxima:
                tensor = maxima.axis == "tensor" if maxima.to_updates else tensor
                if large and maxima.to_updates and maxima.factor[1] > 63:
                    yield "factor of large sums far out"


def _of_padding(case: Case, number: int, product: Product) -> Iterator[str]:
    """Tell which operands have words whose lanes outside the matrix were loaded too."""
    config, step, flow = config_of(case.config), case.steps[number], product.dataflow
    reduction = (sum(product.parts),) if product.whole else product.parts
    for role, width, tiles in (
        ("left", config.rows, reduction if flow == "ws" else step.m),
        ("right", config.columns, step.n),
    ):
        operand = getattr(product, role)
        if role == "right" and padding_counts(case, number):
            continue
        if not any(beyond_lanes(operand, lanes, width) for lanes in tiles):
            continue
        yield f"lanes beyond {role}, {flow}"
        if role == "right" and product.scale is not None and product.scale.fill == "large":
            yield "columns beyond the matrix, scaled by large entries"


def _of_product(product: Product) -> Iterator[str]:
    if len(product.parts) > 1:
        yield f"reduction in several, loaded {'whole' if product.whole else 'apart'}"
    if product.made:
        yield "scaled by made entries"
    elif product.scale is not None:
        yield "scaled by table"
        if product.scale.fill in ("large", "extreme"):
            yield f"scale fill {product.scale.fill}"
    fills = set()
    for role in ("left", "right"):
        operand: Operand = getattr(product, role)
        fills.add(None if operand.source else operand.fill)
        if operand.source:
            yield f"copy as {role}"
            if operand.transpose:
                yield "copy as transposed operand"
        else:
            yield f"operand fill {operand.fill}"
            if operand.packed:
                yield f"packed {role}, {product.dataflow}"
                if operand.transpose:
                    yield "packed and transposed"
        if operand.transpose:
            yield f"transposed {role}, {product.dataflow}"
        if operand.place != Place(operand.place.base) and operand.place.by_block:
            yield "blocks before rows"
    if fills == {"minus128"}:
        yield "both operands minus128"


def _of_output(output: Output) -> Iterator[str]:
    if output.over and output.form is not None:
        yield "copy over an earlier one"
    by_row = False
    for maxima in output.maxima:
        yield from _of_maxima(maxima)
        if maxima.scaled and by_row:
            yield "row scales made, then columns rescaled by them"
        by_row = by_row or (maxima.axis == "row" and maxima.to_scales)
    made = {maxima.axis for maxima in output.maxima if maxima.to_scales}
    wanted = {"row_column": "column"}.get(output.form, output.form)
    if wanted in made:
        yield f"made scales, {wanted}"
    elif wanted is not None and wanted != "int32":
        table = output.columns if wanted == "column" else output.rows
        if table.fill in ("large", "extreme"):
            yield "requantised with large scales"


def _of_maxima(maxima: Maxima) -> Iterator[str]:
    if maxima.eager:
        yield "absmax asked for every tile"
    if maxima.to_updates:
        m, s = maxima.factor
        if not m:
            yield "factor zero"
        if not -16 <= s <= 63:
            yield "factor far out"


def _of_instruction(case: Case, instruction: Instruction) -> Iterator[str]:
    if max(instruction.wait_load, instruction.wait_execute, instruction.wait_store) > 1:
        yield "waits for several tokens"
    match instruction:
        case Execute():
            yield from _of_execute(case, instruction)
        case Store():
            form = instruction.format.name.lower()
            yield f"store {form}"
            if instruction.stochastic:
                yield f"stochastic {form}"
                ends = (
                    instruction.origin_row + instruction.rows,
                    instruction.origin_column + instruction.columns,
                )
                if max(ends) > 1 << 16:
                    yield "origin past its end"
        case Absmax():
            yield from _of_absmax(instruction)


def _of_execute(case: Case, execute: Execute) -> Iterator[str]:
    config = config_of(case.config)
    flow = execute.dataflow.name.lower()
    yield f"execute {flow}"
    if execute.accumulate:
        yield "execute accumulates"
    if execute.scale:
        yield f"scaled {flow}"
        if not execute.accumulate:
            yield "scaled and overwriting"
    if execute.reduction > config.fold_reduction:
        yield f"reduction above a fold, {Dataflow(execute.dataflow).name.lower()}"
    if execute.rows >= 30:
        yield "a tile of thirty rows"
    if execute.columns >= 30:
        yield "a tile of thirty columns"
    if execute.reduction >= 30:
        yield "a reduction of thirty"
    if execute.rows == 1:
        yield "one row"
    if execute.columns == 1:
        yield "one column"
    if execute.reduction == 1:
        yield "reduction of one"
    last = (execute.rows - 1) * execute.out_row_stride + execute.out_base
    last += (-(-execute.columns // config.columns) - 1) * execute.out_block_stride
    if execute.out_base < config.output_depth <= last:
        yield "sums spread over both halves"


def _of_absmax(absmax: Absmax) -> Iterator[str]:
    axis = absmax.axis.name.lower()
    asked = {
        "to dram": absmax.to_dram,
        "to scales": absmax.to_scales,
        "to updates": absmax.to_updates,
    }
    yield from (
        f"absmax {axis} {what}"
        for what, given in {**asked, "scaled": absmax.scaled, "merged": absmax.merge}.items()
        if given
    )
    if not any(asked.values()):
        yield f"absmax {axis} kept only"
    if all(asked.values()):
        yield "absmax to everything"
