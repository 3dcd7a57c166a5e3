"""An AXI4 memory, exact to the cycle, for any bench that steps it once a cycle."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from fractions import Fraction

import numpy as np

from .axi import Fault, Hang, Master, Response, Slave, Stalls
from .result import fraction

__all__ = ["AccessError", "AxiDram", "Fault", "Hang", "Master", "Response", "Slave", "Stalls"]


class AccessError(ValueError):
    """A master asks for something this memory does not do; the message says what it does."""


@dataclass(slots=True)
class _Write:
    """A write burst on its way: `beats` holds (data, strobes) as they came."""

    id: int
    address: int
    length: int
    beats: list[tuple[int, int]] = field(default_factory=list)
    ready: int = 0


_FLOWING = (False,) * 5


class AxiDram:
    """An AXI4 slave over an array of bytes, stepped once a clock cycle.

    Parameters
    ----------
    image : ndarray of uint8, 1-D
        The memory, changed in place.
    bus_bytes : int
        Data width in bytes, a power of two.
    latency : int
        Cycles from address to data, and from last write data to response; at least 1.
    bytes_per_cycle : float or Fraction, optional
        Bandwidth shared by reads and writes; without, each direction moves a beat every cycle.
    stalls : Stalls, optional
        Random back-pressure, drawn from `seed`, one stream of numbers a channel.
    faults : iterable of Fault or Hang, optional
        Ranges that answer with an error, or not at all; where two faults overlap, the first counts.

    Timing
    ------
    A handshake is *in cycle c* if valid and ready are both 1 in cycle c; every call of `step` is
    one cycle. Without stalls and bandwidth limit:

    - Addresses are accepted in the cycle they appear. A read address accepted in cycle c may have
      its first beat in cycle c + latency and not earlier; then come a beat a cycle, all bursts in
      the order of their addresses. A beat is offered until it is taken.
    - Write data is accepted in the cycle it appears if its address has been accepted in the same
      cycle or before. When the last beat of a burst is accepted in cycle c, its response comes in
      cycle c + latency and not earlier, in the order of the addresses, at most one a cycle.

    With `bytes_per_cycle`, each cycle begins by adding that many bytes to a budget; offering a
    read beat, or accepting a write beat, takes `bus_bytes` from it, and cannot happen without. At
    most `bus_bytes` are carried over from cycle to cycle, and that much is there at the start. If
    a read and a write beat are both possible and the budget is enough for one, the direction that
    was served least recently has it (at the start, the read). The arithmetic is exact.

    A read sees the memory as it is when its address is accepted; a write changes the memory when
    its response is taken. So a master that does not wait for the response reads the old contents.

    Accesses outside the image answer DECERR.

    Raises
    ------
    ValueError
        A parameter is out of range.
    AccessError
        In `step`: a burst that is not INCR, not of full-width beats or not aligned to the bus.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        bus_bytes: int,
        latency: int = 1,
        bytes_per_cycle: float | Fraction | None = None,
        stalls: Stalls | None = None,
        seed: int = 0,
        faults: Iterable[Fault | Hang] = (),
    ) -> None:
        if image.dtype != np.uint8 or image.ndim != 1:
            raise ValueError(f"image must be 1-D uint8, not {image.ndim}-D {image.dtype}")
        if latency < 1:
            raise ValueError(f"latency must be at least 1, not {latency}")
        if bytes_per_cycle is not None and not bytes_per_cycle > 0:
            raise ValueError(f"bytes_per_cycle must be above 0, not {bytes_per_cycle}")
        self.image = image
        self.cycle = 0
        self.slave = Slave()
        self.read_beats = 0
        self.write_beats = 0
        self._bus = bus_bytes
        self._size = bus_bytes.bit_length() - 1
        self._full = (1 << bus_bytes) - 1
        self._latency = latency
        faults = tuple(faults)
        self._faults = tuple(fault for fault in faults if isinstance(fault, Fault))
        self._hangs = tuple(hang for hang in faults if isinstance(hang, Hang))
        self._hanging: dict[Hang, int] = {}  # the cycle in which each began
        # (first cycle, id, data, response, last, address) of every beat still to be offered
        self._reads: deque[tuple[int, int, int, int, int, int]] = deque()
        self._read_held = False
        self._writes: deque[_Write] = deque()
        self._responses: deque[_Write] = deque()
        self._response_held = False
        self._budget(bytes_per_cycle)
        self._randoms = _randoms(stalls, seed)

    @property
    def pending_reads(self) -> int:
        """Read beats that have been asked for and not been offered."""
        return len(self._reads)

    @property
    def pending_writes(self) -> int:
        """Write bursts whose address was accepted and whose response was not taken."""
        return len(self._writes) + len(self._responses)

    def step(self, master: Master) -> Slave:
        """Return what the memory drives in this cycle, and carry out the cycle's handshakes."""
        stop_ar, stop_r, stop_aw, stop_w, stop_b = self._draw() if self._randoms else _FLOWING
        slave = self.slave
        if self._hangs:
            stop_ar |= bool(master.arvalid) and self._hangs_at(
                "ar", master.araddr, master.arlen + 1
            )
            stop_aw |= bool(master.awvalid) and self._hangs_at(
                "aw", master.awaddr, master.awlen + 1
            )
        slave.awready = not stop_aw
        if master.awvalid and not stop_aw:
            self._check(master.awaddr, master.awsize, master.awburst)
            self._writes.append(_Write(master.awid, master.awaddr, master.awlen + 1))
        read = (
            not self._read_held
            and not stop_r
            and bool(self._reads)
            and self._reads[0][0] <= self.cycle
        )
        write = bool(master.wvalid and self._writes and not stop_w)
        if self._hangs:
            read = read and not self._hangs_at("r", self._reads[0][5])
            write = write and not self._hangs_at("w", self._next_beat())
        if self._rate:
            read, write = self._spend(read, write)
        if not self._response_held:
            self._offer_response(stop_b)
        if not self._read_held:
            self._offer_read(read)
        slave.wready = write
        if write:
            self._accept_data(master.wdata, master.wstrb)
        slave.arready = not stop_ar
        if master.arvalid and not stop_ar:
            self._accept_read(master)
        self._read_held = slave.rvalid and not master.rready
        if slave.bvalid:
            self._response_held = not master.bready
            if master.bready:
                self._apply(self._responses.popleft())
        self.cycle += 1
        return slave

    def _hangs_at(self, channel: str, address: int, beats: int = 1) -> bool:
        """Return whether a channel stands still at a burst."""
        stop = address + beats * self._bus
        for hang in self._hangs:
            if hang.channel == channel and address < hang.stop and stop > hang.start:
                began = self._hanging.setdefault(hang, self.cycle)
                if hang.cycles is None or self.cycle < began + hang.cycles:
                    return True
        return False

    def _next_beat(self) -> int:
        """Return the address of the write beat to come."""
        burst = self._writes[0]
        return burst.address + len(burst.beats) * self._bus

    def _budget(self, bytes_per_cycle: float | Fraction | None) -> None:
        # Everything counts in units of 1/denominator byte, so that nothing is rounded.
        rate = fraction(bytes_per_cycle or 0)
        self._rate = rate.numerator
        self._cost = self._bus * rate.denominator
        self._saved = self._cost
        self._write_next = False

    def _spend(self, read: bool, write: bool) -> tuple[bool, bool]:
        """Return which of the two beats, both possible, the budget allows, and pay for them."""
        budget = min(self._saved, self._cost) + self._rate
        if read and write and budget < 2 * self._cost:
            read, write = not self._write_next, self._write_next
        if budget < self._cost:
            read = write = False
        if read != write:
            self._write_next = read
        self._saved = budget - self._cost * (read + write)
        return read, write

    def _draw(self) -> tuple[bool, ...]:
        return tuple(bool(p) and stream.random() < p for p, stream in self._randoms)

    def _check(self, address: int, size: int, burst: int) -> None:
        if burst != 1 or size != self._size or address % self._bus:
            raise AccessError(
                f"the memory serves INCR bursts of {self._bus}-byte beats at multiples of "
                f"{self._bus}, not burst type {burst}, size {1 << size}, address {address:#x}"
            )

    def _offer_read(self, granted: bool) -> None:
        slave = self.slave
        slave.rvalid = granted
        if granted:
            _, slave.rid, slave.rdata, slave.rresp, slave.rlast, _ = self._reads.popleft()
            self.read_beats += 1

    def _accept_read(self, master: Master) -> None:
        self._check(master.araddr, master.arsize, master.arburst)
        bus, ready, last = self._bus, self.cycle + self._latency, master.arlen
        start, stop = master.araddr, master.araddr + (last + 1) * bus
        clean = stop <= self.image.size and not self._faults
        raw = self.image[start:stop].tobytes()
        for beat in range(last + 1):
            at = beat * bus
            response = 0 if clean else self._response(start + at, write=False)
            data = 0 if response else int.from_bytes(raw[at : at + bus], "little")
            self._reads.append((ready, master.arid, data, response, beat == last, start + at))

    def _response(self, address: int, *, write: bool) -> int:
        """Return the response of the beat at `address`."""
        stop = address + self._bus
        if stop > self.image.size:
            return Response.DECERR
        for fault in self._faults:
            concerned = fault.writes if write else fault.reads
            if concerned and address < fault.stop and stop > fault.start:
                return fault.response
        return Response.OKAY

    def _accept_data(self, data: int, strobes: int) -> None:
        burst = self._writes[0]
        burst.beats.append((data, strobes))
        self.write_beats += 1
        if len(burst.beats) == burst.length:
            burst.ready = self.cycle + self._latency
            self._responses.append(self._writes.popleft())

    def _offer_response(self, stop: bool) -> None:
        slave = self.slave
        slave.bvalid = not stop and bool(self._responses) and self._responses[0].ready <= self.cycle
        if slave.bvalid and self._hangs:
            burst = self._responses[0]
            slave.bvalid = not self._hangs_at("b", burst.address, burst.length)
        if slave.bvalid:
            burst = self._responses[0]
            slave.bid = burst.id
            slave.bresp = self._burst_response(burst)

    def _burst_response(self, burst: _Write) -> int:
        stop = burst.address + burst.length * self._bus
        if stop <= self.image.size and not self._faults:
            return Response.OKAY
        beats = range(burst.address, stop, self._bus)
        return max(self._response(address, write=True) for address in beats)

    def _apply(self, burst: _Write) -> None:
        bus, address = self._bus, burst.address
        if not self.slave.bresp and all(strobes == self._full for _, strobes in burst.beats):
            raw = b"".join(data.to_bytes(bus, "little") for data, _ in burst.beats)
            self.image[address : address + len(raw)] = np.frombuffer(raw, np.uint8)
            return
        for data, strobes in burst.beats:
            if not self._response(address, write=True):
                self._apply_beat(address, data, strobes)
            address += bus

    def _apply_beat(self, address: int, data: int, strobes: int) -> None:
        bus = self._bus
        raw = np.frombuffer(data.to_bytes(bus, "little"), np.uint8)
        lanes = np.frombuffer(strobes.to_bytes((bus + 7) // 8, "little"), np.uint8)
        written = np.unpackbits(lanes, count=bus, bitorder="little").astype(bool)
        self.image[address : address + bus][written] = raw[written]


def _randoms(stalls: Stalls | None, seed: int) -> tuple[tuple[float, random.Random], ...]:
    if stalls is None or stalls == Stalls():
        return ()
    # A stream a channel: what one channel draws does not depend on another's probability.
    return tuple(
        (getattr(stalls, item.name), random.Random(f"{seed} {item.name}"))
        for item in fields(stalls)
    )
