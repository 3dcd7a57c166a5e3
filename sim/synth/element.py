"""What a processing element takes, by what it does: measured on its netlist with real products.

Products are computed by the array's RTL (`sim.synth.stimulus`); elements at several depths of a
column see what they see there, since partial sums grow on their way down. A cycle counts for what
the element does in it if it did the same in the cycles before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Dataflow

from .circuit import Circuit
from .gates import simulate
from .loads import Conditions
from .power import Breakdown, Part, Prices
from .stimulus import Recording, column_slice, normal_int8, record

__all__ = ["Element", "Figures", "Load", "Stimulus", "measure", "record_products"]

_STEADY = 4
"""Cycles in which an element must have done the same."""
_DEPTHS = 5
"""Elements watched in a column."""
_TEXT_TOKENS, _FEATURES = 77, 768
"""Waves of a WS fold and of an OS fold of a text projection: rows of X, and its reduction."""


class Load(IntEnum):
    """What an element does in a cycle."""

    OTHER = 0
    IDLE = 1
    WS = 2
    WS_LOADING = 3
    """A MAC while the next stationary tile passes."""
    OS = 4
    OS_DRAINING = 5
    """A MAC while a finished sum passes."""
    DRAIN = 6
    """A finished sum passes, where that is all that an element can do meanwhile."""
    WS_PADDING = 7
    """A wave without a MAC."""
    OS_PADDING = 8


@dataclass(frozen=True, eq=False)
class Stimulus:
    """Recordings of elements, and what they do in each cycle."""

    recordings: tuple[Recording, ...]
    loads: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Figures:
    """Energy of a cycle, in fJ, by part of the element (`Part`), and in all.

    `swallowed` is not in it: at most that much more, see `sim.synth.power.Breakdown`.
    """

    parts: Mapping[str, float]
    total: float
    swallowed: float = 0.0

    @classmethod
    def of(cls, breakdown: Breakdown) -> Figures:
        """Return a breakdown as figures."""
        parts = {part.name.lower(): breakdown[part] for part in Part}
        return cls(parts, breakdown.total, breakdown.swallowed)


@dataclass(frozen=True)
class Element:
    """What an element takes in each cycle, by what it does.

    Members
    -------
    period_ns, area_um2 : float
    wire_load : str or None
        Of what is `timed`; `zero_delay` has no wires.
    zero_delay, timed : mapping of str to Figures
        By `Load`: what an element takes in a cycle in which it does that, clock and leakage
        included; without delays and wires, and with both.
    cycles : mapping of str to int
        How many cycles of each were measured.
    """

    period_ns: float
    area_um2: float
    wire_load: str | None
    zero_delay: Mapping[str, Figures]
    timed: Mapping[str, Figures]
    cycles: Mapping[str, int]

    def glitches(self, load: Load) -> float:
        """Return what delays and wires add, in fJ a cycle."""
        return self.timed[load.name].total - self.zero_delay[load.name].total

    def total(self, load: str, *, timed: bool = True) -> float:
        """Return what a cycle of a `Load` takes, in pJ; 0 if the element never does that."""
        figures = self.timed if timed else self.zero_delay
        return figures[load].total * 1e-3 if load in figures else 0.0

    def clock(self, *, timed: bool = True) -> float:
        """Return what an idle element takes for its clock, in pJ a cycle."""
        figures = self.timed if timed else self.zero_delay
        return figures[Load.IDLE.name].parts[Part.CLOCK.name.lower()] * 1e-3

    def leakage_mw(self) -> float:
        """Return the leakage of an element."""
        leaks = self.timed[Load.IDLE.name].parts[Part.LEAKAGE.name.lower()]
        return leaks / self.period_ns * 1e-3  # fJ / ns = uW

    def as_json(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Element:
        """Return what `as_json` gave."""
        figures = {
            mode: {name: Figures(**each) for name, each in held[mode].items()}
            for mode in ("zero_delay", "timed")
        }
        return cls(**{**held, **figures})


def record_products(config: Config, seed: int = 0, *, bits: tuple[int, int] = (8, 8)) -> Stimulus:
    """Record elements of a column while the array computes X.W of normal data.

    Parameters
    ----------
    bits : pair of int
        Of values of X and of W.

    Returns
    -------
    Stimulus
        Of a product in WS and one in OS, with folds as long as a text projection's, and of small
        ones in which elements are padding, since the operands are too small for the array.
    """
    rng = np.random.default_rng(seed)
    rows, deep = config.rows, config.fold_reduction
    depths = sorted({round(k * (rows - 1) / (_DEPTHS - 1)) for k in range(_DEPTHS)})
    full = [f"array.row_{row}.pe_0" for row in depths]
    # Half of the rows, and the second of two columns, have nothing to do.
    idle = [f"array.row_{row // 4}.pe_0" for row in (0, rows)]
    idle = [*idle, f"array.row_{rows - 1}.pe_1", f"array.row_{rows - 1 - rows // 4}.pe_1"]
    runs = (
        (Dataflow.WS, (_TEXT_TOKENS, 6 * deep, 2), full, {}),
        (Dataflow.OS, (rows, _FEATURES * config.macs_per_element, 4), full, {}),
        (Dataflow.WS, (4 * rows, deep // 2, 1), idle, {Load.WS: Load.WS_PADDING}),
        (Dataflow.OS, (rows // 2, 4 * deep, 1), idle, {Load.OS: Load.OS_PADDING}),
    )
    recordings, loads = [], []
    for dataflow, (m, k, n), units, renamed in runs:
        if dataflow not in config.dataflows:
            continue
        left, right = normal_int8(rng, m, k, bits[0]), normal_int8(rng, n, k, bits[1]).T
        small = column_slice(config, left, right)
        for recording in record(small, left, right, dataflow, units).values():
            load = _loads(recording, dataflow)
            for before, after in renamed.items():
                load[load == before] = after
            recordings.append(recording)
            loads.append(load)
    return Stimulus(tuple(recordings), tuple(loads))


def _loads(recording: Recording, dataflow: Dataflow) -> np.ndarray:
    """Return what an element does in each cycle of a product, int64 (cycles,), as `Load`.

    Control that arrives in a cycle is at work in the next two.
    """
    in_os = dataflow == Dataflow.OS
    valid, shift_b, shift_p = (
        recording.field("control_in", name) for name in ("valid", "shift_b", "shift_p")
    )
    os = recording.field("control_in", "os", missing=in_os)
    arrived = np.full(recording.cycles, Load.OTHER, np.int64)
    arrived[~valid & ~shift_b & ~shift_p] = Load.IDLE
    arrived[valid & os] = Load.OS
    arrived[valid & os & shift_p] = Load.OS_DRAINING
    # A wave of zeros that takes sums along, if it comes in a product in OS.
    arrived[valid & ~os] = Load.DRAIN if in_os else Load.WS
    arrived[valid & ~os & shift_b] = Load.OTHER if in_os else Load.WS_LOADING
    steady = np.ones(recording.cycles, bool)
    steady[:_STEADY] = False
    for before in range(1, _STEADY):
        steady[before:] &= arrived[before:] == arrived[:-before]
    return np.where(steady, arrived, Load.OTHER)


def measure(circuit: Circuit, stimulus: Stimulus, conditions: Conditions) -> Element:
    """Return what an element takes.

    Parameters
    ----------
    circuit : Circuit
        The mapped element.
    conditions : Conditions
        Wires count for what is timed only.

    Raises
    ------
    RuntimeError
        The netlist does not do what the RTL did.
    """
    bare = dataclasses.replace(conditions, wire_load=None, link_ff=0.0)
    zero_delay, cycles = _mean(circuit, stimulus, bare, timed=False)
    timed, _ = _mean(circuit, stimulus, conditions, timed=True)
    return Element(
        period_ns=conditions.period_ns,
        area_um2=sum(model.cell.area_um2 for model in circuit.models),
        wire_load=conditions.wire_load.name if conditions.wire_load else None,
        zero_delay=zero_delay,
        timed=timed,
        cycles=cycles,
    )


def _mean(
    circuit: Circuit, stimulus: Stimulus, conditions: Conditions, *, timed: bool
) -> tuple[dict[str, Figures], dict[str, int]]:
    """Return the mean of all elements by what they do, and of how many cycles it is."""
    prices = Prices(circuit, conditions)
    delays = prices.loads.delays() if timed else None
    found: list[dict[Load, tuple[Breakdown, int]]] = []
    cycles: dict[str, int] = {}
    for recording, loads in zip(stimulus.recordings, stimulus.loads, strict=True):
        activity = simulate(circuit, recording.inputs, delays=delays, phases=loads)
        if where := recording.difference(activity.outputs):
            raise RuntimeError(f"the netlist of {circuit.name} differs from the RTL: {where}")
        found.append({})
        for load in map(Load, sorted(set(loads[1:].tolist()) - {Load.OTHER})):
            count = int(activity.cycles[load])
            found[-1][load] = prices.breakdown(activity, load), count
            cycles[load.name] = cycles.get(load.name, 0) + count
    return _figures(found), cycles


_BESIDE = {Load.WS_LOADING: Load.WS, Load.OS_DRAINING: Load.OS}
"""What an element also does while it shifts."""


def _figures(found: list[dict[Load, tuple[Breakdown, int]]]) -> dict[str, Figures]:
    """Return the mean of elements; of a shift, what it adds in each element to that mean.

    Elements that shift for longer are not those that compute like all others.
    """
    means: dict[Load, np.ndarray] = {}
    for load in sorted({load for each in found for load in each} - _BESIDE.keys()):
        means[load] = np.mean([_array(each[load][0]) for each in found if load in each], axis=0)
    for load, base in _BESIDE.items():
        both = [each for each in found if load in each and base in each]
        if both:
            added = [_array(each[load][0]) - _array(each[base][0]) for each in both]
            weights = [each[load][1] for each in both]
            means[load] = means[base] + np.average(added, axis=0, weights=weights)
    return {load.name: Figures.of(_breakdown(means[load])) for load in sorted(means)}


def _array(breakdown: Breakdown) -> np.ndarray:
    return np.array([*(breakdown[part] for part in Part), breakdown.swallowed])


def _breakdown(values: np.ndarray) -> Breakdown:
    *parts, swallowed = map(float, values)
    return Breakdown(dict(zip(Part, parts, strict=True)), swallowed)
