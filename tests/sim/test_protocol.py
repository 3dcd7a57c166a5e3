"""The protocol checker: silent on good traffic, and each rule broken once is found."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sim.axi import Master, Slave, Stalls
from sim.dram import AxiDram
from sim.protocol import ProtocolChecker, ProtocolError

BUS = 8
READ = {"arvalid": 1, "arready": 1, "arsize": 3}
WRITE = {"awvalid": 1, "awready": 1, "awsize": 3}
DATA = {"wvalid": 1, "wready": 1}
IDLE: dict[str, int] = {}


def watch(*cycles: dict[str, int], **options: int) -> None:
    """Check a trace: each cycle gives the signals that are not 0."""
    checker = ProtocolChecker(bus_bytes=BUS, **options)
    for cycle in cycles:
        names = {"arburst": 1, "awburst": 1} | cycle
        master = Master(**{k: v for k, v in names.items() if hasattr(Master, k)})
        slave = Slave(**{k: v for k, v in names.items() if hasattr(Slave, k)})
        checker.step(master, slave)


GOOD = {
    "read": (
        READ | {"arlen": 1},
        {"rvalid": 1, "rready": 1},
        {"rvalid": 1, "rready": 1, "rlast": 1},
    ),
    "read refused for a while": (
        READ | {"arready": 0},
        READ,
        {"rvalid": 1, "rlast": 1, "rdata": 7},
        {"rvalid": 1, "rlast": 1, "rdata": 7, "rready": 1},
    ),
    "ids answered out of order": (
        READ,
        READ | {"arid": 1},
        {"rvalid": 1, "rready": 1, "rid": 1, "rlast": 1},
        {"rvalid": 1, "rready": 1, "rid": 0, "rlast": 1},
    ),
    "write": (WRITE | {"awlen": 1} | DATA, DATA | {"wlast": 1}, {"bvalid": 1, "bready": 1}),
    "write with data first": (DATA, DATA | {"wlast": 1}, WRITE | {"awlen": 1}, {"bvalid": 1}),
    "write of which no byte counts": (
        WRITE | {"awlen": 1},
        DATA | {"wstrb": 255},
        DATA | {"wstrb": 0, "wlast": 1},
        {"bvalid": 1, "bready": 1},
    ),
    "burst up to the boundary": (READ | {"araddr": 4096 - 16, "arlen": 1},),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_traffic_passes(name):
    watch(*GOOD[name])


BROKEN = {
    "AR channel, cycle 1: valid fell before ready came": (READ | {"arready": 0}, IDLE),
    "AW channel, cycle 1: valid fell before ready came": (WRITE | {"awready": 0}, IDLE),
    "W channel, cycle 1: valid fell before ready came": (DATA | {"wready": 0}, IDLE),
    "R channel, cycle 2: valid fell before ready came": (READ, {"rvalid": 1, "rlast": 1}, IDLE),
    "B channel, cycle 2: valid fell before ready came": (
        WRITE | DATA | {"wlast": 1},
        {"bvalid": 1},
        IDLE,
    ),
    "AR channel, cycle 1: araddr changed from 0x8 to 0x10 while it waited": (
        READ | {"arready": 0, "araddr": 8},
        READ | {"araddr": 16},
    ),
    "AW channel, cycle 1: awlen changed from 0x0 to 0x1 while it waited": (
        WRITE | {"awready": 0},
        WRITE | {"awlen": 1},
    ),
    "W channel, cycle 2: wstrb changed from 0xff to 0x7f while it waited": (
        WRITE,
        DATA | {"wready": 0, "wstrb": 255},
        DATA | {"wready": 0, "wstrb": 127},
    ),
    "R channel, cycle 2: rdata changed from 0x1 to 0x2 while it waited": (
        READ,
        {"rvalid": 1, "rlast": 1, "rdata": 1},
        {"rvalid": 1, "rlast": 1, "rdata": 2, "rready": 1},
    ),
    "B channel, cycle 2: bresp changed from 0x0 to 0x2 while it waited": (
        WRITE | DATA | {"wlast": 1},
        {"bvalid": 1},
        {"bvalid": 1, "bresp": 2},
    ),
    "AR channel, cycle 0: id 2 is not one of 0, 1": (READ | {"arid": 2},),
    "AW channel, cycle 0: id 1 is not one of 0": (WRITE | {"awid": 1},),
    "AR channel, cycle 0: burst type 0 is not INCR": (READ | {"arburst": 0},),
    "AW channel, cycle 0: burst type 2 is not INCR": (WRITE | {"awburst": 2},),
    "AR channel, cycle 0: beats of 4 bytes on a bus of 8": (READ | {"arsize": 2},),
    "AW channel, cycle 0: address 0x4 is not a multiple of 8": (WRITE | {"awaddr": 4},),
    "AR channel, cycle 0: 17 beats are more than 16": (READ | {"arlen": 16},),
    "AR channel, cycle 0: 2 beats from 0x1ff8 cross a boundary of 4096 bytes": (
        READ | {"araddr": 0x1FF8, "arlen": 1},
    ),
    "AW channel, cycle 0: 2 beats from 0xff8 cross a boundary of 4096 bytes": (
        WRITE | {"awaddr": 0xFF8, "awlen": 1},
    ),
    "AR channel, cycle 2: 3 bursts outstanding of 2": (READ, READ, READ),
    "AW channel, cycle 2: 3 bursts outstanding of 2": (WRITE, WRITE, WRITE),
    "W channel, cycle 2: WLAST is 0 on beat 2 of 2": (
        WRITE | {"awlen": 1},
        DATA | {"wstrb": 255},
        DATA | {"wstrb": 0},
    ),
    "W channel, cycle 1: WLAST is 1 on beat 1 of 2": (WRITE | {"awlen": 1}, DATA | {"wlast": 1}),
    "W channel, cycle 1: WLAST is 0 on beat 1 of 1": (WRITE, DATA),
    "W channel, cycle 1: WLAST is 0 on beat 2 of 1": (DATA, WRITE | DATA),
    "W channel, cycle 1: WLAST came on beat 1 of 2": (DATA | {"wlast": 1}, WRITE | {"awlen": 1}),
    "R channel, cycle 1: RLAST is 1 with 2 beats left": (
        READ | {"arlen": 1},
        {"rvalid": 1, "rlast": 1},
    ),
    "R channel, cycle 1: RLAST is 0 with 1 beats left": (READ, {"rvalid": 1}),
    "R channel, cycle 0: data for id 0, which waits for none": (READ | {"rvalid": 1},),
    "R channel, cycle 1: data for id 1, which waits for none": (
        READ,
        {"rvalid": 1, "rlast": 1, "rid": 1},
    ),
    "B channel, cycle 1: response for id 0, which waits for none": (WRITE, {"bvalid": 1}),
    "B channel, cycle 0: response for id 0, which waits for none": (
        WRITE | DATA | {"wlast": 1, "bvalid": 1},
    ),
    "B channel, cycle 2: response for id 0, which waits for none": (
        WRITE | DATA | {"wlast": 1},
        {"bvalid": 1, "bready": 1},
        {"bvalid": 1},
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_rule_is_named(message):
    with pytest.raises(ProtocolError) as caught:
        watch(*BROKEN[message], burst_beats=16, read_outstanding=2, write_outstanding=2)
    assert str(caught.value) == f"AXI {message}"


@pytest.mark.parametrize("channel", ["ar", "aw", "w"])
def test_nothing_is_valid_in_reset(channel):
    checker = ProtocolChecker(bus_bytes=BUS)
    checker.reset(Master())
    with pytest.raises(ProtocolError, match=f"{channel.upper()} channel, cycle 1: valid in reset"):
        checker.reset(Master(**{f"{channel}valid": 1}))


@pytest.mark.parametrize("seed", range(5))
def test_the_memory_keeps_the_rules_under_stalls(seed):
    """A master that keeps the rules, against the memory: what passes is also complete."""
    rng = random.Random(seed)
    dram = AxiDram(
        np.zeros(8192, np.uint8), bus_bytes=BUS, latency=4, bytes_per_cycle=6.5,
        stalls=Stalls.everywhere(0.3), seed=seed,
    )  # fmt: skip
    checker = ProtocolChecker(bus_bytes=BUS, burst_beats=8)
    master = Master(arsize=3, awsize=3, wstrb=255)
    reads = [(8 * rng.randrange(256), rng.randrange(8), rng.randrange(2)) for _ in range(40)]
    writes = [(4096 + 8 * rng.randrange(256), rng.randrange(8)) for _ in range(40)]
    expected = sum(length + 1 for _, length, _ in reads), sum(length + 1 for _, length in writes)
    data = [length - n for _, length in writes for n in range(length + 1)]
    taken = 0
    for _ in range(3000):
        master.arvalid, master.awvalid, master.wvalid = bool(reads), bool(writes), bool(data)
        if reads:
            master.araddr, master.arlen, master.arid = reads[0]
        if writes:
            master.awaddr, master.awlen = writes[0]
        if data:
            master.wdata, master.wlast = len(data), data[0] == 0
        master.rready, master.bready = rng.random() < 0.7, rng.random() < 0.7
        slave = dram.step(master)
        checker.step(master, slave)
        del reads[: master.arvalid and slave.arready]
        del writes[: master.awvalid and slave.awready]
        del data[: master.wvalid and slave.wready]
        taken += bool(slave.rvalid and master.rready)
    assert (taken, dram.write_beats) == expected
    assert dram.pending_reads == dram.pending_writes == 0
