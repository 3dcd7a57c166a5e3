"""The order of each segment's work by trial: compiled in several ways, and timed to the cycle."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from hw.isa.config import Config
from sim.activity import activity
from sim.result import DramTiming, MachineError

from ..program import encode_all
from ..tile import TileError
from ..tile_events import rates
from ..tile_search import Goal
from .form import form
from .ir import Segment
from .lower import Template, template
from .schedule import Policy, schedule_segment
from .tile import Tiled

__all__ = ["POLICIES", "search"]

POLICIES = (
    Policy(even=True, chunk=500, ahead=6000),
    Policy(even=True, chunk=2000, ahead=6000),
    Policy(even=False, chunk=500, ahead=2500),
    Policy(even=False, chunk=6000, ahead=2500),
)
"""Ways to order a segment's work that are tried."""


def search(config: Config, tiled: Tiled, goal: Goal) -> Mapping[Hashable, Policy]:
    """Return the best policy for each form of segment.

    Raises
    ------
    TileError
        None of them makes a program.
    """
    found: dict[Hashable, Policy] = {}
    for segment in tiled.chosen.fused.segments:
        key = form(segment, tiled.chosen.fused.values)
        if key not in found:
            found[key] = _best(config, tiled, segment, goal)
    return found


def _best(config: Config, tiled: Tiled, segment: Segment, goal: Goal) -> Policy:
    values: dict[Policy, float] = {}
    policies = POLICIES if len(segment.products) > 1 else POLICIES[:1]
    error: TileError | None = None
    for policy in policies:
        try:
            works = schedule_segment(config, tiled, segment, policy)
            made = template(config, tiled.chosen.fused, segment, tiled, works)
        except TileError as refused:
            error = refused
            continue
        values[policy] = _value(config, made, goal) if len(policies) > 1 else 0.0
    if not values:
        raise error or TileError(f"{segment.name} has no order")
    return min(values, key=values.__getitem__)


def _value(config: Config, made: Template, goal: Goal) -> float:
    from sim.timing import run  # its compiler takes a second to import

    result = run(
        config, encode_all(made.instructions), program_address=made.layout.program_address,
        timing=DramTiming.of(config),
    )  # fmt: skip
    if result.error:
        raise MachineError(result)
    cycles = result.counters["cycles"]
    if goal == "latency":
        return cycles
    joules = rates(config).joules(activity(config, made.instructions), cycles)
    return joules if goal == "energy" else joules * cycles / (config.clock_mhz * 1e6)
