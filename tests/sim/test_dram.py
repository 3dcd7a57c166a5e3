"""The AXI memory, cycle by cycle."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from sim.axi import Fault, Hang, Master, Response, Slave, Stalls
from sim.dram import AccessError, AxiDram

BUS = 8


def memory(size: int = 4096) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)


class Port:
    """A master that drives what it is told, and remembers what the memory drove."""

    def __init__(self, image: np.ndarray, **options) -> None:
        self.dram = AxiDram(image, bus_bytes=BUS, **options)
        self.master = Master(arsize=3, awsize=3, rready=1, bready=1, wstrb=255)
        self.seen: list[Slave] = []

    def step(self, cycles: int = 1, **signals: int) -> Slave:
        for name, value in signals.items():
            setattr(self.master, name, value)
        for _ in range(cycles):
            self.seen.append(replace(self.dram.step(self.master)))
        return self.seen[-1]

    def ask(self, address: int, beats: int = 1, id: int = 0) -> int:
        """Send a read address, and return the cycle in which it was accepted."""
        cycle = self.dram.cycle
        assert self.step(arvalid=1, araddr=address, arlen=beats - 1, arid=id).arready
        self.master.arvalid = 0
        return cycle

    def cycles_with(self, name: str) -> list[int]:
        return [cycle for cycle, slave in enumerate(self.seen) if getattr(slave, name)]


def beat(image: np.ndarray, address: int) -> int:
    return int.from_bytes(image[address : address + BUS].tobytes(), "little")


@pytest.mark.parametrize("latency", [1, 2, 60])
def test_first_beat_comes_latency_cycles_after_its_address(latency):
    image = memory()
    port = Port(image, latency=latency)
    port.step(3)
    accepted = port.ask(16, beats=4, id=1)
    port.step(latency + 6)
    first = accepted + latency
    assert port.cycles_with("rvalid") == [first, first + 1, first + 2, first + 3]
    beats = port.seen[first : first + 4]
    assert [slave.rdata for slave in beats] == [beat(image, 16 + 8 * n) for n in range(4)]
    assert [bool(slave.rlast) for slave in beats] == [False, False, False, True]
    assert {slave.rid for slave in beats} == {1}
    assert {slave.rresp for slave in beats} == {Response.OKAY}


def test_bursts_come_in_the_order_of_their_addresses_without_a_gap():
    image = memory()
    port = Port(image, latency=5)
    port.ask(256, beats=4, id=1)
    port.ask(0, beats=2, id=0)
    port.ask(512, beats=1, id=1)
    port.step(12)
    assert port.cycles_with("rvalid") == list(range(5, 12))
    beats = port.seen[5:12]
    assert [slave.rid for slave in beats] == [1, 1, 1, 1, 0, 0, 1]
    assert [slave.rdata for slave in beats] == [
        beat(image, address) for address in (256, 264, 272, 280, 0, 8, 512)
    ]


def test_latency_counts_for_each_address_on_its_own():
    port = Port(memory(), latency=5)
    port.ask(0)
    port.step(9)
    port.ask(8)
    port.step(9)
    assert port.cycles_with("rvalid") == [5, 15]


def test_a_beat_is_offered_until_it_is_taken():
    image = memory()
    port = Port(image, latency=1)
    port.ask(0, beats=2)
    port.step(4, rready=0)
    port.step(3, rready=1)
    assert port.cycles_with("rvalid") == [1, 2, 3, 4, 5, 6]
    assert [slave.rdata for slave in port.seen[1:7]] == [beat(image, 0)] * 5 + [beat(image, 8)]


def write(port: Port, address: int, beats: list[int], strobes: int = 255) -> None:
    port.step(
        awvalid=1, awaddr=address, awlen=len(beats) - 1, wvalid=1, wdata=beats[0], wstrb=strobes
    )
    for data in beats[1:]:
        port.step(awvalid=0, wdata=data)
    port.step(awvalid=0, wvalid=0)


@pytest.mark.parametrize("latency", [1, 7])
def test_response_comes_latency_cycles_after_the_last_data(latency):
    port = Port(memory(), latency=latency)
    write(port, 64, [1, 2, 3])
    port.step(latency)
    assert port.cycles_with("awready") == list(range(port.dram.cycle))
    assert port.cycles_with("wready") == [0, 1, 2]
    assert port.cycles_with("bvalid") == [2 + latency]
    assert port.dram.pending_writes == 0


def test_data_waits_for_its_address():
    port = Port(memory(), latency=1)
    port.step(3, wvalid=1, wdata=5)
    port.step(awvalid=1, awaddr=0)
    assert port.cycles_with("wready") == [3]


def test_memory_changes_when_the_response_is_taken():
    image = memory()
    before = image.copy()
    port = Port(image, latency=2)
    port.master.bready = 0
    write(port, 8, [0x0102030405060708])
    port.step(5)
    assert port.cycles_with("bvalid") == [2, 3, 4, 5, 6]
    np.testing.assert_array_equal(image, before)
    port.step(bready=1)
    before[8:16] = [8, 7, 6, 5, 4, 3, 2, 1]
    np.testing.assert_array_equal(image, before)


def test_a_read_that_does_not_wait_for_the_response_sees_the_old_contents():
    image = memory()
    old = beat(image, 8)
    port = Port(image, latency=3)
    write(port, 8, [42])
    port.step()
    port.ask(8)  # in cycle 3, the very cycle of the response
    assert port.cycles_with("bvalid") == [3]
    port.ask(8)
    port.step(6)
    assert [port.seen[cycle].rdata for cycle in port.cycles_with("rvalid")] == [old, 42]


@pytest.mark.parametrize("strobes", [0, 1, 0b10000000, 0b00111111, 0b10101010])
def test_bytes_without_strobe_stay(strobes):
    image = memory()
    expected = image.copy()
    data = [0x1122334455667788, 0x99AABBCCDDEEFF00]
    for index, word in enumerate(data):
        for lane in range(BUS):
            if strobes >> lane & 1:
                expected[24 + 8 * index + lane] = word >> 8 * lane & 255
    port = Port(image, latency=1)
    write(port, 24, data, strobes)
    port.step(3)
    np.testing.assert_array_equal(image, expected)


def simple(rate: float | Fraction) -> Fraction:
    """Return what a short decimal number stands for."""
    return Fraction(rate).limit_denominator(1000)


@pytest.mark.parametrize("rate", [0.01, Fraction(1, 3), 3.3, 7.999, 8.0, 9.5, 20])
def test_read_bandwidth_is_exact_in_every_cycle(rate):
    cycles = 3000
    port = Port(memory(), latency=1, bytes_per_cycle=rate)
    for cycle in range(cycles):
        port.step(arvalid=cycle % 128 == 0, arlen=255)
    # There is always a beat to read from cycle 1 on, and one is saved by then.
    taken = np.cumsum([bool(slave.rvalid) for slave in port.seen])
    allowed = [0] + [min(n, int((BUS + simple(rate) * n) / BUS)) for n in range(1, cycles)]
    np.testing.assert_array_equal(taken, allowed)


def both_ways(cycles: int, rate: float | None) -> Port:
    """Read and write all the time."""
    port = Port(memory(1 << 16), latency=1, bytes_per_cycle=rate)
    port.step()
    for cycle in range(cycles):
        port.step(
            arvalid=cycle % 4 == 0, arlen=3, awvalid=cycle % 4 == 0, awlen=3, wvalid=1, wdata=cycle
        )
    return port


@pytest.mark.parametrize("rate", [2.5, 8.0, 11.7, 16.0, 100.0])
def test_reads_and_writes_share_the_bandwidth(rate):
    cycles = 2000
    port = both_ways(cycles, rate)
    reads, writes = port.dram.read_beats, port.dram.write_beats
    assert abs(reads - writes) <= 1
    # The first read is possible a cycle after the first write.
    total = min(BUS + simple(rate) * cycles, 2 * BUS * cycles) / BUS
    assert int(total) - 1 <= reads + writes <= int(total)


def test_without_a_limit_both_directions_move_every_cycle():
    port = both_ways(100, None)
    assert (port.dram.read_beats, port.dram.write_beats) == (99, 100)


def test_the_direction_served_least_recently_has_the_budget():
    port = both_ways(9, 4.0)
    served = ["r" if slave.rvalid else "w" if slave.wready else "-" for slave in port.seen]
    # One beat is saved at the start; then half a beat comes in each cycle.
    assert "".join(served) == "-wr-w-r-w-"


def test_at_most_one_beat_is_saved():
    port = Port(memory(), latency=1, bytes_per_cycle=1.0)
    port.step(1000)
    port.ask(0, beats=4)
    port.step(30)
    assert port.cycles_with("rvalid") == [1001, 1008, 1016, 1024]


def random_traffic(seed: int, stalls: Stalls) -> list[Slave]:
    port = Port(memory(), latency=2, stalls=stalls, seed=seed)
    for cycle in range(400):
        port.step(arvalid=1, araddr=8 * (cycle % 64), awvalid=1, awaddr=2048, wvalid=1, wdata=cycle)
    return port.seen


def test_stalls_follow_from_the_seed():
    stalls = Stalls.everywhere(0.4)
    assert random_traffic(1, stalls) == random_traffic(1, stalls)
    assert random_traffic(1, stalls) != random_traffic(2, stalls)


@pytest.mark.parametrize("channel", ["ar", "r", "aw", "w", "b"])
def test_each_channel_stalls_with_its_own_probability(channel):
    signal = {"ar": "arready", "r": "rvalid", "aw": "awready", "w": "wready", "b": "bvalid"}
    seen = random_traffic(3, Stalls(**{channel: 0.25}))
    count = sum(bool(getattr(slave, signal[channel])) for slave in seen)
    assert 0.70 < count / len(seen) < 0.80
    free = "awready" if channel == "ar" else "arready"
    assert all(getattr(slave, free) for slave in seen)


def test_a_channel_draws_the_same_whatever_the_others_do():
    alone = random_traffic(5, Stalls(ar=0.5))
    among = random_traffic(5, Stalls(ar=0.5, r=0.3, b=0.9))
    assert [slave.arready for slave in alone] == [slave.arready for slave in among]


def test_a_stalled_beat_is_not_withdrawn():
    port = Port(memory(), latency=1, stalls=Stalls(r=0.9), seed=0)
    port.ask(0)
    port.step(200, rready=0)
    cycles = port.cycles_with("rvalid")
    assert cycles == list(range(cycles[0], 201))


def test_faults_answer_reads_beat_by_beat():
    image = memory()
    fault = Fault(12, 20, Response.SLVERR, writes=False)
    port = Port(image, latency=1, faults=[fault, Fault(16, 32, Response.DECERR)])
    port.ask(0, beats=5)
    port.step(6)
    beats = [port.seen[cycle] for cycle in port.cycles_with("rvalid")]
    assert [slave.rresp for slave in beats] == [0, 2, 2, 3, 0]
    assert [slave.rdata for slave in beats] == [beat(image, 0), 0, 0, 0, beat(image, 32)]


def test_faults_answer_a_write_with_the_worst_and_keep_faulty_beats():
    image = memory()
    expected = image.copy()
    expected[8:16] = [1, 0, 0, 0, 0, 0, 0, 0]
    port = Port(image, latency=1, faults=[Fault(16, 17), Fault(24, 25, Response.DECERR)])
    write(port, 8, [1, 2, 3])
    port.step(2)
    assert [port.seen[cycle].bresp for cycle in port.cycles_with("bvalid")] == [Response.DECERR]
    np.testing.assert_array_equal(image, expected)


def test_a_fault_of_reads_leaves_writes_alone():
    image = memory()
    port = Port(image, latency=1, faults=[Fault(0, 64, writes=False)])
    write(port, 8, [7])
    port.step(2)
    assert beat(image, 8) == 7
    assert [port.seen[cycle].bresp for cycle in port.cycles_with("bvalid")] == [Response.OKAY]


@pytest.mark.parametrize("cycles", [1, 7, 100])
@pytest.mark.parametrize("channel", ["ar", "r", "aw", "w", "b"])
def test_a_hang_moves_what_it_touches_by_its_cycles(channel, cycles):
    """The third beat of four, or the burst that it is in; the hang then never comes again."""
    image, other = memory(), memory()
    plain = Port(image, latency=3)
    hung = Port(other, latency=3, faults=[Hang(channel, 32, 33, cycles)])
    for _ in range(2):
        late = []
        for port in (plain, hung):
            seen = len(port.seen)
            traffic(port, 16, 4)
            taken = {
                "ar": "arready", "r": "rvalid", "aw": "awready", "w": "wready", "b": "bvalid"
            }[channel]  # fmt: skip
            late.append([n - seen for n in port.cycles_with(taken) if n >= seen])
        assert len(late[0]) == len(late[1]), "as much moves"
        first = 2 if channel in ("r", "w") else 0
        assert late[1][:first] == late[0][:first]
        assert late[1][first:] == [n + cycles for n in late[0][first:]]
        cycles = 0
    np.testing.assert_array_equal(image, other)


def traffic(port: Port, address: int, beats: int) -> None:
    """Read and write a burst, each channel as far as the memory lets it."""
    port.master.arlen = port.master.awlen = beats - 1
    port.master.araddr = port.master.awaddr = address
    port.master.arvalid = port.master.awvalid = 1
    answers = sent = 0
    while answers < beats + 1:
        # Ready says nothing where nothing is valid: what is counted are handshakes.
        port.master.wvalid, port.master.wdata = int(sent < beats), sent
        slave = port.step()
        slave.arready = slave.arready and port.master.arvalid
        slave.awready = slave.awready and port.master.awvalid
        port.master.arvalid &= not slave.arready
        port.master.awvalid &= not slave.awready
        sent += slave.wready
        answers += slave.rvalid + slave.bvalid
        assert len(port.seen) < 1000


def test_a_hang_for_ever_and_one_elsewhere():
    port = Port(memory(), latency=1, faults=[Hang("r", 64, 72), Hang("r", 1024, 2048)])
    port.ask(0)
    port.ask(72)
    port.step(20)
    assert len(port.cycles_with("rvalid")) == 2
    port.ask(64)
    port.ask(0)
    port.step(5000)
    assert len(port.cycles_with("rvalid")) == 2, "what is behind waits too"
    assert port.dram.pending_reads == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", 0, 1), "channel must be one of ar|r|aw|w|b, not 'x'"),
        (("r", 0, 1, 0), "cycles must be above 0, not 0"),
    ],
)
def test_other_hangs_are_refused(arguments, message):
    with pytest.raises(ValueError) as caught:
        Hang(*arguments)
    assert str(caught.value) == message


def test_outside_of_the_memory_is_a_decode_error():
    image = memory(4096)
    before = image.copy()
    port = Port(image, latency=1)
    port.ask(4088, beats=2)
    write(port, 1 << 30, [1])
    port.step(4)
    reads = [port.seen[cycle] for cycle in port.cycles_with("rvalid")]
    assert [slave.rresp for slave in reads] == [Response.OKAY, Response.DECERR]
    assert reads[0].rdata == beat(image, 4088)
    assert [port.seen[cycle].bresp for cycle in port.cycles_with("bvalid")] == [Response.DECERR]
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "signals",
    [
        {"arvalid": 1, "arburst": 0},
        {"arvalid": 1, "arsize": 2},
        {"arvalid": 1, "araddr": 4},
        {"awvalid": 1, "awburst": 2},
        {"awvalid": 1, "awaddr": 1},
    ],
)
def test_other_bursts_are_refused(signals):
    with pytest.raises(AccessError, match="serves INCR bursts of 8-byte beats at multiples of 8"):
        Port(memory(), latency=1).step(**signals)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latency": 0}, "latency must be at least 1, not 0"),
        ({"bytes_per_cycle": 0.0}, "bytes_per_cycle must be above 0, not 0.0"),
        ({"bytes_per_cycle": float("nan")}, "bytes_per_cycle must be above 0, not nan"),
    ],
)
def test_parameters_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AxiDram(memory(), bus_bytes=BUS, **options)


def test_another_image_is_refused():
    with pytest.raises(ValueError, match="image must be 1-D uint8, not 2-D int32"):
        AxiDram(np.zeros((4, 4), np.int32), bus_bytes=BUS)


def test_a_certain_stall_is_refused():
    with pytest.raises(ValueError, match="probability w must be at least 0 and below 1, not 1.0"):
        Stalls(w=1.0)
