"""The memories of an accelerator as silicon needs them, and how often a program accesses each.

`hw` builds them; `tests/sim/test_energy.py` holds this list to what it builds.
"""

from __future__ import annotations

from dataclasses import dataclass

from hw.isa.config import Config

from .activity import Activity
from .sram_table import Banked, Cell, Organisation, Ports, banked

__all__ = ["SRAM", "MemoryArray", "memories"]

SRAM = Organisation(Cell.LSTP, bank_bytes=32768, bank_width=16)
"""Banks of all memories: small ones take more area, larger ones more time and energy."""

_SUM_BITS = 32
_ENTRY_BITS = 24
"""A scale entry on the chip: 16 bits of multiplier and 8 of shift."""


@dataclass(frozen=True)
class MemoryArray:
    """One memory: equal macros.

    Members
    -------
    name : str
    copies, depth, width : int
        Macros, words in each, bits a word.
    ports : Ports
    together : int
        Macros that an event of `Activity` accesses.
    lanes : int
        Lanes that are written by themselves: a write changes one of them.
    """

    name: str
    copies: int
    depth: int
    width: int
    ports: Ports
    together: int = 1
    lanes: int = 1

    @property
    def title(self) -> str:
        """Name for reports."""
        return f"{self.name.replace('_', ' ')} memory"

    def banks(self, sram: Organisation = SRAM) -> Banked:
        """Return the banks of one macro."""
        return banked(self.depth, self.width, self.ports, sram)

    def reads(self, activity: Activity) -> int:
        """Return the words read, of all macros."""
        if self.name == "output":
            events = activity.output_reads + activity.output_accumulations
        else:
            events = getattr(activity, f"{self.name}_reads")
        return events * self.together

    def writes(self, activity: Activity) -> int:
        """Return the words (or lanes of words) written, of all macros."""
        if self.name == "output":
            events = activity.output_first_writes + activity.output_accumulations
            events += activity.output_forwards
        else:
            events = getattr(activity, f"{self.name}_writes")
        return events * self.together


def memories(config: Config) -> tuple[MemoryArray, ...]:
    """Return every memory; small queues and the transposer are registers, and left out."""
    rows, columns = config.rows, config.columns
    single, dual = Ports.SINGLE, Ports.DUAL
    # A bank is as many macros as the array reads words at once.
    together = config.macs_per_element
    copies = 2 * together
    entries, maxima = config.column_scale_depth, config.column_scale_depth * columns
    return (
        MemoryArray("input", copies, config.input_depth // together, 8 * rows, single),
        MemoryArray("weight", copies, config.weight_depth // together, 8 * columns, single),
        # A column of sums has two halves of two banks of its own: columns work at different times.
        MemoryArray(
            "output", 4 * columns, config.output_depth // 2, _SUM_BITS, single, together=columns
        ),
        MemoryArray("accumulate_scale", 1, config.accumulate_scale_depth, _ENTRY_BITS, dual),
        MemoryArray("row_scale", 1, config.row_scale_depth, _ENTRY_BITS, dual),
        MemoryArray("column_scale", 1, entries, _ENTRY_BITS * columns, dual, lanes=columns),
        MemoryArray("row_maximum", 1, config.row_scale_depth, _SUM_BITS, dual),
        MemoryArray("column_maximum", 1, maxima, _SUM_BITS, dual),
    )
