"""The array's sequencer: when each stationary tile loads, each wave starts and each result leaves.

A fold costs ``max(waves, rows)`` cycles: the next stationary tile loads, and the last result
drains, under the running fold. The page ``docs/pipeline.md`` derives every term.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .accumulate import operation_layout
from .array import pack
from .edge import delayed, delayed_in_turns, turns
from .isa.config import Config
from .isa.pipeline import meeting_delay
from .layout import SCALE
from .multiply import recoded
from .walk import fold_layout

__all__ = ["Feed"]


class Feed(wiring.Component):
    """Issue the reads, the waves and the accumulator operations of a stream of folds.

    Members
    -------
    i : In(stream of fold_layout)
        The fold at the head is loaded (WS) while the one before runs.
    left_enable, left_address, right_enable, right_address : Out
        Reads of the operand memories, an enable for each word of a wave; never refused.
    left_valid, right_valid, wave, os, first, last, load_first, load_last : Out
        To `hw.edge.Edge`.
    scale_enable, scale_address : Out; scale_data : In
        Read port of the accumulate-scale memory, data one cycle later.
    operation : Out(operation_layout)
        To `hw.accumulate.Accumulate`, with the row of sums it belongs to.
    read_end : Out(1)
        The last operand of an instruction is read.
    fed : Out(1)
        An operand is read in this cycle.
    macs : Out
        Useful multiply-accumulates of the wave issued in this cycle.

    Timing
    ------
    The sums of a wave (WS) or of the first result row (OS) issued in cycle u meet their operation
    in cycle u + rows + 4, or one later with `product_register`.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        products = config.macs_per_element
        super().__init__(
            {
                "i": In(stream.Signature(fold_layout(config))),
                "left_enable": Out(products),
                "left_address": Out(exact_log2(config.input_depth) + 1),
                "right_enable": Out(products),
                "right_address": Out(exact_log2(config.weight_depth) + 1),
                "left_valid": Out(products),
                "right_valid": Out(products),
                "wave": Out(1),
                "os": Out(1),
                "first": Out(1),
                "last": Out(1),
                "load_first": Out(1),
                "load_last": Out(1),
                "scale_enable": Out(1),
                "scale_address": Out(exact_log2(config.accumulate_scale_depth)),
                "scale_data": In(SCALE.size),
                "operation": Out(operation_layout(config)),
                "read_end": Out(1),
                "fed": Out(1),
                "macs": Out(range(config.macs_per_cycle + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fold = Signal(fold_layout(self._config), name="fold", reset_less=True)
        running = Signal()
        wave = Signal(16)
        finishing, advance = Signal(), Signal()
        loaded, allowed, clashes = Signal(), Signal(), Signal()
        m.d.comb += [
            finishing.eq(running & (wave == fold.waves - 1)),
            allowed.eq(Mux(self.i.p.os, self._drained(m, fold, finishing), loaded)),
            advance.eq((~running | finishing) & self.i.valid & allowed & ~clashes),
            self.i.ready.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += [fold.eq(self.i.p), running.eq(1), wave.eq(0)]
        with m.Elif(finishing):
            m.d.sync += running.eq(0)
        with m.Elif(running):
            m.d.sync += wave.eq(wave + 1)

        tile_read, tile_address = self._load(m, running, fold, wave, advance, loaded)
        self._read(m, fold, running, finishing, advance, tile_read, tile_address)
        m.d.comb += [
            self.wave.eq(running),
            self.os.eq(fold.os),
            self.first.eq(wave == 0),
            self.last.eq(finishing),
            self.read_end.eq(finishing & fold.end),
            self.macs.eq(Mux(running, self._useful(fold, finishing), 0)),
        ]
        m.d.comb += clashes.eq(self._operations(m, fold, running, finishing, advance))
        return m

    def _useful(self, fold: Any, finishing: Signal) -> Any:
        """Return the useful multiply-accumulates of a wave of a fold."""
        products = self._config.macs_per_element
        if products == 1:
            return fold.macs
        places = Mux(finishing, fold.rest, products - 1) + 1
        return Mux(fold.os, fold.macs * places, fold.macs)

    def _places(self, fold: Any, finishing: Signal) -> Any:
        """Return which words of a wave are inside the reduction, a bit each: those of both operands
        in OS, of the left one in WS.
        """
        products, rows = self._config.macs_per_element, self._config.rows
        if products == 1:
            return Const(1, 1)
        last = Mux(finishing, fold.rest, products - 1)
        return Cat(
            Mux(fold.os, last >= place, fold.right_rows > place * rows) for place in range(products)
        )

    def _drained(self, m: Module, fold: Any, finishing: Signal) -> Signal:
        """Return whether an OS fold that starts in the next cycle ends after the last one drained.

        The drained sums of two folds are `rows` cycles apart at least, counted from their last
        waves; without `drain_overlap`, from the last wave of one to the first of the other.
        `remaining` counts the rows still on their way after this cycle.
        """
        rows = self._config.rows
        remaining, now = Signal(range(rows)), Signal(range(rows))
        m.d.comb += now.eq(Mux(finishing & fold.os, rows - 1, remaining))
        m.d.sync += remaining.eq(Mux(now == 0, 0, now - 1))
        free = Signal()
        if self._config.drain_overlap:
            m.d.comb += free.eq(self.i.p.waves > now)
        else:
            # Sums leave by the way that waves take: the next may come when the last row moved.
            m.d.comb += free.eq(now == 0)
        return free

    def _load(
        self, m: Module, running: Signal, fold: Any, wave: Signal, advance: Signal, loaded: Signal
    ) -> tuple[Signal, Signal]:
        """Load the head fold's stationary tile; return which rows are read now, and from where.

        `b` is free once the running WS fold has swapped (after its first wave) or the running OS
        fold has ended. The first wave may be issued together with the last row, so the fold may
        leave the head one cycle before that: `early` remembers.
        """
        rows, products = self._config.rows, self._config.macs_per_element
        head = self.i.p
        loading, ready, early = Signal(), Signal(), Signal()
        starts, issues, taken = Signal(), Signal(), Signal()
        row = Signal(range(rows + 1))
        address, stride = Signal.like(self.right_address), Signal(16)
        row_now, valid_rows = Signal.like(row), Signal.like(head.right_rows)
        address_now, stride_now = Signal.like(address), Signal(16)
        valid_now, read, free = Signal.like(valid_rows), Signal(products), Signal()
        # Of as many rows of the tile as an element has products, those that there are.
        first = Cat(Const(0, exact_log2(products)), row_now) if products > 1 else row_now
        there = Cat((first | place) < valid_now for place in range(products))
        m.d.comb += [
            free.eq(~running | (~fold.os & (wave != 0))),
            starts.eq(self.i.valid & ~head.os & ~loading & ~ready & free),
            issues.eq(starts | loading),
            row_now.eq(Mux(starts, 0, row)),
            address_now.eq(Mux(starts, head.right, address)),
            stride_now.eq(Mux(starts, head.right_stride, stride)),
            valid_now.eq(Mux(starts, head.right_rows, valid_rows)),
            read.eq(there & issues.replicate(products)),
            loaded.eq(ready | (issues & ~early & (row_now >= rows - 2))),
            taken.eq(advance & ~head.os),
            self.load_first.eq(starts),
            self.load_last.eq(loading & (row == rows - 1)),
        ]
        with m.If(issues):
            m.d.sync += [
                loading.eq(1),
                row.eq(row_now + 1),
                address.eq(address_now + stride_now),
                stride.eq(stride_now),
                valid_rows.eq(valid_now),
            ]
        with m.If(self.load_last):
            m.d.sync += [loading.eq(0), early.eq(0), ready.eq(~early & ~taken)]
        with m.Elif(taken):
            m.d.sync += [ready.eq(0), early.eq(issues)]
        return read, address_now

    def _read(
        self,
        m: Module,
        fold: Any,
        running: Signal,
        finishing: Signal,
        advance: Signal,
        tile_read: Signal,
        tile_address: Signal,
    ) -> None:
        """Read the operands of a wave, or a row of the next stationary tile."""
        left, right = Signal.like(self.left_address), Signal.like(self.right_address)
        # A fold that goes back starts from the last word of the one before, which stays for it.
        start, step = Signal.like(left), Signal.like(left)
        m.d.comb += [
            start.eq(Mux(advance & ~self.i.p.turn, 0, left)),
            step.eq(Mux(advance, self.i.p.left, fold.left_stride)),
        ]
        with m.If(advance):
            m.d.sync += right.eq(self.i.p.right)
        with m.Elif(running):
            m.d.sync += right.eq(right + fold.right_stride)
        with m.If(advance | (running & ~finishing)):
            m.d.sync += left.eq(start + step)
        streams, products = Signal(), self._config.macs_per_element
        places = self._places(fold, finishing)
        m.d.comb += [
            streams.eq(running & fold.os),
            self.left_enable.eq(running.replicate(products) & places),
            self.left_address.eq(left),
            self.right_enable.eq(tile_read | (streams.replicate(products) & places)),
            self.right_address.eq(Mux(streams, right, tile_address)),
            self.fed.eq(self.left_enable[0] | self.right_enable[0]),
        ]
        m.d.sync += [self.left_valid.eq(self.left_enable), self.right_valid.eq(self.right_enable)]

    def _operations(
        self, m: Module, fold: Any, running: Signal, finishing: Signal, advance: Signal
    ) -> Signal:
        """Issue an operation for each WS wave, and for each result row once an OS fold ends.

        Return whether the fold at the head must not start in the next cycle, see `_clashes`.
        """
        event = Signal(operation_layout(self._config), name="event")
        scale_address = Signal.like(self.scale_address, reset_less=True)
        out, scale = Signal.like(event.address), Signal.like(self.scale_address)
        draining = Signal(range(self._config.rows + 1))
        drained_fold_ends = Signal()
        stride = Signal(16, reset_less=True)
        with m.If(advance & ~self.i.p.turn):
            m.d.sync += [out.eq(self.i.p.out), scale.eq(self.i.p.scale_address)]
        with m.Elif(running & ~fold.os & ~finishing):
            m.d.sync += [out.eq(out + fold.out_stride), scale.eq(scale + Mux(fold.back, -1, 1))]

        m.d.sync += event.valid.eq(running & (~fold.os | finishing))
        with m.If(running & (~fold.os | finishing)):
            single = ~fold.os | (fold.out_rows == 1)
            m.d.sync += [
                event.address.eq(out),
                scale_address.eq(scale),
                event.accumulate.eq(fold.accumulate),
                event.forward.eq(fold.turn & self.first),
                event.scaled.eq(fold.scale),
                event.columns.eq(fold.columns),
                event.end.eq(finishing & fold.end & single),
                event.signal_store.eq(fold.signal_store),
                drained_fold_ends.eq(fold.end),
                stride.eq(fold.out_stride),
                draining.eq(Mux(fold.os, fold.out_rows - 1, 0)),
            ]
        with m.Elif(draining != 0):
            m.d.sync += [
                event.valid.eq(1),
                event.address.eq(event.address + stride),
                scale_address.eq(scale_address + 1),
                event.end.eq(drained_fold_ends & (draining == 1)),
                draining.eq(draining - 1),
            ]
        self._meet(m, event, scale_address)
        return self._clashes(m, fold, finishing, draining, out, event.address, stride)

    def _clashes(
        self,
        m: Module,
        fold: Any,
        finishing: Signal,
        draining: Signal,
        out: Signal,
        drained: Signal,
        stride: Signal,
    ) -> Signal:
        """Return whether the head's first operation would meet another one in a bank.

        That is so if it comes in the cycle after another, and their addresses are both even or both
        odd; not in another half, which is only looked at after a WS fold. A turn is another matter:
        it adds to the very sum that is written, and reads nothing. Addresses are `out`, of the
        operation that ends a WS fold or starts a drain, and `drained`, of the one before this
        cycle's, to which `stride` is added.
        """
        head = self.i.p
        issues = Signal(range(self._config.rows + 1))
        parity, apart, clashes = Signal(), Signal(), Signal()
        with m.If(finishing):
            m.d.comb += [
                issues.eq(Mux(fold.os, fold.out_rows, 1)),
                parity.eq(out[0] ^ (fold.os & ~fold.out_rows[0] & fold.out_stride[0])),
                apart.eq(~fold.os & (out[-1] != head.out[len(out) - 1])),
            ]
        with m.Else():
            m.d.comb += [issues.eq(draining), parity.eq(drained[0] ^ (draining[0] & stride[0]))]
        m.d.comb += clashes.eq(
            ~head.turn & (issues == Mux(head.os, head.waves, 1)) & (parity == head.out[0]) & ~apart
        )
        return clashes

    def _meet(self, m: Module, event: Any, scale_address: Signal) -> None:
        """Hold operations until their sums leave the array, and read their scale on the way."""
        # The event shows one cycle after its wave; the scale memory and its digits take one each.
        wait = meeting_delay(self._config.rows, self._config.product_register) - 3
        # The scale comes from the memory on the way.
        names = [name for name in event.shape().members if name not in ("valid", "scale")]
        turn = turns(m)
        line = delayed_in_turns(m, pack([event[name] for name in names]), wait, "operations", turn)
        valid = delayed(m, event.valid, wait, "operations_valid", reset=True)
        reading, waiting, meeting = (
            Signal.like(event, name=name) for name in ("reading", "waiting", "meeting")
        )
        m.d.comb += [pack([reading[name] for name in names]).eq(line), reading.valid.eq(valid)]
        made = recoded(m, SCALE(self.scale_data), "recoded")
        m.d.sync += [
            waiting.eq(reading),
            meeting.eq(waiting),
            meeting.scale.eq(made),
        ]
        m.d.comb += [
            self.scale_enable.eq(valid & reading.scaled),
            self.scale_address.eq(
                delayed_in_turns(m, scale_address, wait, "scale_addresses", turn)
            ),
            self.operation.eq(meeting),
        ]
