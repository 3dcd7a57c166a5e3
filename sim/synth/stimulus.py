"""What units of the hardware see while they compute real products, recorded from the RTL.

The execute engine runs in Amaranth's simulator with its operand memories filled, and the ports of
the units asked for are written down in every cycle. The sums it leaves are compared with the
product, so what is recorded is what correct hardware does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute
from hw.isa.numerics import INT8_MAX

__all__ = ["Recording", "column_slice", "normal_int8", "record", "replay"]

_LONGEST = 200_000
"""Cycles after which a run is given up."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Ports of a unit in every cycle, by their names in emitted Verilog; the clock is left out.

    Members
    -------
    inputs, outputs : mapping of str to uint8 (cycles, bits)
        Settled values, bit 0 first.
    fields : mapping of str to mapping of str to slice
        Bits of the fields of a port that is a record.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    fields: Mapping[str, Mapping[str, slice]]

    @property
    def cycles(self) -> int:
        """Length of the recording."""
        return len(next(iter(self.inputs.values())))

    def field(self, port: str, name: str, missing: bool = False) -> np.ndarray:
        """Return a field of one bit of an input, bool (cycles,); `missing` if there is none."""
        if name not in self.fields[port]:
            return np.full(self.cycles, missing)
        return self.inputs[port][:, self.fields[port][name].start].astype(bool)

    def difference(self, outputs: Mapping[str, np.ndarray], start: int = 0) -> str | None:
        """Say where a netlist's outputs are not those of the RTL; None if they are.

        What a register without reset holds before it is first written is not known of a netlist.
        So a bit counts from the cycle in which it first changes, in either, and not before `start`,
        which is for pipelines that pass on what they hold.
        """
        for port, all_expected in self.outputs.items():
            expected, seen = all_expected[start:], outputs[port][start:]
            moved = (expected != expected[0]) | (seen != seen[0])
            wrong = np.argwhere((expected != seen) & np.logical_or.accumulate(moved, axis=0))
            if len(wrong):
                cycle, bit = wrong[0]
                return f"{port}, bit {bit}, in cycle {start + cycle}"
        return None


def normal_int8(rng: np.random.Generator, rows: int, columns: int, bits: int = 8) -> np.ndarray:
    """Return normally distributed values, quantised symmetrically, each row by its maximum.

    Parameters
    ----------
    bits : int
        Of the values: with fewer than eight they are small integers.

    Returns
    -------
    int8, (rows, columns)
    """
    values = rng.normal(size=(rows, columns))
    limit = INT8_MAX >> (8 - bits)
    quotient = values * limit / np.abs(values).max(axis=1, keepdims=True)
    return np.trunc(quotient + np.copysign(0.5, quotient)).astype(np.int8)


def column_slice(config: Config, left: np.ndarray, right: np.ndarray) -> Config:
    """Return a configuration with few columns and memories just large enough for a product.

    What an element sees does not depend on how many columns lie beside it, so two do, and the
    simulation takes little time. `config.columns` is kept if it is less.
    """
    columns, least = min(config.columns, 2), config.fold_reduction
    (rows, reduction), width = left.shape, right.shape[1]
    blocks = -(-width // columns)
    together = config.macs_per_element
    deep = _up(reduction, together)
    words = max(rows * _up(-(-reduction // config.rows), together), deep * -(-rows // config.rows))
    return dataclasses.replace(
        config,
        columns=columns,
        input_depth=_power_of_two(max(least, -(-words // 2))),
        weight_depth=_power_of_two(max(least, -(-deep * blocks // 2))),
        output_depth=_power_of_two(max(least, rows * blocks)),
    )


def record(
    config: Config,
    left: np.ndarray,
    right: np.ndarray,
    dataflow: Dataflow,
    units: Sequence[str],
) -> dict[str, Recording]:
    """Run a product on the execute engine and record units of it.

    Parameters
    ----------
    config : Config
        Its memories must hold the product, see `column_slice`.
    left : int8 (M, K), right : int8 (K, N)
    units : sequence of str
        Paths of submodules, such as ``array.row_3.pe_0``.

    Returns
    -------
    dict of str to Recording
        From the cycle in which the first operand is read to that in which the last result is
        written.

    Raises
    ------
    ValueError
        There is no such unit.
    RuntimeError
        The sums are not those of the product.
    """
    from amaranth.sim import Simulator

    from hw.execute import ExecuteEngine
    from hw.shared import Builder

    engine = ExecuteEngine(config, Builder())
    found = _find(engine, units)
    run = _Run(config, engine, left, right, dataflow, found)
    simulator = Simulator(run.design)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run.bench)
    simulator.add_testbench(run.watch, background=True)
    simulator.run()
    return run.recordings()


def replay(unit: Any, inputs: Mapping[str, Sequence[int]]) -> Recording:
    """Run a component by itself, and record it.

    Parameters
    ----------
    unit : Component
        Of `hw`; used up.
    inputs : mapping of str to sequence of int
        Values of ports in each cycle; ports that are not there stay low.
    """
    from amaranth.sim import Simulator

    ports = _ports(unit)
    driven = {name: value for name, is_input, value, _ in ports if is_input and name in inputs}
    seen: list[tuple[int, ...]] = []

    async def bench(ctx: Any) -> None:
        for cycle in range(len(next(iter(inputs.values())))):
            for name, value in driven.items():
                ctx.set(value, int(inputs[name][cycle]))
            _, _, *values = await ctx.tick().sample(*(value for _, _, value, _ in ports))
            seen.append(tuple(values))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return _recording(ports, seen, 0)


def _recording(
    ports: list[tuple[str, bool, Any, dict[str, slice]]], rows: list[tuple[int, ...]], place: int
) -> Recording:
    """Return the ports whose values begin at `place` of each row."""
    inputs, outputs, fields = {"rst": np.zeros((len(rows), 1), np.uint8)}, {}, {}
    for number, (port, is_input, value, parts) in enumerate(ports, place):
        bits = _bits([row[number] for row in rows], len(value))
        (inputs if is_input else outputs)[port] = bits
        fields[port] = parts
    return Recording(inputs, outputs, fields)


class _Run:
    """One product on an engine."""

    def __init__(
        self,
        config: Config,
        engine: Any,
        left: np.ndarray,
        right: np.ndarray,
        dataflow: Dataflow,
        found: tuple[Any, dict[str, Any]],
    ) -> None:
        self.config, self.engine = config, engine
        self.left, self.right, self.dataflow = left, right, dataflow
        self.design, self.units = found
        self.ports = {name: _ports(unit) for name, unit in self.units.items()}
        self.seen: list[tuple[int, ...]] = []
        self.first = self.last = 0

    async def bench(self, ctx: Any) -> None:
        """Fill the memories, run the product and compare its sums."""
        engine, config = self.engine, self.config
        together = config.macs_per_element
        is_ws = self.dataflow == Dataflow.WS
        left = self.left if is_ws else self.left.T
        for port, words in (
            (engine.write_left, _words(left, config.rows, together, by_row=is_ws)),
            (engine.write_right, _words(self.right, config.columns, together)),
        ):
            for address, word in words.items():
                ctx.set(port.p.address, address)
                if "places" in port.p.shape().members:
                    ctx.set(port.p.places, 1 << address % together)
                    word <<= address % together * 8 * config.rows
                ctx.set(port.p.data, word)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)
        code = int.from_bytes(encode(self._instruction()), "little")
        ctx.set(engine.i.payload.as_value(), code)
        ctx.set(engine.i.valid, 1)
        await ctx.tick().until(engine.i.ready)
        ctx.set(engine.i.valid, 0)
        for _ in range(_LONGEST):
            if not ctx.get(engine.busy):
                break
            await ctx.tick()
        else:
            raise RuntimeError(f"the engine is busy after {_LONGEST} cycles")
        await self._compare(ctx)

    def _instruction(self) -> Execute:
        (rows, reduction), width = self.left.shape, self.right.shape[1]
        is_ws, together = self.dataflow == Dataflow.WS, self.config.macs_per_element
        lying = self.left if is_ws else self.left.T
        left = _strides(lying.shape, self.config.rows, together, by_row=is_ws)
        right = _strides(self.right.shape, self.config.columns, together)
        return Execute(
            dataflow=self.dataflow,
            rows=rows,
            reduction=reduction,
            columns=width,
            left_row_stride=left[0],
            left_block_stride=left[1],
            right_row_stride=right[0],
            right_block_stride=right[1],
            out_row_stride=1,
            out_block_stride=rows,
        )

    async def _compare(self, ctx: Any) -> None:
        """Read the sums back, block of columns after block."""
        engine, columns = self.engine, self.config.columns
        expected = self.left.astype(np.int32) @ self.right.astype(np.int32)
        rows, width = expected.shape
        for block in range(-(-width // columns)):
            for row in range(rows):
                ctx.set(engine.read_address, row + block * rows)
                ctx.set(engine.read_enable, 1)
                await ctx.tick()
                word = ctx.get(engine.read_data).to_bytes(4 * columns, "little")
                part = expected[row, block * columns : (block + 1) * columns]
                if (np.frombuffer(word, "<i4")[: part.size] != part).any():
                    raise RuntimeError(f"row {row}, block {block}: the RTL's sums are wrong")

    async def watch(self, ctx: Any) -> None:
        """Write down all ports from the first operand read to the last result written."""
        engine = self.engine
        signals = [value for ports in self.ports.values() for _, _, value, _ in ports]
        started = False
        async for _, _, fed, written, *values in ctx.tick().sample(
            engine.fed, engine.written, *signals
        ):
            started = started or bool(fed)
            if started:
                self.seen.append(tuple(values))
            if written:
                self.last = len(self.seen)

    def recordings(self) -> dict[str, Recording]:
        """Return what was seen, by unit."""
        found, place = {}, 0
        cycles = self.seen[: self.last]
        for name, ports in self.ports.items():
            found[name] = _recording(ports, cycles, place)
            place += len(ports)
        return found


def _find(engine: Any, units: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Elaborate an engine; return its design, and the components at some paths in it."""
    from amaranth.hdl import Fragment

    design = Fragment.get(engine, None)
    known: dict[str, Any] = {}

    def walk(fragment: Any, path: tuple[str, ...]) -> None:
        for origin in fragment.origins or ():
            known.setdefault(".".join(path), origin)
        for inner, name, _ in fragment.subfragments:
            if name is not None:
                walk(inner, (*path, name))

    walk(design, ())
    for unit in units:
        if unit not in known:
            near = sorted(name for name in known if name.startswith(unit.partition(".")[0]))
            raise ValueError(f"no unit {unit!r} in the execute engine; there are {near[:4]} ...")
    return design, {unit: known[unit] for unit in units}


def _ports(unit: Any) -> list[tuple[str, bool, Any, dict[str, slice]]]:
    """Return name, whether it is an input, value and fields of each port of a component."""
    from amaranth.hdl import Value
    from amaranth.lib import data, wiring

    found = []
    for path, member, value in unit.signature.flatten(unit):
        fields = {}
        if isinstance(value, data.View) and isinstance(value.shape(), data.StructLayout):
            fields = {
                name: slice(field.offset, field.offset + field.width)
                for name, field in value.shape()
            }
        name = "__".join(map(str, path))
        found.append((name, member.flow is wiring.In, Value.cast(value), fields))
    return found


def _strides(
    shape: tuple[int, int], lanes: int, together: int, *, by_row: bool = False
) -> tuple[int, int]:
    """Return the words from row to row and from block to block of a matrix on the chip.

    Words along the reduction that are read `together` lie side by side: those of a row if the
    reduction is along it, else those of a block.
    """
    rows, blocks = shape[0], -(-shape[1] // lanes)
    if by_row or together == 1:
        return _up(blocks, together), 1
    return 1, _up(rows, together)


def _words(
    matrix: np.ndarray, lanes: int, together: int, *, by_row: bool = False
) -> dict[int, int]:
    """Return a matrix as words of int8 lanes by their address, each filled up with zeros."""
    rows, width = matrix.shape
    blocks = -(-width // lanes)
    padded = np.zeros((rows, blocks * lanes), np.int8)
    padded[:, :width] = matrix
    row_stride, block_stride = _strides(matrix.shape, lanes, together, by_row=by_row)
    return {
        row * row_stride + block * block_stride: int.from_bytes(word.tobytes(), "little")
        for row, line in enumerate(padded)
        for block, word in enumerate(line.reshape(-1, lanes))
    }


def _up(extent: int, granule: int) -> int:
    return -(-extent // granule) * granule


def _bits(values: Sequence[int], width: int) -> np.ndarray:
    """Return integers as bits, uint8 (count, width), the lowest first."""
    size, mask = -(-width // 8), (1 << width) - 1
    packed = b"".join((int(value) & mask).to_bytes(size, "little") for value in values)
    rows = np.frombuffer(packed, np.uint8).reshape(len(values), size)
    return np.unpackbits(rows, axis=1, bitorder="little")[:, :width]


def _power_of_two(least: int) -> int:
    return max(4, 1 << (least - 1).bit_length())
