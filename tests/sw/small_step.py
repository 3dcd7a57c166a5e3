"""A step made by hand: two products, and what the host does between them."""

from __future__ import annotations

from dataclasses import replace

from hw.isa.config import Config
from sw.gemm import compile_gemm
from sw.graph.ir import Host, Value
from sw.graph.program import StepProgram
from sw.place import Layout, Role
from sw.program import Program

__all__ = ["CONFIG", "small_step"]

CONFIG = Config()
_SPACE = 4096
"""Bytes of DRAM for each of the two programs."""


def small_step() -> StepProgram:
    """Return C = A . W, D = double(C), E = D . W on a 4x4 array; W is constant."""
    first = _named(compile_gemm(CONFIG, 8, 6, 6)[0], {"A": "A", "B": "W", "C": "C"}, 0)
    second = _named(compile_gemm(CONFIG, 8, 6, 6)[0], {"A": "D", "B": "W", "C": "E"}, _SPACE)
    values = [
        Value("A", "int8", 8, 6), Value("W", "int8", 6, 6, constant=True),
        Value("C", "int32", 8, 6), Value("D", "int8", 8, 6), Value("E", "int32", 8, 6),
    ]  # fmt: skip
    host = Host("double", "double", ("C",), ("D",))
    meta = {"kind": "step", "sites": [["a", 6], ["b", 6]], "scaling": 1.5}
    named = {value.name: value for value in values}
    return StepProgram("small", CONFIG, named, (first, host, second), meta)


def _named(program: Program, names: dict[str, str], shift: int) -> Program:
    """Return a product on buffers of other names, `shift` bytes further on in DRAM."""
    buffers = tuple(
        replace(each, name=names[each.name], address=each.address + shift)
        for each in program.buffers
    )
    instructions = tuple(
        replace(each, dram=each.dram + shift) if hasattr(each, "dram") else each
        for each in program.instructions
    )
    layout = Layout(buffers, program.layout.program_address + shift)
    assert all(each.role in (Role.INPUT, Role.OUTPUT) for each in buffers)
    return replace(program, name=names["C"], layout=layout, instructions=instructions)
