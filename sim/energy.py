"""Energy of a program: counts of its events times the one table of costs, DRAM apart.

With n MACs on an array of P elements of D products each, W waves and T cycles at clock f:

    array    n.(e_mac - e_always/D)               what elements do for MACs
           + (W.P - n/D).e_padding                waves that find nothing to multiply
           + P.T.e_clock
           + loads and drains                     tiles on their way through `b` and `p`
    lanes    sums.e_sum                           accumulate, requantise, rescale, reduce
    edges    flip-flops of the skew, clocked in turn, and moved
    foot     32 flip-flops a column, moved while the array works
    transposer   8.bytes.e_move, for what is written and for what is read
    units    T.e_clock of all others, at rest
    memory   sum over banks of reads.e_read + writes.e_write
    wires    bits.mm.e_wire
    leakage  (P.P_leak + P_units + P_sram).T/f
    DRAM     bytes.e_byte

``e_always`` is the clock and, at the clock of the measurement, the leakage of an element, which
e_mac holds. At full use the array costs n.e_mac in all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hw.isa.config import Config
from hw.isa.instructions import Dataflow, Execute
from hw.isa.pipeline import TURNS

from .activity import Activity, activity
from .costs import CostTable, costs_of, skew
from .macros import memories
from .silicon import silicon

__all__ = ["Energy", "energy", "full_use"]

_PICO = 1e-12
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
        Switching on the chip, by component, with glitches and wires.
    zero_delay : dict of str to float
        The same without both.
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
    zero_delay: dict[str, float] = field(repr=False)
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
        """All on the chip, with glitches and wires of the cells: the figure to take."""
        return sum(self.components.values())

    @property
    def chip_zero_delay(self) -> float:
        """All on the chip, without them."""
        return self.chip - sum(self.dynamic.values()) + sum(self.zero_delay.values())

    def power(self, clock_mhz: float | None = None, *, timed: bool = True) -> float:
        """Return watts on the chip if the run takes its cycles at `clock_mhz`, or at its own."""
        joules = sum((self.dynamic if timed else self.zero_delay).values())
        switching = joules / self.cycles * (clock_mhz or self.clock_mhz) * 1e6
        return switching + sum(self.leakage.values())

    @property
    def tops_per_watt(self) -> float:
        """10^12 operations a joule on the chip; a MAC is two."""
        return 2 * self.macs / self.chip / 1e12

    @property
    def tops_per_watt_zero_delay(self) -> float:
        """The same without glitches and wires of the cells."""
        return 2 * self.macs / self.chip_zero_delay / 1e12

    def __str__(self) -> str:
        """Return the components as text, timed and without delays side by side."""
        lines = [f"{'microjoules':22}{'timed':>12}{'zero delay':>12}"]
        for name, joules in (*self.components.items(), ("chip", self.chip)):
            other = (self.zero_delay | {"chip": self.chip_zero_delay}).get(name, joules)
            lines.append(f"{name:22}{joules * 1e6:12.3f}{other * 1e6:12.3f}")
        lines += [f"{'DRAM ' + name:22}{joules * 1e6:12.3f}" for name, joules in self.dram.items()]
        return "\n".join(lines)


def energy(
    config: Config, activity: Activity, cycles: int, costs: CostTable | None = None
) -> Energy:
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
    costs : CostTable, optional
        Prices; by default of the accelerator as it is built.

    Raises
    ------
    ValueError
        `cycles` is less than 1.
    """
    if cycles < 1:
        raise ValueError(f"cycles must be at least 1, not {cycles}")
    costs = costs or costs_of(config)
    memory, wires, memory_leakage = _memories(config, activity, costs)
    same = {"edges": _edges(config, activity, cycles, costs),
            "foot": _foot(config, activity, costs),
            "transposer": _transposer(activity, costs), **memory, "wires": wires}  # fmt: skip
    timed, zero_delay = (
        _cells(config, activity, cycles, costs, timed=mode) | same for mode in (True, False)
    )
    moved = activity.dram_read_bytes + activity.dram_write_bytes
    elements = config.rows * config.columns
    return Energy(
        cycles=cycles,
        clock_mhz=config.clock_mhz,
        macs=activity.macs,
        dynamic={name: _PICO * value for name, value in timed.items()},
        zero_delay={name: _PICO * value for name, value in zero_delay.items()},
        leakage={
            "leakage of elements": elements * costs.pe_leakage.value * 1e-3,
            "leakage of units": 1e-3 * sum(unit.leakage_mw for unit in costs.units.values()),
            "leakage of memories": memory_leakage * 1e-3,
        },
        dram={name: _PICO * moved * getattr(costs, key).value for name, key in _DRAM.items()},
    )


def full_use(config: Config, dataflow: Dataflow, costs: CostTable | None = None) -> Energy:
    """Return the energy of an array that is fed in every cycle, DRAM not counted.

    Folds in WS are of sixteen waves a row, those in OS of a reduction of ten stationary tiles: long
    enough that loads and drains hardly count.
    """
    strides = {f"{m}_{w}_stride": 1 for m in ("left", "right", "out") for w in ("row", "block")}
    execute = Execute(
        dataflow=dataflow, rows=16 * config.rows, reduction=10 * config.fold_reduction,
        columns=config.columns, **strides,
    )  # fmt: skip
    found = activity(config, [execute] * 20)
    return energy(config, found, found.waves, costs)


def _cells(
    config: Config, activity: Activity, cycles: int, costs: CostTable, *, timed: bool
) -> dict[str, float]:
    """Return pJ by component of all that was measured on netlists."""
    price = {name: cost.at(timed=timed) for name, _, cost in costs.entries()}
    elements, products = config.rows * config.columns, config.macs_per_element
    leaks = price["pe_leakage"] * 1e3 / silicon().clock_mhz  # mW / MHz = nJ
    always = (price["pe_clock"] + leaks) / products
    macs = padding = 0.0
    for flow in ("ws", "os"):
        count = getattr(activity, f"macs_{flow}")
        macs += count * (price[f"mac_{flow}"] - always)
        idle = getattr(activity, f"waves_{flow}") * elements - count / products
        padding += idle * price[f"padding_{flow}"]
    loads, drains = _shifts(config, activity)
    written = activity.output_first_writes + activity.output_accumulations
    written += activity.output_forwards
    return {
        "MACs": macs,
        "padding": padding,
        "clock of elements": elements * cycles * price["pe_clock"],
        "loads and drains": loads * price["load_shift"] + drains * price["drain_shift"],
        "accumulate lanes": written * config.columns * price["accumulate_sum"],
        "store lanes": activity.requantised * price["store_sum"]
        + activity.rescaled * price["rescale_sum"]
        + activity.reduced * price["reduce_sum"],
        "clock of units": cycles * sum(unit.clock_pj for unit in costs.units.values()),
    }


def _shifts(config: Config, activity: Activity) -> tuple[int, int]:
    """Return the cycles in which elements pass rows of tiles, and finished sums.

    Row r of R takes part in R - r cycles of a load and in r of a drain (`docs/pipeline.md`).
    """
    rows, columns = config.rows, config.columns
    loads = activity.folds_ws * columns * rows * (rows + 1) // 2
    return loads, activity.folds_os * columns * rows * (rows - 1) // 2


def _edges(config: Config, activity: Activity, cycles: int, costs: CostTable) -> float:
    """Return pJ of the skew, but for the clock that is always on, which its unit has at rest.

    Of the lines that are clocked in turn, one in `TURNS` is in each cycle; a word that is read
    moves as many flip-flops on its way.
    """
    keeps, moves = costs.flop_clock.value, costs.flop_move.value
    plain, turned = skew(config)
    passed = [always + part / TURNS for always, part in zip(plain, turned, strict=True)]
    # A word that is read is one product's part of the lanes.
    reads = activity.input_reads, activity.weight_reads
    moved = sum(n * bits for n, bits in zip(reads, passed, strict=True)) / config.macs_per_element
    return sum(turned) / TURNS * cycles * keeps + moved * (moves - keeps)


def _foot(config: Config, activity: Activity, costs: CostTable) -> float:
    """Return pJ of sums at the foot of the array, but for the clock, which its unit has at rest.

    In WS a sum leaves each column with each wave; in OS those of the last row grow with each wave,
    and then all rows pass on their way out.
    """
    sums = config.columns * (
        activity.waves_ws + activity.waves_os + activity.folds_os * config.rows
    )
    return 32 * sums * (costs.flop_move.value - costs.flop_clock.value)


def _transposer(activity: Activity, costs: CostTable) -> float:
    """Return pJ of moves through the transposer's words, registers behind a clock gate each."""
    return 8 * (activity.transposer_reads + activity.transposer_writes) * costs.flop_move.value


def _memories(
    config: Config, activity: Activity, costs: CostTable
) -> tuple[dict[str, float], float, float]:
    """Return pJ by memory, pJ of the wires to and from them, and mW of leakage."""
    spent, wires, leakage = {}, 0.0, 0.0
    for memory in memories(config):
        banks = memory.banks(costs.sram)
        reads, writes = memory.reads(activity), memory.writes(activity)
        # A lane that is written by itself lies in one bank of its word, or in a few.
        touched = math.ceil(banks.across / memory.lanes) * banks.point.write_pj
        spent[memory.title] = reads * banks.read_pj + writes * touched
        side = math.sqrt(memory.copies * banks.area_mm2)
        bits = reads * memory.width + writes * memory.width / memory.lanes
        wires += bits * _WAY * side * costs.wire.value
        leakage += memory.copies * banks.leakage_mw
    return spent, wires, leakage
