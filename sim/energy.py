"""Energy of a program: counts of its events times the one table of costs, DRAM apart.

With n MACs on an array of P elements, W waves and T cycles at clock f:

    array   n.(e_mac - e_clock - P_leak/f_0)            what the elements do for MACs
          + (W.P - n).r_pad                             padding: `a` and `p` or `acc` still move
          + P.T.e_clock
          + loads and drains                            tiles on their way through `b` and `p`
    edges   flip-flops of the skew, clocked and moved
    memory  sum over banks of reads.e_read + writes.e_write
    wires   bits.mm.e_wire
    leakage (P.P_leak + P_sram).T/f
    DRAM    bytes.e_byte

where f_0 is the clock at which e_mac was measured. At full use the array costs n.e_mac in all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hw.isa.config import Config

from .activity import Activity
from .costs import COSTS, Cost, CostTable
from .macros import memories

__all__ = ["COSTS", "Cost", "CostTable", "Energy", "edge_bits", "energy"]

_PICO = 1e-12
_MEASURED_MHZ = 400
"""Clock of the recorded energies of an element, which hold a cycle's leakage at that clock."""
_OPERAND, _SUM = 8, 32
_WAY = 0.75
"""Mean way from a bank to the middle of an edge of a square memory, in sides: half a side along,
a quarter across."""
_DRAM = {
    "DDR3": "dram_ddr3",
    "LPDDR4, least": "dram_lpddr4_low",
    "LPDDR4, most": "dram_lpddr4_high",
}


@dataclass(frozen=True)
class Energy:
    """Energy of a run, in joules unless said otherwise.

    Members
    -------
    cycles, clock_mhz, macs : int
        Of the run.
    dynamic : dict of str to float
        Switching on the chip, by component; of MACs, the timed figure.
    mac_zero_delay : float
        What stands for ``dynamic["MACs"]`` if glitches and wires are left out.
    leakage : dict of str to float
        Leakage on the chip, by component, in watts.
    dram : dict of str to float
        DRAM, if it is of the class ``DDR3``, ``LPDDR4, least`` or ``LPDDR4, most``. It is not part
        of anything else here.
    """

    cycles: int
    clock_mhz: float
    macs: int
    dynamic: dict[str, float] = field(repr=False)
    mac_zero_delay: float
    leakage: dict[str, float] = field(repr=False)
    dram: dict[str, float]

    @property
    def seconds(self) -> float:
        """Length of the run."""
        return self.cycles / (self.clock_mhz * 1e6)

    @property
    def components(self) -> dict[str, float]:
        """Everything on the chip, leakage as energy of this run."""
        leaks = {name: watts * self.seconds for name, watts in self.leakage.items()}
        return self.dynamic | leaks

    @property
    def chip(self) -> float:
        """All on the chip, with glitches and wires of the array: the figure to take."""
        return sum(self.components.values())

    @property
    def chip_zero_delay(self) -> float:
        """All on the chip, without the array's glitches and wires."""
        return self.chip - self.dynamic["MACs"] + self.mac_zero_delay

    def power(self, clock_mhz: float | None = None) -> float:
        """Return watts on the chip if the run takes its cycles at `clock_mhz`, or at its own."""
        switching = sum(self.dynamic.values()) / self.cycles * (clock_mhz or self.clock_mhz) * 1e6
        return switching + sum(self.leakage.values())

    @property
    def tops_per_watt(self) -> float:
        """10^12 operations a joule on the chip; a MAC is two."""
        return 2 * self.macs / self.chip / 1e12

    @property
    def tops_per_watt_zero_delay(self) -> float:
        """The same without glitches and wires of the array."""
        return 2 * self.macs / self.chip_zero_delay / 1e12

    def __str__(self) -> str:
        """Return the components as text, both figures of the MACs side by side."""
        lines = [f"{'microjoules':22}{'timed':>12}{'zero delay':>12}"]
        for name, joules in (*self.components.items(), ("chip", self.chip)):
            other = {"MACs": self.mac_zero_delay, "chip": self.chip_zero_delay}.get(name, joules)
            lines.append(f"{name:22}{joules * 1e6:12.3f}{other * 1e6:12.3f}")
        lines += [f"{'DRAM ' + name:22}{joules * 1e6:12.3f}" for name, joules in self.dram.items()]
        return "\n".join(lines)


def energy(config: Config, activity: Activity, cycles: int, costs: CostTable = COSTS) -> Energy:
    """Charge the events of a program.

    Parameters
    ----------
    config : Config
        The accelerator; its `clock_mhz` turns cycles into the time it leaks for.
    activity : Activity
        What the program does.
    cycles : int
        What it takes, from start to interrupt, by any model. Padding is charged by waves, so a
        model that gives fewer cycles than waves does no harm.
    costs : CostTable
        Prices.

    Raises
    ------
    ValueError
        `cycles` is less than 1.
    """
    if cycles < 1:
        raise ValueError(f"cycles must be at least 1, not {cycles}")
    memory, wires, memory_leakage = _memories(config, activity, costs)
    # An element of several products is charged as so many of one: the table has no other.
    elements = config.macs_per_cycle
    mac, mac_zero_delay = _macs(activity, costs)
    pico = {
        "MACs": mac,
        "padding": _padding(config, activity) * _move(costs),
        "clock of elements": elements * cycles * costs.pe_clock.value,
        "loads and drains": _passing(config, activity) * _move(costs),
        "edges": _edges(config, activity, cycles, costs),
        "transposer": _transposer(config, activity, cycles, costs),
        **memory,
        "wires": wires,
    }
    moved = activity.dram_read_bytes + activity.dram_write_bytes
    return Energy(
        cycles=cycles,
        clock_mhz=config.clock_mhz,
        macs=activity.macs,
        dynamic={name: _PICO * value for name, value in pico.items()},
        mac_zero_delay=_PICO * mac_zero_delay,
        leakage={
            "leakage of elements": elements * costs.pe_leakage.value * 1e-3,
            "leakage of memories": memory_leakage * 1e-3,
        },
        dram={name: _PICO * moved * getattr(costs, key).value for name, key in _DRAM.items()},
    )


def _macs(activity: Activity, costs: CostTable) -> tuple[float, float]:
    """Return pJ of MACs with and without delays, less what every element takes in every cycle."""
    leaks = costs.pe_leakage.value * 1e3 / _MEASURED_MHZ  # mW / MHz = nJ
    always = costs.pe_clock.value + leaks
    timed = activity.macs_ws * (costs.mac_ws.value - always)
    timed += activity.macs_os * (costs.mac_os.value - always)
    return timed, activity.macs * (costs.mac_zero_delay.value - always)


def _padding(config: Config, activity: Activity) -> float:
    """Return moves of flip-flops in elements that a wave passes although nothing is multiplied.

    They are `a`, and `p` or `acc`, which all products of an element share.
    """
    idle = activity.waves * config.macs_per_cycle - activity.macs
    return idle * (_OPERAND + _SUM / config.macs_per_element)


def _move(costs: CostTable) -> float:
    """Return pJ of a flip-flop behind a clock gate that opens for it."""
    return costs.flop_move.value


def _passing(config: Config, activity: Activity) -> int:
    """Return moves of flip-flops while tiles load through `b` and drain through `p`.

    Row r of R takes part in R - r cycles of a load and in r of a drain (`docs/pipeline.md`).
    """
    rows, columns = config.rows, config.columns
    load = columns * rows * (rows + 1) // 2 * _OPERAND * config.macs_per_element
    drain = columns * rows * (rows - 1) // 2 * _SUM
    return activity.folds_ws * load + activity.folds_os * drain


def edge_bits(config: Config) -> tuple[int, int]:
    """Return the flip-flops that skew the left and the right operand, see hw/edge.py."""
    left = sum(2 + row for row in range(config.rows))
    right = sum(1 + column for column in range(config.columns))
    bits = _OPERAND * config.macs_per_element
    return bits * left, bits * right


def _edges(config: Config, activity: Activity, cycles: int, costs: CostTable) -> float:
    """Return pJ of the skew: always clocked, and moved by every word that is read."""
    left, right = edge_bits(config)
    # A word that is read is one product's part of the lanes.
    together = config.macs_per_element
    moves = (activity.input_reads * left + activity.weight_reads * right) / together
    keeps = costs.flop_clock.value
    return (left + right) * cycles * keeps + moves * (costs.flop_move.value - keeps)


def _transposer(config: Config, activity: Activity, cycles: int, costs: CostTable) -> float:
    """Return pJ of the transposer's words, registers behind a clock gate each (hw/words.py)."""
    block = config.transpose_columns
    moves = 8 * (activity.transposer_reads + activity.transposer_writes)
    # Of each of its banks, the words and what was read last.
    return block * (block + 1) * cycles * costs.gate_clock.value + moves * _move(costs)


def _memories(
    config: Config, activity: Activity, costs: CostTable
) -> tuple[dict[str, float], float, float]:
    """Return pJ by memory, pJ of the wires to and from them, and mW of leakage."""
    spent, wires, leakage = {}, 0.0, 0.0
    for memory in memories(config):
        banks = memory.banks(costs)
        reads, writes = memory.reads(activity), memory.writes(activity)
        # A lane that is written by itself lies in one bank of its word, or in a few.
        touched = math.ceil(banks.across / memory.lanes) * banks.point.write_pj
        spent[memory.title] = reads * banks.read_pj + writes * touched
        side = math.sqrt(memory.copies * banks.area_mm2)
        bits = reads * memory.width + writes * memory.width / memory.lanes
        wires += bits * _WAY * side * costs.wire.value
        leakage += memory.copies * banks.leakage_mw
    return spent, wires, leakage
