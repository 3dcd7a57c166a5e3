"""What an instruction may not do, whatever the memories hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import (
    Absmax,
    Axis,
    Dataflow,
    Execute,
    Instruction,
    Load,
    Memory,
    Store,
)

from .footprint import Access, Space, blocks, dram_bytes

__all__ = ["misuse", "wrong_address"]


def misuse(config: Config, instruction: Instruction, accesses: Sequence[Access]) -> str | None:
    """Return which use of its fields has no meaning, if any."""
    match instruction:
        case Execute(dataflow=Dataflow.WS) if not config.weight_stationary:
            return "computes weight-stationary, but weight_stationary of the array is 0"
        case Execute(dataflow=Dataflow.OS) if not config.output_stationary:
            return "computes output-stationary, but output_stationary of the array is 0"
        case Load() if instruction.memory not in (Memory.INPUT, Memory.WEIGHT):
            if instruction.transpose:
                return f"transposes into the {Space(instruction.memory).title}"
            if instruction.packed:
                return f"unpacks into the {Space(instruction.memory).title}"
            return "loads a fraction of a scale" if instruction.columns % 4 else None
        case Execute() if instruction.rows > 1 and not instruction.out_row_stride % 2:
            return (
                f"has out_row_stride {instruction.out_row_stride}, which must be odd: rows that "
                "follow one another must lie in different banks"
            )
        case Execute() if config.macs_per_element > 1:
            return _apart(config.macs_per_element, instruction, accesses)
        case Absmax() if instruction.to_updates and instruction.axis is Axis.COLUMN:
            return "makes updates of the maxima of columns, but they scale rows"
        case Absmax():
            # When a row's entry is written, other rows may have been rescaled already, or not yet.
            return _changes_what_it_reads(accesses)
        case _:
            return None


def _apart(together: int, execute: Execute, accesses: Sequence[Access]) -> str | None:
    """Return which words do not lie side by side although the array reads them together."""
    why = f"since the array reads {together} words along the reduction at once"
    for name, access in zip(("left", "right"), accesses, strict=False):
        grid = access.grid
        along, across = ("row", grid.rows), ("block", grid.blocks)
        if name == "left" and execute.dataflow is Dataflow.WS:
            along, across = across, along
        stride = getattr(execute, f"{name}_{along[0]}_stride")
        if along[1] > 1 and stride != 1:
            return f"has {name}_{along[0]}_stride {stride}, which must be 1 {why}"
        values = {f"{name}_base": grid.base}
        if across[1] > 1:
            field = f"{name}_{across[0]}_stride"
            values[field] = getattr(execute, field)
        for field, value in values.items():
            if value % together:
                return f"has {field} {value}, which must be a multiple of {together} {why}"
    return None


def _changes_what_it_reads(accesses: Sequence[Access]) -> str | None:
    scales = [access for access in accesses if access.space is Space.ROW_SCALE]
    read = [access.grid.words() for access in scales if not access.write]
    written = [access.grid.words() for access in scales if access.write]
    if not read or not written:
        return None
    both = np.intersect1d(np.concatenate(read), np.concatenate(written))
    return f"reads and writes word {both[0]} of the {Space.ROW_SCALE.title}" if both.size else None


def wrong_address(
    config: Config,
    instruction: Load | Store | Absmax,
    access: Access,
    dram_size: int,
    program: range,
) -> str | None:
    """Return what is wrong with an access to DRAM, if anything; `program` are bytes of it."""
    bus = config.bus_bytes
    rows, _, pitch = dram_bytes(instruction)
    for name, value in (("address", instruction.dram), ("pitch", pitch if rows > 1 else 0)):
        if value % bus:
            return f"has DRAM {name} {value:#x}, no multiple of the bus width of {bus} bytes"
    end = (access.grid.last + 1) * bus
    if end > min(dram_size, 1 << config.address_bits):
        return f"reaches DRAM byte {end - 1:#x}, but there are {dram_size:#x}"
    if access.write and instruction.dram < program.stop and end > program.start:
        # Instructions are fetched ahead of those that run: nobody can say which would be seen.
        beats = access.grid.words()
        hit = beats[(beats >= program.start // bus) & (beats < blocks(program.stop, bus))]
        if hit.size:
            return f"writes DRAM byte {hit[0] * bus:#x}, where the program lies"
    return None
