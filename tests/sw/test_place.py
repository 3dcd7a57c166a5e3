"""Placement in DRAM and in the on-chip memories."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hw.isa.config import Config
from sw.place import PlacementError, Request, Role, place
from sw.residency import Residency, Results
from sw.tile import TileError


def requests(seed: int) -> list[Request]:
    """Return matrices of random shapes."""
    rng = random.Random(seed)
    return [
        Request(f"m{i}", rng.choice(["int4", "int8", "int32", "uint32"]), rng.randint(1, 40),
                rng.randint(1, 70), rng.choice(list(Role)))
        for i in range(20)
    ]  # fmt: skip


@pytest.mark.parametrize("bus", [4, 16, 128])
@pytest.mark.parametrize("seed", range(3))
def test_buffers_are_aligned_and_apart(bus, seed):
    layout = place(Config(bus_bytes=bus), requests(seed))
    used = np.zeros(layout.program_address, int)
    for buffer in layout.buffers:
        assert buffer.address % 64 == 0 and buffer.address % bus == 0 and buffer.pitch % bus == 0
        used[buffer.address : buffer.end] += 1
        bits = {"int4": 4, "int8": 8}.get(buffer.dtype, 32)
        assert buffer.at(2, 6) == buffer.address + 2 * buffer.pitch + 6 * bits // 8
        assert bus > buffer.pitch - buffer.columns * bits / 8 >= 0
    assert used.max() == 1
    assert layout.program_address % max(bus, 64) == 0


def test_windows_are_the_elements_of_a_buffer():
    (buffer,) = place(Config(), [Request("a", "int32", 2, 3, Role.INPUT)]).buffers
    dram = np.zeros(128, np.uint8)
    buffer.window(dram)[:] = [[1, -2, 3], [4, 5, 6]]
    assert dram.view("<i4")[:8].tolist() == [1, -2, 3, 0, 4, 5, 6, 0]


def test_elements_of_four_bits_are_two_a_byte():
    (buffer,) = place(Config(), [Request("a", "int4", 2, 3, Role.INPUT)]).buffers
    assert buffer.host_dtype == "int8" and buffer.window(np.zeros(128, np.uint8)).shape == (2, 2)


def test_dram_has_an_end():
    message = r"^the buffers take 70016 bytes of DRAM, but address_bits 16 reach 65536$"
    with pytest.raises(PlacementError, match=message):
        place(Config(address_bits=16), [Request("a", "int8", 10, 7000, Role.INPUT)])


def test_a_layout_knows_its_buffers():
    layout = place(Config(), [Request("a", "int8", 2, 3, Role.OUTPUT, True)])
    assert layout["a"].host_shape == (3, 2)
    assert str(layout) == "0x00000000-0x00000010 output a: int8 2x3, pitch 8, transposed"
    with pytest.raises(KeyError, match=r"no buffer 'b'; there are: a"):
        layout["b"]


def test_tiles_alternate_between_halves():
    memory = Residency(16)
    assert [memory.get(key, 16) for key in "abab"] == [
        (0, True),
        (16, True),
        (0, False),
        (16, False),
    ]
    assert memory.get("c", 16) == (0, True)
    assert memory.get("b", 16) == (16, False)
    assert memory.get("a", 10) == (0, True)


def test_a_tile_does_not_drive_out_the_one_in_use():
    memory = Residency(16)
    memory.get("w0", 12)
    assert memory.get("b", 4) == (16, True)
    assert memory.get("w1", 12) == (20, True), "beside b rather than over w0"
    assert memory.get("w0", 12) == (0, False)


def test_a_large_tile_takes_both_halves():
    memory = Residency(16)
    memory.get("a", 4)
    assert memory.get("b", 30) == (0, True) or memory.get("b", 30) == (2, False)
    assert memory.get("a", 4)[1]
    with pytest.raises(TileError, match=r"^a tile of 33 words finds no room in a memory of 32"):
        memory.get("c", 33)


def test_room_is_for_whole_tiles_in_each_half():
    memory = Residency(16)
    assert [memory.room(words) for words in (4, 5, 16, 17, 32, 33)] == [8, 6, 2, 1, 1, 0]
    assert Residency(16, halves=1).room(5) == 3


def test_a_tile_stays_until_it_is_freed():
    memory = Residency(16, halves=1)
    assert memory.get("a", 10, stays=True) == (0, True)
    assert [memory.get(key, 6) for key in "bc"] == [(10, True), (10, True)]
    with pytest.raises(TileError, match=r"finds no room in a memory of 16, where 10 must stay$"):
        memory.get("d", 7)
    memory.free(lambda key: key == "a")
    assert memory.get("d", 7)[1] and memory.get("a", 10)[1]


@pytest.mark.parametrize("seed", range(10))
def test_resident_tiles_never_overlap(seed):
    rng = random.Random(seed)
    memory, sizes = Residency(32), {key: rng.randint(1, 40) for key in range(12)}
    held: dict[int, int] = {}
    for _ in range(500):
        key = rng.randrange(12)
        base, missing = memory.get(key, sizes[key])
        assert 0 <= base and base + sizes[key] <= 64
        assert base // 32 == (base + sizes[key] - 1) // 32 or sizes[key] > 32
        if not missing:
            assert held[key] == base
        else:
            end = base + sizes[key]
            held = {k: b for k, b in held.items() if b + sizes[k] <= base or end <= b}
            held[key] = base


def test_results_alternate_between_halves_and_take_the_oldest_place():
    output = Results(8)
    assert [output.get(words) for words in (3, 3, 3, 3, 3, 8, 4)] == [0, 8, 3, 11, 0, 8, 3]
    assert output.get(9) == 0
    assert output.get(8) == 0
    with pytest.raises(TileError, match=r"^a tile of 17 words in a memory of 16$"):
        output.get(17)


def test_results_that_stay_are_apart():
    output = Results(8)
    bases = output.get_all([3, 5, 4, 2])
    used = [base + i for base, size in zip(bases, [3, 5, 4, 2], strict=True) for i in range(size)]
    assert len(set(used)) == 14 and max(used) < 16
    assert all(base // 8 == (base + size - 1) // 8 for base, size in zip(bases, [3, 5, 4, 2],
               strict=True))  # fmt: skip
    assert output.get_all([8, 8, 1]) is None
    assert output.get_all([6, 6, 3]) is None, "no tile is in both halves"
