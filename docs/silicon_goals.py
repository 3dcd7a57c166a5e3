"""What recorded designs were to reach, what they reach, and what binds where they do not.

Part of docs/table1.md, which `docs/silicon_pages.py` writes; `tests/sim/synth/test_goals.py` holds
the recorded figures to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sim.area import area
from sim.costs import ELEMENTS, FOOT
from sim.energy import Energy, full_use
from sim.silicon import Chip, silicon
from sw.markdown import table

__all__ = ["GOALS", "Goal", "goals_table"]

CLOCK_MHZ = 400
"""The paper's clock."""
EDGES = "array edges"
CLOSE = 0.94
"""Units whose longest path takes this much of the period bound the clock together."""


@dataclass(frozen=True)
class Goal:
    """A figure that a recorded design was to reach.

    Members
    -------
    what : str
        With its unit.
    name : str
        The design.
    value : float
        What it was to be: at most, or if `least` at least.
    least : bool
    digits : int
        Behind the point, of both figures as they are shown.
    measure : callable
        From the design to what it reaches, in the unit of `value`.
    binds : callable or None
        From the design to what stands in the way, of goals that are missed.
    """

    what: str
    name: str
    value: float
    least: bool
    digits: int
    measure: Callable[[Chip], float]
    binds: Callable[[Chip], str] | None = None

    @property
    def reached(self) -> float:
        """What the design reaches."""
        return self.measure(silicon().chips[self.name])

    @property
    def met(self) -> bool:
        """Whether that is enough."""
        return self.reached >= self.value if self.least else self.reached <= self.value

    def row(self, called: str) -> Sequence[str]:
        """Return the goal as a row of a table."""
        binds = self.binds and not self.met and self.binds(silicon().chips[self.name])
        bound = "at least" if self.least else "at most"
        return (
            self.what, called, f"{bound} {self.value:.{self.digits}f}",
            f"{self.reached:.{self.digits}f}", "yes" if self.met else "**no**", binds or "",
        )  # fmt: skip


def _array(chip: Chip) -> float:
    """Return mm2 of elements, foot and edges."""
    return 1e-6 * sum(chip.units[name].area_um2 for name in (ELEMENTS, FOOT, EDGES))


def _array_ns(chip: Chip) -> float:
    return max(chip.units[name].period_ns for name in (ELEMENTS, FOOT, EDGES))


def _mm2(chip: Chip) -> float:
    return area(chip.config).total


def _density(chip: Chip, clock_mhz: float) -> float:
    """Return TOPS/mm2 at a clock."""
    return 2e-6 * chip.config.macs_per_cycle * clock_mhz / _mm2(chip)


def _at_400(chip: Chip) -> float:
    return _density(chip, CLOCK_MHZ)


def _at_best(chip: Chip) -> float:
    return _density(chip, 1e3 / chip.period_ns)


def _zero_delay(chip: Chip) -> float:
    return _least_of(chip, lambda use: use.tops_per_watt_zero_delay)


def _timed(chip: Chip) -> float:
    return _least_of(chip, lambda use: use.tops_per_watt)


def _least_of(chip: Chip, of: Callable[[Energy], float]) -> float:
    """Return the lower of both dataflows, at the clock of the preset."""
    return min(of(full_use(chip.config, dataflow)) for dataflow in chip.config.dataflows)


def _area_binds(chip: Chip) -> str:
    """Return the largest parts of the area."""
    memories = area(chip.config).memories
    return f"area: memories alone take {memories:.2f} mm2, the array {_array(chip):.2f}"


def _clock_binds(chip: Chip) -> str:
    """Return what of a design is as slow as its period, beside its area."""
    slow = [
        name
        for name, unit in sorted(chip.units.items(), key=lambda item: -item[1].period_ns)
        if unit.period_ns >= CLOSE * chip.period_ns
    ]
    least = CLOSE * chip.period_ns
    return (
        f"paths of {least:.2f} to {chip.period_ns:.2f} ns in {', '.join(slow)}:"
        f" each would need a stage more; {_area_binds(chip)}"
    )


def _element_ns(chip: Chip) -> float:
    return silicon().element(chip.config).period_ns


GOALS = (
    Goal("mm2", "paper", 10.7, False, 2, _mm2, _area_binds),
    Goal("mm2", "overlap", 12.0, False, 2, _mm2, _area_binds),
    Goal("mm2", "four", 10.7, False, 2, _mm2, _area_binds),
    Goal("TOPS/mm2 at 400 MHz", "paper", 0.30, True, 3, _at_400, _area_binds),
    Goal("TOPS/mm2 at 400 MHz", "overlap", 0.27, True, 3, _at_400, _area_binds),
    Goal("TOPS/mm2 at 400 MHz", "four", 0.30, True, 3, _at_400),
    Goal("TOPS/mm2 at the best clock", "paper", 0.45, True, 3, _at_best, _clock_binds),
    Goal("TOPS/mm2 at the best clock", "overlap", 0.45, True, 3, _at_best, _clock_binds),
    Goal("TOPS/mm2 at the best clock", "four", 0.45, True, 3, _at_best, _clock_binds),
    Goal("TOPS/W zero-delay", "paper", 1.4, True, 2, _zero_delay),
    Goal("TOPS/W zero-delay", "overlap", 1.4, True, 2, _zero_delay),
    Goal("TOPS/W zero-delay", "four", 1.4, True, 2, _zero_delay),
    Goal("TOPS/W timed", "paper", 1.0, True, 2, _timed),
    Goal("TOPS/W timed", "overlap", 1.0, True, 2, _timed),
    Goal("TOPS/W timed", "four", 1.0, True, 2, _timed),
    Goal("mm2 of the array", "paper", 3.3, False, 3, _array),
    Goal("mm2 of the array", "overlap", 4.8, False, 3, _array),
    Goal("mm2 of the array", "fast", 4.8, False, 3, _array),
    Goal("ns of the array", "paper", 2.0, False, 2, _array_ns),
    Goal("ns of the array", "overlap", 2.0, False, 2, _array_ns),
    Goal("ns of an element", "fast", 1.0, False, 2, _element_ns),
)
"""Of the designs in `sim.synth.record.CHIPS`; an array is elements, foot and edges."""


def goals_table(called: Mapping[str, str]) -> str:
    """Return all goals as a table; `called` are names of designs to show."""
    heading = ("what", "design", "goal", "reached", "met", "what binds")
    return table(heading, [goal.row(called[goal.name]) for goal in GOALS], words=2)
