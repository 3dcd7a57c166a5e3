"""The accumulator: read-modify-write of the output memory as sums leave the array."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from .array import pack, total
from .isa.config import Config
from .multiply import RECODED, place_product
from .requantise import Requantise
from .shared import Builder
from .sram import SinglePortSram

__all__ = ["Accumulate", "Lane", "operation_layout", "passed_on"]


def operation_layout(config: Config) -> data.StructLayout:
    """Return what travels along the columns with each row of sums."""
    return data.StructLayout(
        {
            "valid": 1,
            "address": exact_log2(config.output_depth) + 1,
            "accumulate": 1,
            "forward": 1,  # it adds to the sum of the last operation, which is still at hand
            "scaled": 1,  # the sums are multiplied by
            "scale": RECODED,  # a scale, and saturated
            "end": 1,  # last row of its instruction
            "signal_store": 1,
            "columns": range(config.columns + 1),  # inside the matrix; the others are padding
        }
    )


def passed_on(m: Module, operation: Any, name: str) -> Any:
    """Return an operation a cycle later; of one that is not valid, or not scaled, less moves."""
    layout = operation.shape()
    later, valid = Signal(layout, name=name), Signal(name=f"{name}_valid")
    m.d.sync += valid.eq(operation.valid)
    m.d.comb += later.valid.eq(valid)
    for field, shape in layout.members.items():
        if field == "valid":
            continue
        part = Signal(shape, name=f"{name}_{field}", reset_less=True)
        moves = operation.scaled if field == "scale" else 1
        with m.If(operation.valid & moves):
            m.d.sync += part.eq(operation[field])
        m.d.comb += later[field].eq(part)
    return later


class Lane(wiring.Component):
    """One column of the accumulator: scale, add, and the column's output memory.

    Each half is two banks, chosen by the lowest address bit, that read or write: an operation reads
    its old sum in one and writes the new one a cycle later, while the next reads in the other. If
    the store engine reads the bank in that cycle, the sum is written in the next, in which no other
    comes to that bank.

    Members
    -------
    value : In(signed(32)); operation : In(operation_layout)
        The sum that leaves the array, and its operation.
    passes : Out(operation_layout)
        The operation a cycle later, for the next column.
    takes : In
        Bit n, n cycles after `value`: it belongs to an operation. Where it does not, nothing moves.
    fetch_reads, fetch_address : In
        The operation two cycles later: its old sum is read, from another bank than is written.
    commit_valid, commit_accumulate, commit_forward, commit_scaled, commit_address : In
        The operation three cycles later: its new sum is written. With `forward` it adds to the
        sum that was made last, whenever that was.
    late_address : In
        That of the operation four cycles later, whose sum may still have to be written.
    commit_inside : In(1)
        The column is one of that operation's matrix: what is limited counts.
    read_enable, read_address : In; read_data : Out(32)
        The store engine's port; the data comes a cycle later. It must not read a half in which an
        old sum is read in this cycle or the next, nor a bank in which a sum is late.
    limited : Out(1)
        In the cycle before, a scaled sum of the matrix was written that int32 did not hold: it, or
        what was added to it, was limited.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._depth, self._builder = config.output_depth, builder
        layout = self._layout = operation_layout(config)
        address = unsigned(exact_log2(config.output_depth) + 1)
        super().__init__(
            {
                "value": In(signed(32)),
                "operation": In(layout),
                "passes": Out(layout),
                "takes": In(Requantise.LATENCY),
                "fetch_reads": In(1),
                "fetch_address": In(address),
                "commit_valid": In(1),
                "commit_accumulate": In(1),
                "commit_forward": In(1),
                "commit_scaled": In(1),
                "commit_inside": In(1),
                "commit_address": In(address),
                "late_address": In(address),
                "read_enable": In(1),
                "read_address": In(address),
                "read_data": Out(32),
                "limited": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        multiply = place_product(m, self._builder)
        m.submodules.rescale = rescale = Requantise(32)
        scaled, scale = self.operation.scaled, self.operation.scale
        # Nothing moves in the multiplier for a sum that passes beside it.
        multiplied = Signal(signed(32))
        with m.If(scaled):
            m.d.comb += multiplied.eq(self.value)
        m.d.comb += [
            multiply.value.eq(multiplied),
            multiply.digits.eq(scale.digits),
            rescale.product.eq(multiply.product),
            rescale.s.eq(scale.s),
            rescale.value.eq(self.value),
            rescale.plain.eq(~scaled),
            rescale.takes.eq(self.takes),
            self.passes.eq(passed_on(m, self.operation, "passed")),
        ]
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
        with m.If(self.commit_valid):
            m.d.sync += previous.eq(new)
        m.d.sync += self.limited.eq(
            self.commit_valid
            & self.commit_inside
            & (overflow | (self.commit_scaled & rescale.limited))
        )
        self._memory(m, old, new, previous)
        return m

    def _memory(self, m: Module, old: Signal, new: Signal, previous: Signal) -> None:
        fetch_half, read_half = Signal(), Signal()
        m.d.sync += fetch_half.eq(self.fetch_address[-1])
        with m.If(self.read_enable):
            m.d.sync += read_half.eq(self.read_address[-1])
        late, defers = Signal(name="late"), Signal(4, name="defers")
        m.d.sync += late.eq(defers.any())
        sums = new, previous, late
        halves = [self._half(m, half, sums, defers[2 * half :][:2]) for half in range(2)]
        m.d.comb += [
            old.eq(Mux(fetch_half, halves[1], halves[0])),
            self.read_data.eq(Mux(read_half, halves[1], halves[0])),
        ]

    def _half(self, m: Module, half: int, sums: tuple[Any, Any, Any], defers: Any) -> Signal:
        """Make a half of two banks; return the word that was read in it last.

        `sums` are the new one, the one before, and whether that is late; `defers` tells for each
        bank that the new one will be.
        """
        new, previous, late = sums
        last, words = Signal(name=f"last_{half}"), []
        for parity in range(2):
            name = f"bank_{half}{parity}"
            m.submodules[name] = bank = SinglePortSram(self._depth // 2, 32, self._builder)
            users = (
                ("late", late, self.late_address),
                ("reads", self.read_enable, self.read_address),
                ("writes", self.commit_valid, self.commit_address),
                ("fetches", self.fetch_reads, self.fetch_address),
            )
            here = {}
            for what, enable, address in users:
                here[what] = Signal(name=f"{name}_{what}")
                hit = (address[-1] == half) & (address[0] == parity)
                m.d.comb += here[what].eq(enable & hit)
            m.d.comb += [
                defers[parity].eq(here["writes"] & here["reads"]),
                bank.enable.eq(Cat(*here.values()).any()),
                bank.write.eq(here["late"] | (here["writes"] & ~here["reads"])),
                bank.write_data.eq(Mux(here["late"], previous, new)),
            ]
            # Where two come, the first of them goes first.
            place: Any = self.fetch_address[1:-1]
            for what, _, address in reversed(users[:-1]):
                place = Mux(here[what], address[1:-1], place)
            m.d.comb += bank.address.eq(place)
            with m.If(here["fetches"] | here["reads"]):
                m.d.sync += last.eq(parity)
            words.append(bank.read_data)
        word = Signal(32, name=f"word_{half}")
        m.d.comb += word.eq(Mux(last, words[1], words[0]))
        return word


class Accumulate(wiring.Component):
    """All columns of the accumulator, and the output memory.

    Sums arrive with the skew of the columns, so the operation travels along them: column j works
    on it j cycles after column 0, and nothing is de-skewed.

    Members
    -------
    sums : In, 32 bits a column
    operation : In(operation_layout)
        Of the sum in column 0. With `forward` it adds at the address of the last operation, however
        long ago that was. Without, in the same half as the operation of the cycle before, it must
        have another lowest address bit.
    read_enable, read_address : In; read_data : Out, 32 bits a column
        The store engine's port.
    half_busy : Out(2)
        Halves the store engine must not read in this cycle: old sums may be read there. That it
        reads no result too soon, the tokens see to.
    half_used : Out(2)
        Halves in which sums may have been written in the cycle before. There the store engine must
        not read the bank that it read in the cycle before: one may still have to be written.
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
                "half_used": Out(2),
                "written": Out(1),
                "written_end": Out(1),
                "written_signal_store": Out(1),
                "saturations": Out(range(config.columns + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        columns, latency = self._config.columns, Requantise.LATENCY
        lanes, chain = self._lanes(m, columns + latency + 1)
        for column, lane in enumerate(lanes):
            fetch, commit = chain[column + latency - 1], chain[column + latency]
            m.d.comb += [
                lane.value.eq(self.sums.word_select(column, 32)),
                lane.takes.eq(Cat(op.valid for op in chain[column : column + latency])),
                lane.fetch_reads.eq(fetch.valid & fetch.accumulate & ~fetch.forward),
                lane.fetch_address.eq(fetch.address),
                lane.commit_valid.eq(commit.valid),
                lane.commit_accumulate.eq(commit.accumulate),
                lane.commit_forward.eq(commit.forward),
                lane.commit_scaled.eq(commit.scaled),
                lane.commit_inside.eq(column < commit.columns),
                lane.commit_address.eq(commit.address),
                lane.late_address.eq(chain[column + latency + 1].address),
                lane.read_enable.eq(self.read_enable),
                lane.read_address.eq(self.read_address),
            ]
        last = chain[columns + latency - 1]
        m.d.comb += [
            self.read_data.eq(pack([lane.read_data for lane in lanes])),
            self.written.eq(last.valid),
            self.written_end.eq(last.valid & last.end),
            self.written_signal_store.eq(last.valid & last.end & last.signal_store),
        ]
        m.d.sync += self.saturations.eq(total([lane.limited for lane in lanes]))
        self._busy(m)
        return m

    def _lanes(self, m: Module, length: int) -> tuple[list[Any], list[Any]]:
        """Place the lanes; return them, and the operation at each age: entry n is n cycles old."""
        lanes: list[Any] = []
        chain: list[Any] = [self.operation]
        for column in range(self._config.columns):
            lane = self._builder.place(
                m, f"lane_{column}", "cdmqta_lane", lambda: Lane(self._config, self._builder)
            )
            m.d.comb += lane.operation.eq(chain[-1])
            lanes.append(lane)
            chain.append(lane.passes)
        for age in range(len(chain), length):
            chain.append(passed_on(m, chain[-1], f"operation_{age}"))
        return lanes, chain

    def _busy(self, m: Module) -> None:
        """Say for how long an operation may read, and how long it may write, in some column."""
        length = self._config.columns + Requantise.LATENCY
        operation = self.operation
        for name, lines, time, comes in (
            ("busy", self.half_busy, length - 2, operation.valid & operation.accumulate),
            ("used", self.half_used, length, operation.valid),
        ):
            for half in range(2):
                left = Signal(bits_for(time), name=f"{name}_left_{half}")
                with m.If(comes & (operation.address[-1] == half)):
                    m.d.sync += left.eq(time)
                with m.Elif(left != 0):
                    m.d.sync += left.eq(left - 1)
                m.d.comb += lines[half].eq(left != 0)
