"""The order of all work of a step: pieces of tiles, and what is made of finished tiles.

Engines run ahead of one another, but each keeps its order. So the order decides what overlaps: a
product that reads what another one makes must come so long after it that the copy has gone to DRAM
and back; products that load much go between those that load little; and a tile is stored while the
array adds up the next one in the other half of the output memory.

Orders are found in several ways (`sw.graph.scheduler`), compiled, and timed to the cycle; the best
is taken. Segments of one form are ordered once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hw.isa.config import Config
from sim.activity import activity
from sim.result import DramTiming, MachineError

from ..program import encode_all
from ..tile import TileError
from ..tile_search import Goal, worth
from .form import form
from .ir import Fused, Segment
from .place import used_by
from .scheduler import Scheduler
from .template import Template, template
from .tile import Tiled
from .tiles import Tiles
from .work import Policy, Work

__all__ = ["POLICIES", "Scheduled", "best_order", "schedule"]

POLICIES = (
    Policy(even=True, whole=True, chunk=2000, ahead=3000, run=4000, lag=3000),
    Policy(even=True, whole=False, chunk=2000, ahead=10000, run=9000, lag=3000),
    Policy(even=True, whole=True, chunk=0, ahead=10000, run=1500, lag=0),
    Policy(even=True, whole=False, chunk=500, ahead=6000, run=2500, lag=0),
    Policy(even=False, whole=True, chunk=500, ahead=2500, run=2500, lag=3000),
)
"""Ways to order a segment's work that are tried."""
SHORT = 1.00002
"""By how much an order may be worse, for each instruction that it has less."""


@dataclass(frozen=True)
class Scheduled:
    """A step with the work of every segment in order.

    Members
    -------
    fused : Fused
    works : dict
        By the names of segments.
    templates : dict
        What they become, by the names of segments; shared by those of one form.
    """

    fused: Fused
    works: Mapping[str, tuple[Work, ...]]
    templates: Mapping[str, Template]

    def __str__(self) -> str:
        lines = [f"schedule of {self.fused.name}"]
        for segment in self.fused.segments:
            works = self.works[segment.name]
            lines.append(f"segment {segment.name}: {len(works)} works")
            lines += [f"  {run}" for run in _runs(segment, works)]
        return "\n".join(lines)


def _runs(segment: Segment, works: Sequence[Work]) -> Iterator[str]:
    """Yield a line for each run of works of one product and sort."""
    start = 0
    for i, work in enumerate(works):
        last = i + 1 == len(works)
        if last or (works[i + 1].product, works[i + 1].piece < 0) != (work.product, work.piece < 0):
            what = "outputs" if work.piece < 0 else "pieces"
            name = segment.products[work.product].name
            yield f"{what} of {name}: tiles {works[start].tile} to {work.tile}, {i + 1 - start}"
            start = i + 1


def schedule(
    config: Config, tiled: Tiled, goal: Goal = "latency", spread: Callable[..., Iterable] = map
) -> Scheduled:
    """Return the best order found of each segment's work.

    Parameters
    ----------
    goal : "latency", "energy" or "edp"
        What is best.
    spread : callable
        Works as `map`, maybe in processes (`sw.parallel.spread`): used where there is much to do.

    Raises
    ------
    TileError
        A segment's tiles do not fit the memories together.
    """
    fused = tiled.chosen.fused
    forms = {segment.name: form(segment, fused.values) for segment in fused.segments}
    first: dict[Hashable, Segment] = {}
    for segment in fused.segments:
        first.setdefault(forms[segment.name], segment)
    alone = [
        Fused(fused.name, {name: fused.values[name] for name in used_by(segment)}, (segment,))
        for segment in first.values()
    ]
    candidates = [tiled.candidates[segment.name] for segment in first.values()]
    each = spread if sum(len(s.products) > 1 for s in first.values()) >= MANY else map
    known = dict(zip(first, each(partial(_order, config, goal), alone, candidates), strict=True))
    works = {name: known[key][0] for name, key in forms.items()}
    templates = {name: known[key][1] for name, key in forms.items()}
    return Scheduled(fused, works, templates)


MANY = 6
"""Segments whose orders are tried, from which on processes are worth their start."""


def _order(
    config: Config, goal: Goal, fused: Fused, candidates: Sequence[Tiles]
) -> tuple[tuple[Work, ...], Template]:
    (segment,) = fused.segments
    return best_order(config, fused, segment, candidates, goal)


def best_order(
    config: Config,
    fused: Fused,
    segment: Segment,
    candidates: Sequence[Tiles],
    goal: Goal = "latency",
    policies: Sequence[Policy] = POLICIES,
) -> tuple[tuple[Work, ...], Template]:
    """Return the best order of a segment's work, and its program; raises as `schedule`.

    The first candidate is ordered by all policies, the others by the best of these. A product that
    is alone has one order, and is not timed.
    """
    if len(segment.products) == 1:
        tiles = candidates[0]
        works = Scheduler(config, segment, tiles).works(policies[0])
        return works, template(config, fused, segment, tiles, works)
    found: list[tuple[float, tuple[Work, ...], Template]] = []
    error: TileError | None = None
    best = policies
    for tiles in candidates:
        scheduler, known = Scheduler(config, segment, tiles), set()
        for policy in best:
            try:
                works = scheduler.works(policy)
                if works in known:
                    continue
                known.add(works)
                made = template(config, fused, segment, tiles, works)
            except TileError as refused:
                error = refused
                continue
            cost = value(config, made, goal) * SHORT ** len(made.instructions)
            if not found or cost < found[0][0]:
                found, first = [(cost, works, made)], policy
        best = best if not found else (first,)
    if not found:
        raise error or TileError(f"{segment.name} has no order")
    return found[0][1:]


def value(config: Config, made: Template, goal: Goal) -> float:
    """Return what a program is worth: its cycles, its energy in joules, or their product."""
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
    return worth(config, goal, activity(config, made.instructions), cycles)
