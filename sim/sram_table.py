"""What an on-chip memory costs in silicon: area, time, energy and leakage, from a table of banks.

The table is a sweep of CACTI 7 at 45 nm (its origin stands in `sim/data/cacti7_45nm.csv`). A memory
is laid out as banks, and each bank takes the figures of the nearest point of the table; nothing is
fitted or interpolated, since CACTI's results jump wherever it changes its organisation.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

__all__ = ["Banked", "Cell", "Organisation", "Point", "Ports", "banked", "nearest", "points"]

_FILE = "data/cacti7_45nm.csv"


class Cell(StrEnum):
    """Kind of transistors, of cells and periphery alike."""

    LSTP = "itrs-lstp"
    """Low standby power: next to no leakage, slow."""
    HP = "itrs-hp"
    """High performance: fast, and leaks."""


class Ports(StrEnum):
    """Ports of a bank."""

    SINGLE = "1RW"
    """One, that reads or writes."""
    DUAL = "1R1W"
    """One that reads and one that writes, in the same cycle."""


@dataclass(frozen=True)
class Point:
    """One bank as the table has it.

    Members
    -------
    size_bytes, width_bytes : int
    area_mm2, access_ns, cycle_ns : float
    read_pj, write_pj : float
        An access of a whole word.
    leakage_mw : float
        Subthreshold and gate leakage.
    """

    size_bytes: int
    width_bytes: int
    cell: Cell
    ports: Ports
    area_mm2: float
    access_ns: float
    cycle_ns: float
    read_pj: float
    write_pj: float
    leakage_mw: float


@cache
def points() -> tuple[Point, ...]:
    """Return the table."""
    text = resources.files(__package__).joinpath(_FILE).read_text(encoding="ascii")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Point(
            size_bytes=int(row["size_bytes"]),
            width_bytes=int(row["width_bytes"]),
            cell=Cell(row["cell"]),
            ports=Ports(row["ports"]),
            area_mm2=float(row["area_mm2"]),
            access_ns=float(row["access_ns"]),
            cycle_ns=float(row["cycle_ns"]),
            read_pj=float(row["read_pJ"]),
            write_pj=float(row["write_pJ"]),
            leakage_mw=float(row["leakage_mW"]) + float(row["gate_leakage_mW"]),
        )
        for row in rows
    )


@cache
def nearest(size_bytes: float, width_bytes: float, cell: Cell, ports: Ports) -> Point:
    """Return the point whose capacity and width are fewest octaves away; of two, the larger.

    Parameters
    ----------
    size_bytes, width_bytes : float
        Any positive size; the table goes from 1 KB to 2 MB and from 1 to 256 bytes, and what is
        smaller or larger is taken to be at its edge.
    """

    def distance(point: Point) -> tuple[float, int]:
        octaves = abs(math.log2(point.size_bytes / size_bytes))
        octaves += abs(math.log2(point.width_bytes / width_bytes))
        # Rounded, so that points that are equally near tie.
        return round(octaves, 9), -point.size_bytes * point.width_bytes

    return min((p for p in points() if p.cell is cell and p.ports is ports), key=distance)


@dataclass(frozen=True)
class Organisation:
    """How memories are cut into banks.

    Parameters
    ----------
    cell : Cell
    bank_bytes, bank_width : int or None
        Most bytes of a bank, and of its word; None for one bank, however large.
    """

    cell: Cell = Cell.LSTP
    bank_bytes: int | None = 8192
    bank_width: int | None = 8


@dataclass(frozen=True)
class Banked:
    """A memory in banks: `across` side by side make a word, `deep` of them the depth.

    Only the banks of the word accessed take energy; all leak.
    """

    point: Point
    across: int
    deep: int

    @property
    def banks(self) -> int:
        """Number of banks."""
        return self.across * self.deep

    @property
    def area_mm2(self) -> float:
        """Area of all banks, without wires between them."""
        return self.banks * self.point.area_mm2

    @property
    def read_pj(self) -> float:
        """Energy to read a word."""
        return self.across * self.point.read_pj

    @property
    def write_pj(self) -> float:
        """Energy to write a word."""
        return self.across * self.point.write_pj

    @property
    def leakage_mw(self) -> float:
        """Power of all banks while nothing happens."""
        return self.banks * self.point.leakage_mw


@cache
def banked(depth: int, width_bits: int, ports: Ports, organisation: Organisation) -> Banked:
    """Lay a memory of `depth` words of `width_bits` out as equal banks."""
    width = width_bits / 8
    across = math.ceil(width / (organisation.bank_width or width))
    lane = width / across
    deep = math.ceil(depth * lane / (organisation.bank_bytes or depth * lane))
    point = nearest(depth * lane / deep, lane, organisation.cell, ports)
    return Banked(point, across, deep)
