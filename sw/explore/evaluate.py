"""What a point costs: the compiler's plans, timed, with energy and area."""

from __future__ import annotations

from sim.area import area

from ..cost import step_cost
from ..place import PlacementError
from ..tile import TileError
from .point import ExploreError, Outcome, Point, Status, code_version

__all__ = ["evaluate"]


def evaluate(point: Point) -> Outcome:
    """Return the cost of a point; runs in any process, and depends on the point alone.

    Raises
    ------
    ExploreError
        The code here is not that of who asks: the outcome would be kept under a wrong key.
    """
    if point.version != code_version():
        raise ExploreError("a worker has another version of cdmqta than this one")
    config, step = point.config, point.step
    try:
        cost = step_cost(config, step, dataflow=point.dataflow, objective=point.objective)
    except (PlacementError, TileError) as error:
        return Outcome(Status.REFUSED, error=str(error))
    return Outcome(
        Status.DONE,
        cycles=cost.cycles,
        seconds=cost.seconds,
        energy_j=cost.energy,
        dram_energy_j=cost.dram_energy,
        area_um2=area(config).total * 1e6,
        macs=step.macs,
        dram_read_bytes=sum(row.dram_read_bytes * row.product.count for row in cost.rows),
        dram_write_bytes=sum(row.dram_write_bytes * row.product.count for row in cost.rows),
    )
