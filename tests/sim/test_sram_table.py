"""The SRAM table, its nearest points, and the totals that were recorded from it."""

from __future__ import annotations

from importlib import resources

import pytest

from sim.sram_table import Cell, Organisation, Ports, banked, nearest, points

BANKS = Organisation(Cell.LSTP, bank_bytes=8192, bank_width=8)
MONOLITHIC = Organisation(Cell.HP, bank_bytes=None, bank_width=None)
MACS = 64 * 64
# 512 KB input, 512 KB weight, 1 MB output: words of 64, 64 and 256 bytes.
TWO_MEGABYTES = ((8192, 8 * 64), (8192, 8 * 64), (4096, 8 * 256))


def total(organisation: Organisation) -> tuple[float, float, float]:
    """Return mm2, pJ a MAC and mW of 2 MB, single-ported.

    Each cycle of 64x64 in WS reads a word of the input memory, and reads and writes one of sums.
    """
    found = [banked(*size, Ports.SINGLE, organisation) for size in TWO_MEGABYTES]
    left, _, sums = found
    cycle = left.read_pj + sums.read_pj + sums.write_pj
    area, leakage = (sum(getattr(m, name) for m in found) for name in ("area_mm2", "leakage_mw"))
    return area, cycle / MACS, leakage


def test_two_megabytes_in_small_banks_of_low_leakage() -> None:
    area, energy, leakage = total(BANKS)
    assert area == pytest.approx(6.7, rel=0.01)
    assert energy == pytest.approx(0.12, rel=0.02)
    assert leakage < 0.1, "none to speak of: mW"


def test_two_megabytes_as_fast_monolithic_arrays() -> None:
    area, energy, leakage = total(MONOLITHIC)
    assert area == pytest.approx(9.6, rel=0.01)
    assert energy == pytest.approx(0.67, rel=0.01)
    assert leakage == pytest.approx(940, rel=0.01)
    # The recorded 7.6 mm2 are arrays of other widths than those of the words.
    wide = (
        nearest(1 << 19, 256, Cell.HP, Ports.SINGLE),
        nearest(1 << 20, 128, Cell.HP, Ports.SINGLE),
    )
    assert 2 * wide[0].area_mm2 + wide[1].area_mm2 == pytest.approx(7.6, rel=0.01)


def test_a_second_port_doubles_the_area() -> None:
    one, two = (banked(8192, 512, ports, BANKS) for ports in Ports)
    assert 1.9 < two.area_mm2 / one.area_mm2 < 2.1


def test_a_memory_is_cut_into_equal_banks() -> None:
    found = banked(4096, 8 * 64, Ports.SINGLE, BANKS)
    assert (found.across, found.deep, found.banks) == (8, 4, 32)
    assert (found.point.size_bytes, found.point.width_bytes) == (8192, 8)
    assert found.read_pj == 8 * found.point.read_pj, "one row of banks is read"
    assert found.leakage_mw == 32 * found.point.leakage_mw, "all leak"
    assert found.area_mm2 == 32 * found.point.area_mm2


def test_banks_of_odd_memories() -> None:
    """12 bytes are two banks of 6, whose nearest width is 8; 24 bits are nearest to 4 bytes."""
    assert (banked(64, 96, Ports.DUAL, BANKS).across, banked(64, 96, Ports.DUAL, BANKS).deep) == (
        2,
        1,
    )
    assert banked(64, 96, Ports.DUAL, BANKS).point.width_bytes == 8
    assert banked(2048, 24, Ports.DUAL, BANKS).point.width_bytes == 4


def test_what_the_table_does_not_reach_is_at_its_edge() -> None:
    assert nearest(64, 1, Cell.LSTP, Ports.DUAL).size_bytes == 1024
    assert nearest(1 << 23, 1024, Cell.LSTP, Ports.DUAL).size_bytes == 1 << 21


def test_of_two_equally_near_points_the_larger_is_taken() -> None:
    found = nearest(8192 * 2**0.5, 8, Cell.LSTP, Ports.SINGLE)
    assert found.size_bytes == 16384


def test_a_point_of_the_table_is_found_as_it_is() -> None:
    for point in points():
        assert nearest(point.size_bytes, point.width_bytes, point.cell, point.ports) is point
    assert len({(p.size_bytes, p.width_bytes, p.cell, p.ports) for p in points()}) == len(points())


def test_the_file_says_where_it_is_from() -> None:
    text = resources.files("sim").joinpath("data/cacti7_45nm.csv").read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert "CACTI 7" in header[1] and "45 nm" in header[0]
    assert any("Licence" in line for line in header)
