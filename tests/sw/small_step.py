"""A step made by hand: the projections of a text and their dX, without LoRA's products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hw.isa.config import Config
from sw.gemm import compile_gemm
from sw.graph.ir import Host, Value
from sw.graph.program import StepProgram
from sw.graph.shape import Shape, Site
from sw.place import Buffer, Layout, Request, Role, place
from sw.program import Program

__all__ = ["CONFIG", "SHAPE", "small_step"]

CONFIG = Config()
SHAPE = Shape("kv", 2, 4, 6, tuple(Site(f"{i}.to_k", 6, 2) for i in range(2)), ()).placed(4)


def small_step(config: Config = CONFIG) -> StepProgram:
    """Return Y = X . W and dX = dY . W^T on a 4x4 array; W lies in DRAM for both, and for ever."""
    rows, width, columns = SHAPE.rows, SHAPE.text_width, SHAPE.columns
    values = [
        Value("text.W", "int8", width, columns, constant=True),
        Value("text.X.row", "int8", rows, width), Value("text.Y", "int32", rows, columns),
        Value("text.dY.row", "int8", rows, columns), Value("text.dX", "int32", rows, width),
    ]  # fmt: skip
    roles = [Role.INPUT, Role.INPUT, Role.OUTPUT, Role.INPUT, Role.OUTPUT]
    requests = [Request(value.name, value.dtype, value.rows, value.columns, role)
                for value, role in zip(values, roles, strict=True)]  # fmt: skip
    layout = place(config, requests)
    (forward,) = compile_gemm(config, rows, width, columns)
    (backward,) = compile_gemm(config, rows, columns, width, transpose_b=True)
    kept = replace(layout["text.W"], role=Role.KEPT)
    steps = (
        Host("weights", "weights", (), ("text.W",)),
        Host("text_inputs", "text.inputs", (), ("text.X.row",)),
        _moved(forward, layout, {"A": layout["text.X.row"], "B": layout["text.W"],
                                 "C": layout["text.Y"]}),
        Host("text_loss", "text.loss", ("text.Y",), ("text.dY.row",)),
        _moved(backward, layout, {"A": layout["text.dY.row"], "B": kept, "C": layout["text.dX"]}),
    )  # fmt: skip
    return StepProgram("small", config, {value.name: value for value in values}, steps, _meta())


def _meta() -> dict:
    """Return what a file gives back: lists, and no tuples."""
    return {key: list(value) if isinstance(value, tuple) else value
            for key, value in SHAPE.meta.items()}  # fmt: skip


def _moved(program: Program, layout: Layout, places: Mapping[str, Buffer]) -> Program:
    """Return a product whose buffers are those of a layout."""
    assert all(places[b.name].pitch == b.pitch for b in program.buffers)

    def moved(address: int) -> int:
        old = next(b for b in program.buffers if b.address <= address < b.end)
        return address - old.address + places[old.name].address

    instructions = tuple(
        replace(each, dram=moved(each.dram)) if hasattr(each, "dram") else each
        for each in program.instructions
    )
    own = Layout(tuple(places.values()), layout.program_address)
    name = places["C"].name
    products = tuple(replace(each, name=name) for each in program.products)
    return replace(program, name=name, layout=own, instructions=instructions, products=products)
