"""The accumulator: read-modify-write of the output memory as sums leave the array."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from .array import pack, total
from .isa.config import Config
from .layout import SCALE
from .requantise import ONE, Requantise
from .shared import Builder
from .sram import Sram

__all__ = ["Accumulate", "Lane", "operation_layout"]


def operation_layout(config: Config) -> data.StructLayout:
    """Return what travels along the columns with each row of sums."""
    return data.StructLayout(
        {
            "valid": 1,
            "address": exact_log2(config.output_depth) + 1,
            "accumulate": 1,
            "forward": 1,  # the row before went to the same address: its sum is not in memory yet
            "scale": SCALE,
            "scaled": 1,  # multiply by `scale`, and saturate
            "columns": range(config.columns + 1),  # inside the matrix; the others are padding
            "end": 1,  # last row of its instruction
            "signal_store": 1,
        }
    )


class Lane(wiring.Component):
    """One column of the accumulator: scale, add, and the column's two halves of output memory.

    Members
    -------
    value : In(signed(32))
        The sum that leaves the array.
    scale : In(SCALE)
        Of the operation `value` belongs to; `ONE` if it has none.
    fetch_valid, fetch_accumulate, fetch_address : In
        The operation two cycles later: its old sum is read.
    commit_valid, commit_accumulate, commit_forward, commit_scaled, commit_address : In
        The operation three cycles later: its new sum is written.
    commit_inside : In(1)
        The column is one of that operation's matrix: what is limited counts.
    read_enable, read_address : In; read_data : Out(32)
        The store engine's port; the data comes a cycle later. It must not read a half whose old
        sum is read in the same cycle.
    limited : Out(1)
        In the cycle before, a scaled sum of the matrix was written that int32 did not hold: it, or
        what was added to it, was limited.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._depth, self._builder = config.output_depth, builder
        address = unsigned(exact_log2(config.output_depth) + 1)
        super().__init__(
            {
                "value": In(signed(32)),
                "scale": In(SCALE),
                "fetch_valid": In(1),
                "fetch_accumulate": In(1),
                "fetch_address": In(address),
                "commit_valid": In(1),
                "commit_accumulate": In(1),
                "commit_forward": In(1),
                "commit_scaled": In(1),
                "commit_inside": In(1),
                "commit_address": In(address),
                "read_enable": In(1),
                "read_address": In(address),
                "read_data": Out(32),
                "limited": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.rescale = rescale = Requantise(32, self._builder)
        m.d.comb += [rescale.value.eq(self.value), rescale.scale.eq(self.scale)]
        old, base = Signal(signed(32)), Signal(signed(32))
        exact, new = Signal(signed(33)), Signal(signed(32))
        previous = Signal(signed(32), reset_less=True)
        low, high = -(1 << 31), (1 << 31) - 1
        with m.If(self.commit_accumulate):
            m.d.comb += base.eq(Mux(self.commit_forward, previous, old))
        m.d.comb += [exact.eq(base + rescale.result), new.eq(exact)]
        # The bit above the sum's sign differs from it exactly when the sum does not fit.
        overflow = Signal()
        m.d.comb += overflow.eq(self.commit_scaled & (exact[32] != exact[31]))
        with m.If(overflow):
            m.d.comb += new.eq(Mux(exact[32], low, high))
        m.d.sync += [
            previous.eq(new),
            self.limited.eq(
                self.commit_valid
                & self.commit_inside
                & (overflow | (self.commit_scaled & rescale.limited))
            ),
        ]
        self._memory(m, old, new)
        return m

    def _memory(self, m: Module, old: Signal, new: Signal) -> None:
        fetch_half, read_half = Signal(), Signal()
        m.d.sync += fetch_half.eq(self.fetch_address[-1])
        with m.If(self.read_enable):
            m.d.sync += read_half.eq(self.read_address[-1])
        halves = []
        for index in range(2):
            half = Sram(self._depth, 32, self._builder)
            m.submodules[f"half_{index}"] = half
            fetches, reads = Signal(name=f"fetches_{index}"), Signal(name=f"reads_{index}")
            m.d.comb += [
                fetches.eq(
                    self.fetch_valid & self.fetch_accumulate & (self.fetch_address[-1] == index)
                ),
                reads.eq(self.read_enable & (self.read_address[-1] == index)),
                half.read_enable.eq(fetches | reads),
                half.read_address.eq(Mux(fetches, self.fetch_address[:-1], self.read_address[:-1])),
                half.write_enable.eq(self.commit_valid & (self.commit_address[-1] == index)),
                half.write_address.eq(self.commit_address[:-1]),
                half.write_data.eq(new),
            ]
            halves.append(half)
        m.d.comb += [
            old.eq(Mux(fetch_half, halves[1].read_data, halves[0].read_data)),
            self.read_data.eq(Mux(read_half, halves[1].read_data, halves[0].read_data)),
        ]


class Accumulate(wiring.Component):
    """All columns of the accumulator, and the output memory.

    Sums arrive with the skew of the columns, so the operation travels along them: column j works
    on it j cycles after column 0, and nothing is de-skewed.

    Members
    -------
    sums : In, 32 bits a column
    operation : In(operation_layout)
        Of the sum in column 0; `forward` is filled in here.
    read_enable, read_address : In; read_data : Out, 32 bits a column
        The store engine's port.
    half_busy : Out(2)
        Halves the store engine must not read in this cycle: old sums may be read there. Results
        that overwrite do not need the port; that the store engine reads none of them too soon, the
        tokens see to.
    written, written_end, written_signal_store : Out(1)
        A row of results is complete in all columns; whether it ends its instruction.
    saturations : Out
        Columns of the matrix whose scaled sum was limited, two cycles after they were written;
        padding lanes hold anything, and do not count.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config, self._builder = config, builder
        super().__init__(
            {
                "sums": In(32 * config.columns),
                "operation": In(operation_layout(config)),
                "read_enable": In(1),
                "read_address": In(unsigned(exact_log2(config.output_depth) + 1)),
                "read_data": Out(32 * config.columns),
                "half_busy": Out(2),
                "written": Out(1),
                "written_end": Out(1),
                "written_signal_store": Out(1),
                "saturations": Out(range(config.columns + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        columns, latency = self._config.columns, Requantise.LATENCY
        chain = self._chain(m, columns + latency)
        lanes = []
        for column in range(columns):
            lane = self._builder.place(
                m, f"lane_{column}", "cdmqta_lane", lambda: Lane(self._config, self._builder)
            )
            enter = chain[column]
            fetch, commit = chain[column + latency - 1], chain[column + latency]
            m.d.comb += [
                lane.value.eq(self.sums.word_select(column, 32)),
                lane.scale.eq(enter.scale),
                lane.fetch_valid.eq(fetch.valid),
                lane.fetch_accumulate.eq(fetch.accumulate),
                lane.fetch_address.eq(fetch.address),
                lane.commit_valid.eq(commit.valid),
                lane.commit_accumulate.eq(commit.accumulate),
                lane.commit_forward.eq(commit.forward),
                lane.commit_scaled.eq(commit.scaled),
                lane.commit_inside.eq(column < commit.columns),
                lane.commit_address.eq(commit.address),
                lane.read_enable.eq(self.read_enable),
                lane.read_address.eq(self.read_address),
            ]
            lanes.append(lane)
        last = chain[-1]
        m.d.comb += [
            self.read_data.eq(pack([lane.read_data for lane in lanes])),
            self.written.eq(last.valid),
            self.written_end.eq(last.valid & last.end),
            self.written_signal_store.eq(last.valid & last.end & last.signal_store),
        ]
        m.d.sync += self.saturations.eq(total([lane.limited for lane in lanes]))
        self._busy(m)
        return m

    def _chain(self, m: Module, length: int) -> list[Any]:
        """Return the operation as each column's stages see it: entry n is n cycles old."""
        layout = operation_layout(self._config)
        entering = Signal(layout, name="operation_0")
        before = Signal.like(self.operation.address, reset_less=True)
        before_valid = Signal()
        m.d.comb += [
            entering.eq(self.operation),
            entering.scale.eq(Mux(self.operation.scaled, self.operation.scale.as_value(), ONE)),
            entering.forward.eq(before_valid & (before == self.operation.address)),
        ]
        m.d.sync += [before_valid.eq(self.operation.valid), before.eq(self.operation.address)]
        chain = [entering]
        for index in range(1, length):
            stage = Signal(layout, name=f"operation_{index}")
            m.d.sync += stage.eq(chain[-1])
            chain.append(stage)
        return chain

    def _busy(self, m: Module) -> None:
        """Hold a half busy while an operation may still read its old sums in some column."""
        time = self._config.columns + Requantise.LATENCY
        for half in range(2):
            left = Signal(bits_for(time), name=f"busy_left_{half}")
            reads = Signal(name=f"reads_old_{half}")
            m.d.comb += reads.eq(
                self.operation.valid
                & self.operation.accumulate
                & (self.operation.address[-1] == half)
            )
            with m.If(reads):
                m.d.sync += left.eq(time)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
            m.d.comb += self.half_busy[half].eq(left != 0)
