"""FPGAs: the commands that map to them, and what each of their cells takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["TARGETS", "FpgaTarget", "Resources"]


@dataclass(frozen=True)
class Resources:
    """Parts of an FPGA.

    Members
    -------
    lut : int
        Look-up tables that are logic.
    lut_ram : int
        Look-up tables that are memory or shift registers.
    carry : int
        Carry cells.
    flip_flops, dsp, bram : int
        Flip-flops, multipliers, and blocks of memory of `FpgaTarget.bram_kbit`.
    """

    lut: int = 0
    lut_ram: int = 0
    carry: int = 0
    flip_flops: int = 0
    dsp: int = 0
    bram: int = 0

    def __add__(self, other: Resources) -> Resources:
        """Return both together."""
        return Resources(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def __mul__(self, times: int) -> Resources:
        """Return so many of them."""
        return Resources(*(times * value for value in self.values()))

    def values(self) -> tuple[int, ...]:
        """Return the members in order."""
        return tuple(getattr(self, item.name) for item in fields(self))


_LUT = Resources(lut=1)
_CARRY, _FLIP_FLOP, _DSP = Resources(carry=1), Resources(flip_flops=1), Resources(dsp=1)
_NOTHING = Resources()


@dataclass(frozen=True)
class FpgaTarget:
    """A family of FPGAs.

    Members
    -------
    title : str
    command : str
        Of yosys, with options; module boundaries are kept, and pins get no buffers.
    lut_inputs : int
    dsp, bram : str
        What a multiplier and a block of memory is called.
    bram_kbit : int
        Of a block.
    cells : mapping of str to Resources
        What a cell takes, by a pattern of its type.
    """

    title: str
    command: str
    lut_inputs: int
    dsp: str
    bram: str
    bram_kbit: int
    cells: Mapping[str, Resources]

    def takes(self, cell: str) -> Resources | None:
        """Return what a cell of this type takes; None if the family has no such cell."""
        for pattern, resources in self.cells.items():
            if re.fullmatch(pattern, cell):
                return resources
        return None


TARGETS = {
    "ice40": FpgaTarget(
        "Lattice iCE40 UltraPlus", "synth_ice40 -noflatten -device u -dsp", 4, "SB_MAC16",
        "SB_RAM40_4K", 4,
        {
            "SB_LUT4": _LUT,
            "SB_CARRY": _CARRY,
            "SB_DFF.*": _FLIP_FLOP,
            "SB_MAC16": _DSP,
            "SB_RAM40_4K.*": Resources(bram=1),
        },
    ),
    "ecp5": FpgaTarget(
        "Lattice ECP5", "synth_ecp5 -noflatten", 4, "MULT18X18D", "DP16KD", 18,
        {
            "LUT4": _LUT,
            "CCU2C": Resources(lut=2, carry=1),  # made of both LUTs of a slice
            "PFUMX|L6MUX21": _NOTHING,  # stand behind LUTs that are counted
            "TRELLIS_FF": _FLIP_FLOP,
            "TRELLIS_DPR16X4": Resources(lut_ram=6),  # two slices, and one to write
            "MULT18X18D": _DSP,
            "ALU54B": _NOTHING,  # behind two multipliers that are counted
            "DP16KD|PDPW16KD": Resources(bram=1),
        },
    ),
    "xilinx": FpgaTarget(
        "Xilinx series 7", "synth_xilinx -family xc7 -noiopad -noclkbuf", 6, "DSP48E1",
        "RAMB18E1", 18,
        {
            "LUT[1-6]|INV": _LUT,
            "MUXF[78]": _NOTHING,
            "CARRY4": _CARRY,
            "FD[RSCP]E": _FLIP_FLOP,
            "SRL16E|SRLC32E|RAM(32|64)X1S": Resources(lut_ram=1),
            "RAM(32|64)X1D|RAM128X1S": Resources(lut_ram=2),
            "RAM32M|RAM64M|RAM128X1D|RAM256X1S": Resources(lut_ram=4),
            "DSP48E1": _DSP,
            "RAMB18E1": Resources(bram=1),
            "RAMB36E1": Resources(bram=2),
        },
    ),
}  # fmt: skip
"""Families by the name that ``--target`` takes."""
