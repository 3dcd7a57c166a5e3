"""Programs and steps as plain mappings, for files and texts; instructions go beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hw.isa.config import Config, ConfigError
from hw.isa.instructions import Axis, Instruction

from .graph.ir import Copy, Host, Maxima, Output, Sums, Updates, Value, View
from .graph.program import StepProgram
from .place import Buffer, Layout, PlacementError, Role, row_bytes
from .program import ProductSpan, Program
from .tile import Span

__all__ = [
    "build_config",
    "build_host",
    "build_program",
    "build_step",
    "describe",
    "describe_step",
]


def describe(step: Program | Host, *, config: bool = True) -> dict[str, Any]:
    """Return what a program is but for its instructions, or a host operation."""
    if isinstance(step, Host):
        described = {"host": step.kind, "name": step.name}
        described |= {"reads": list(step.reads), "writes": list(step.writes)}
        outputs = [_describe_output(output) for output in step.outputs]
        return described | ({"outputs": outputs} if outputs else {})
    return {
        "name": step.name,
        **({"config": step.config.to_mapping()} if config else {}),
        "program_address": step.layout.program_address,
        "buffers": [dict(vars(buffer)) for buffer in step.buffers],
        "products": [dict(vars(product)) for product in step.products],
        "meta": step.meta,
        "instructions": len(step.instructions),
    }


def describe_step(step: StepProgram) -> dict[str, Any]:
    """Return what a step is, but for its programs and host operations."""
    return {
        "name": step.name,
        "config": step.config.to_mapping(),
        "values": [list(vars(value).values()) for value in step.values.values()],
        "meta": dict(step.meta),
    }


def build_step(item: Mapping[str, Any], steps: Sequence[Program | Host]) -> StepProgram:
    """Return the step of its description.

    Raises
    ------
    ValueError, TypeError, KeyError
        The description has the wrong form.
    """
    values = {name: Value(name, *rest) for name, *rest in item["values"]}
    step = StepProgram(item["name"], build_config(item), values, tuple(steps), dict(item["meta"]))
    for program in step.programs:
        if program.config != step.config:
            raise ValueError(f"program {program.name} is for another configuration than its step")
    for host in steps:
        if isinstance(host, Host):
            for name in (*host.reads, *host.writes):
                if name not in values:
                    raise ValueError(f"host {host.name} works on {name!r}, which is no value")
    return step


def build_config(item: Mapping[str, Any]) -> Config:
    """Return the configuration of a description; raises as `build_step`."""
    try:
        return Config.from_mapping(item["config"])
    except ConfigError as error:
        raise ValueError(f"its configuration is wrong: {error}") from None


def build_host(item: Mapping[str, Any]) -> Host:
    """Return the host operation of its description; raises as `build_step`."""
    outputs = tuple(_build_output(output) for output in item.get("outputs", ()))
    return Host(item["host"], item["name"], tuple(item["reads"]), tuple(item["writes"]), outputs)


_OUTPUTS: dict[str, type[Output]] = {each.__name__: each for each in (Sums, Maxima, Updates, Copy)}
_SPANS = "rows", "columns"
_VIEWS = "to", "unit", "factor", "entries"


def _describe_output(output: Output) -> dict[str, Any]:
    described: dict[str, Any] = {"output": type(output).__name__}
    for name, value in vars(output).items():
        described[name] = list(vars(value).values()) if isinstance(value, View) else value
    return described


def _build_output(item: Mapping[str, Any]) -> Output:
    """Return an output of its description; raises as `build_step`."""
    fields = dict(item)
    made = _OUTPUTS[fields.pop("output")]
    for name in _SPANS:
        fields[name] = Span(*fields[name])
    for name in _VIEWS:
        if fields.get(name) is not None:
            value, rows, columns, transposed = fields[name]
            fields[name] = View(value, Span(*rows), Span(*columns), transposed)
    if "axis" in fields:
        fields["axis"] = Axis(fields["axis"])
    return made(**fields)


def build_program(
    item: Mapping[str, Any],
    instructions: Sequence[Instruction],
    config: Config,
) -> Program:
    """Return the program of its description, for a configuration.

    Raises
    ------
    ValueError, TypeError, KeyError
        The description has the wrong form.
    """
    buffers = tuple(_buffer(fields, item["program_address"]) for fields in item["buffers"])
    products = tuple(ProductSpan(**fields) for fields in item["products"])
    for product in products:
        if not 0 <= product.start <= product.stop <= len(instructions):
            raise ValueError(f"product {product.name} has instructions that do not exist")
    layout = Layout(buffers, item["program_address"])
    try:
        return Program(
            item["name"], config, tuple(instructions), layout, products, dict(item["meta"])
        )
    except PlacementError as error:
        raise ValueError(str(error)) from None


def _buffer(fields: Mapping[str, Any], program_address: int) -> Buffer:
    buffer = Buffer(**fields | {"role": Role(fields["role"])})
    needed = row_bytes(buffer.dtype, buffer.columns)
    if min(buffer.rows, buffer.columns) < 1 or buffer.pitch < needed or buffer.address < 0:
        raise ValueError(f"buffer {buffer.name} has no possible shape")
    if buffer.end > program_address:
        raise ValueError(f"buffer {buffer.name} reaches into the instructions")
    return buffer
