"""AXI4 master: bursts to DRAM, all outputs from registers."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .bursts import burst_layout
from .isa.config import Config
from .isa.pipeline import ADDRESSES_DEPTH, BEATS_DEPTH, WRITE_DEPTH

__all__ = ["ReadMaster", "WriteMaster", "address_members", "beat_layout", "read_members"]

FETCH, LOAD = 0, 1
"""AXI ID of each reader."""


def address_members(config: Config, channel: str) -> dict[str, wiring.Member]:
    """Return the members of an address channel (``ar`` or ``aw``) of a master."""
    return {
        f"{channel}id": Out(1),
        f"{channel}addr": Out(config.address_bits),
        f"{channel}len": Out(8),
        f"{channel}size": Out(3),
        f"{channel}burst": Out(2),
        f"{channel}valid": Out(1),
        f"{channel}ready": In(1),
    }


def read_members(config: Config) -> dict[str, wiring.Member]:
    """Return the members of a read master's two channels."""
    return address_members(config, "ar") | {
        "rid": In(1),
        "rdata": In(8 * config.bus_bytes),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def write_members(config: Config) -> dict[str, wiring.Member]:
    """Return the members of a write master's three channels."""
    return address_members(config, "aw") | {
        "wdata": Out(8 * config.bus_bytes),
        "wstrb": Out(config.bus_bytes),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(1),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


def beat_layout(config: Config) -> data.StructLayout:
    """Return a write beat: its data, and the number of its bytes that count."""
    return data.StructLayout({"data": 8 * config.bus_bytes, "count": range(config.bus_bytes + 1)})


def _address(m: Module, port: Any, channel: str, config: Config, queue: SyncFIFOBuffered) -> None:
    """Drive an address channel from a queue of (burst, id)."""
    layout = data.StructLayout({"burst": burst_layout(config), "id": 1})
    head = layout(queue.r_data)
    m.d.comb += [
        getattr(port, f"{channel}id").eq(head.id),
        getattr(port, f"{channel}addr").eq(
            Cat(Const(0, exact_log2(config.bus_bytes)), head.burst.beat)
        ),
        getattr(port, f"{channel}len").eq(head.burst.beats - 1),
        getattr(port, f"{channel}size").eq(exact_log2(config.bus_bytes)),
        getattr(port, f"{channel}burst").eq(1),
        getattr(port, f"{channel}valid").eq(queue.r_rdy),
        queue.r_en.eq(getattr(port, f"{channel}ready")),
    ]


class ReadMaster(wiring.Component):
    """Read bursts for instruction fetch and for the load engine.

    Fetch goes first. Data returns to who asked, by ID; each reader's data is in order.

    Members
    -------
    fetch, load : In(streams of burst_layout)
    fetch_data, load_data : Out(streams of one beat)
        The fetch reader must have room for what it asks for.
    error : Out(1)
        A beat came with SLVERR or DECERR.
    beat : Out(1)
        A beat was taken, for the counter.
    flush : In(1)
        Take no more bursts, and throw away the data of those taken; they are asked for and read
        to their end, since an address that is offered may not be withdrawn.
    outstanding : Out(1)
        A burst is taken and its last beat has not come.
    idle : Out(1)
        Nothing is outstanding or held.
    moves : Out(1)
        An address or a beat passes, for the watchdog.
    ar..., r...
        The AXI4 channels.

    Timing
    ------
    A burst is on the bus the cycle after it is taken, a beat leaves the cycle after it came.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        beat = stream.Signature(8 * config.bus_bytes)
        super().__init__(
            {
                "fetch": In(stream.Signature(burst_layout(config))),
                "load": In(stream.Signature(burst_layout(config))),
                "fetch_data": Out(beat),
                "load_data": Out(beat),
                "error": Out(1),
                "beat": Out(1),
                "flush": In(1),
                "outstanding": Out(1),
                "idle": Out(1),
                "moves": Out(1),
                **read_members(config),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self._config
        layout = data.StructLayout({"burst": burst_layout(config), "id": 1})
        m.submodules.addresses = addresses = SyncFIFOBuffered(
            width=layout.size, depth=ADDRESSES_DEPTH
        )
        pending = Signal(range(config.read_outstanding + 1))
        asked, ended, free = Signal(), Signal(), Signal()
        entry = Signal(layout)
        m.d.comb += [
            free.eq((pending != config.read_outstanding) & addresses.w_rdy & ~self.flush),
            self.fetch.ready.eq(free),
            self.load.ready.eq(free & ~self.fetch.valid),
            asked.eq(free & (self.fetch.valid | self.load.valid)),
            entry.burst.eq(Mux(self.fetch.valid, self.fetch.p, self.load.p)),
            entry.id.eq(Mux(self.fetch.valid, FETCH, LOAD)),
            addresses.w_data.eq(entry),
            addresses.w_en.eq(asked),
            ended.eq(self.rvalid & self.rready & self.rlast),
            self.outstanding.eq(pending != 0),
            self.moves.eq((self.arvalid & self.arready) | self.beat),
        ]
        m.d.sync += pending.eq(pending + asked - ended)
        _address(m, self, "ar", config, addresses)
        self._data(m)
        return m

    def _data(self, m: Module) -> None:
        config = self._config
        m.submodules.beats = beats = SyncFIFOBuffered(
            width=8 * config.bus_bytes + 1, depth=BEATS_DEPTH
        )
        owner = beats.r_data[-1]
        m.d.comb += [
            beats.w_data.eq(Cat(self.rdata, self.rid)),
            beats.w_en.eq(self.rvalid),
            self.rready.eq(beats.w_rdy),
            self.beat.eq(self.rvalid & self.rready),
            self.error.eq(self.beat & self.rresp[1]),
            self.fetch_data.p.eq(beats.r_data[:-1]),
            self.load_data.p.eq(beats.r_data[:-1]),
            self.fetch_data.valid.eq(beats.r_rdy & (owner == FETCH) & ~self.flush),
            self.load_data.valid.eq(beats.r_rdy & (owner == LOAD) & ~self.flush),
            beats.r_en.eq(
                Mux(owner == FETCH, self.fetch_data.ready, self.load_data.ready) | self.flush
            ),
            self.idle.eq(~self.outstanding & (beats.level == 0)),
        ]


class WriteMaster(wiring.Component):
    """Write bursts of the store engine.

    Members
    -------
    bursts : In(stream of burst_layout)
    beats : In(stream of beat_layout)
        In the order of the bursts.
    error : Out(1)
        A burst was answered with SLVERR or DECERR.
    beat : Out(1)
        A beat was sent, for the counter.
    answered : Out(1)
        A burst was answered.
    flush : In(1)
        Take no more bursts and no more beats; the beats that bursts still lack are sent with no
        byte marked for writing.
    idle : Out(1)
        Every burst has been answered.
    moves : Out(1)
        An address, a beat or an answer passes, for the watchdog.
    aw..., w..., b...
        The AXI4 channels.

    Timing
    ------
    A burst is on the bus the cycle after it is taken. Data may lead an address kept waiting.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "bursts": In(stream.Signature(burst_layout(config))),
                "beats": In(stream.Signature(beat_layout(config))),
                "error": Out(1),
                "beat": Out(1),
                "answered": Out(1),
                "flush": In(1),
                "idle": Out(1),
                "moves": Out(1),
                **write_members(config),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self._config
        layout = data.StructLayout({"burst": burst_layout(config), "id": 1})
        m.submodules.addresses = addresses = SyncFIFOBuffered(
            width=layout.size, depth=ADDRESSES_DEPTH
        )
        m.submodules.lengths = lengths = SyncFIFOBuffered(
            width=len(self.bursts.p.beats), depth=config.write_outstanding + 1
        )
        pending = Signal(range(config.write_outstanding + 1))
        taken, room, free = Signal(), Signal(), Signal()
        m.d.comb += [
            room.eq(addresses.w_rdy & lengths.w_rdy),
            free.eq((pending != config.write_outstanding) & room & ~self.flush),
            self.bursts.ready.eq(free),
            taken.eq(free & self.bursts.valid),
            addresses.w_data.eq(self.bursts.p),
            addresses.w_en.eq(taken),
            lengths.w_data.eq(self.bursts.p.beats),
            lengths.w_en.eq(taken),
            self.bready.eq(1),
            self.answered.eq(self.bvalid),
            self.error.eq(self.bvalid & self.bresp[1]),
            self.idle.eq(pending == 0),
            self.moves.eq((self.awvalid & self.awready) | self.beat | self.answered),
        ]
        m.d.sync += pending.eq(pending + taken - self.answered)
        _address(m, self, "aw", config, addresses)
        self._data(m, lengths)
        return m

    def _data(self, m: Module, lengths: SyncFIFOBuffered) -> None:
        config = self._config
        layout = data.StructLayout(
            {"data": 8 * config.bus_bytes, "strb": config.bus_bytes, "last": 1}
        )
        m.submodules.out = out = SyncFIFOBuffered(width=layout.size, depth=WRITE_DEPTH)
        sent = Signal(range(config.burst_beats))
        last, moves = Signal(), Signal()
        entry, head = Signal(layout), layout(out.r_data)
        m.d.comb += [
            last.eq(sent == lengths.r_data - 1),
            moves.eq((self.beats.valid | self.flush) & lengths.r_rdy & out.w_rdy),
            self.beats.ready.eq(lengths.r_rdy & out.w_rdy & ~self.flush),
            lengths.r_en.eq(moves & last),
            entry.data.eq(self.beats.p.data),
            entry.strb.eq(
                Cat((self.beats.p.count > byte) & ~self.flush for byte in range(config.bus_bytes))
            ),
            entry.last.eq(last),
            out.w_data.eq(entry),
            out.w_en.eq(moves),
            self.wdata.eq(head.data),
            self.wstrb.eq(head.strb),
            self.wlast.eq(head.last),
            self.wvalid.eq(out.r_rdy),
            out.r_en.eq(self.wready),
            self.beat.eq(self.wvalid & self.wready),
        ]
        with m.If(moves):
            m.d.sync += sent.eq(Mux(last, 0, sent + 1))
