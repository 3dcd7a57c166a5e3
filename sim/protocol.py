"""Checks the AXI4 rules of a master and a slave, cycle by cycle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .axi import Master, Slave

__all__ = ["ProtocolChecker", "ProtocolError"]

_PAYLOAD = {
    "ar": ("arid", "araddr", "arlen", "arsize", "arburst"),
    "r": ("rid", "rdata", "rresp", "rlast"),
    "aw": ("awid", "awaddr", "awlen", "awsize", "awburst"),
    "w": ("wdata", "wstrb", "wlast"),
    "b": ("bid", "bresp"),
}


class ProtocolError(AssertionError):
    """A rule was broken; the message names the channel and the cycle."""


class ProtocolChecker:
    """Watches an AXI4 port, stepped once a clock cycle with what both sides drive.

    Rules: a valid and its payload stay until ready; bursts are INCR, of full-width beats, aligned
    to the bus, no longer than `burst_beats` and within 4096 bytes; ids are known ones; no more
    bursts are outstanding than agreed; WLAST and RLAST stand on the last beat and nowhere else;
    data and responses answer an address that was accepted, reads of an id in order; nothing is
    valid in reset.

    Parameters
    ----------
    bus_bytes : int
        Data width in bytes.
    burst_beats : int
        Longest burst.
    read_outstanding, write_outstanding : int, optional
        Bursts in flight: address accepted, last data or response not.
    read_ids, write_ids : iterable of int
        Ids the master uses.
    """

    def __init__(
        self,
        *,
        bus_bytes: int,
        burst_beats: int = 256,
        read_outstanding: int | None = None,
        write_outstanding: int | None = None,
        read_ids: Iterable[int] = (0, 1),
        write_ids: Iterable[int] = (0,),
    ) -> None:
        self.cycle = 0
        self._bus = bus_bytes
        self._beats = burst_beats
        self._limits = {"ar": read_outstanding, "aw": write_outstanding}
        self._ids = {"ar": frozenset(read_ids), "aw": frozenset(write_ids)}
        self._held: dict[str, tuple[int, ...]] = {}
        self._reads: dict[int, deque[int]] = {}  # id: beats left of each burst
        self._addressed: deque[tuple[int, int]] = deque()  # (id, beats) of writes without data
        self._data: deque[int] = deque()  # lengths of data bursts without an address
        self._beat = 0
        self._answers: list[int] = []  # ids of writes that wait for their response
        self._in_flight = {"ar": 0, "aw": 0}

    def reset(self, master: Master) -> None:
        """Check a cycle in which the reset is active."""
        for channel in ("ar", "aw", "w"):
            if getattr(master, f"{channel}valid"):
                self._fail(channel, "valid in reset")
        self.cycle += 1

    def step(self, master: Master, slave: Slave) -> None:
        """Check one cycle.

        Raises
        ------
        ProtocolError
            The first rule that is broken.
        """
        for channel, source, sink in (
            ("ar", master, slave),
            ("r", slave, master),
            ("aw", master, slave),
            ("w", master, slave),
            ("b", slave, master),
        ):
            self._stable(channel, source, bool(getattr(sink, f"{channel}ready")))
        # Answers first: they may come in the cycle after what they answer at the earliest.
        if slave.rvalid:
            self._read_data(slave, taken=bool(master.rready))
        if slave.bvalid:
            self._response(slave, taken=bool(master.bready))
        self._addresses(master, slave)
        if master.wvalid and slave.wready:
            self._write_data(bool(master.wlast))
        self._match()
        self.cycle += 1

    def _fail(self, channel: str, what: str) -> None:
        raise ProtocolError(f"AXI {channel.upper()} channel, cycle {self.cycle}: {what}")

    def _stable(self, channel: str, source: Master | Slave, ready: bool) -> None:
        valid = getattr(source, f"{channel}valid")
        payload = tuple(int(getattr(source, name)) for name in _PAYLOAD[channel]) if valid else ()
        before = self._held.pop(channel, None)
        if before is not None:
            if not valid:
                self._fail(channel, "valid fell before ready came")
            for name, old, new in zip(_PAYLOAD[channel], before, payload, strict=True):
                if old != new:
                    self._fail(channel, f"{name} changed from {old:#x} to {new:#x} while it waited")
        if valid and not ready:
            self._held[channel] = payload

    def _addresses(self, master: Master, slave: Slave) -> None:
        if master.arvalid:
            self._burst(
                "ar", master.arid, master.araddr, master.arlen, master.arsize, master.arburst
            )
            if slave.arready:
                self._issue("ar")
                self._reads.setdefault(master.arid, deque()).append(master.arlen + 1)
        if master.awvalid:
            self._burst(
                "aw", master.awid, master.awaddr, master.awlen, master.awsize, master.awburst
            )
            if slave.awready:
                self._issue("aw")
                self._addressed.append((master.awid, master.awlen + 1))

    def _burst(
        self, channel: str, id: int, address: int, length: int, size: int, burst: int
    ) -> None:
        beats = length + 1
        if id not in self._ids[channel]:
            known = ", ".join(map(str, sorted(self._ids[channel])))
            self._fail(channel, f"id {id} is not one of {known}")
        if burst != 1:
            self._fail(channel, f"burst type {burst} is not INCR")
        if 1 << size != self._bus:
            self._fail(channel, f"beats of {1 << size} bytes on a bus of {self._bus}")
        if address % self._bus:
            self._fail(channel, f"address {address:#x} is not a multiple of {self._bus}")
        if beats > self._beats:
            self._fail(channel, f"{beats} beats are more than {self._beats}")
        if address % 4096 + beats * self._bus > 4096:
            self._fail(channel, f"{beats} beats from {address:#x} cross a boundary of 4096 bytes")

    def _issue(self, channel: str) -> None:
        self._in_flight[channel] += 1
        limit = self._limits[channel]
        if limit is not None and self._in_flight[channel] > limit:
            self._fail(channel, f"{self._in_flight[channel]} bursts outstanding of {limit}")

    def _read_data(self, slave: Slave, *, taken: bool) -> None:
        bursts = self._reads.get(slave.rid)
        if not bursts:
            self._fail("r", f"data for id {slave.rid}, which waits for none")
        elif bool(slave.rlast) != (bursts[0] == 1):
            self._fail("r", f"RLAST is {int(slave.rlast)} with {bursts[0]} beats left")
        elif taken:
            bursts[0] -= 1
            if not bursts[0]:
                bursts.popleft()
                self._in_flight["ar"] -= 1

    def _write_data(self, last: bool) -> None:
        self._beat += 1
        # `_match` leaves either addresses or data: with an address left, the data is its data.
        if self._addressed:
            expected = self._addressed[0][1]
            if last != (self._beat >= expected):
                self._fail("w", f"WLAST is {int(last)} on beat {self._beat} of {expected}")
        if last:
            self._data.append(self._beat)
            self._beat = 0

    def _match(self) -> None:
        """Bring addresses and complete data together; data may come before its address."""
        while self._addressed and self._data:
            id, beats = self._addressed.popleft()
            sent = self._data.popleft()
            if sent != beats:
                self._fail("w", f"WLAST came on beat {sent} of {beats}")
            self._answers.append(id)

    def _response(self, slave: Slave, *, taken: bool) -> None:
        if slave.bid not in self._answers:
            self._fail("b", f"response for id {slave.bid}, which waits for none")
        if taken:
            self._answers.remove(slave.bid)
            self._in_flight["aw"] -= 1
