"""All passes of a training step in a row: from a model to programs on one DRAM image."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hw.isa.config import Config

from ..models.layers import Model, Reading
from ..tile_search import Goal
from .build import build
from .choose import choose_dataflows
from .fuse import fuse
from .fusions import Fusions
from .lower import lower_step
from .place import place_values
from .program import StepProgram
from .quantise import quantise
from .schedule import schedule
from .tile import tile_products
from .twice import store_twice
from .verify import verify
from .verify_fused import verify_fused

__all__ = ["PASSES", "compile_step"]

PASSES = ("build", "quantise", "fuse", "store", "choose", "tile", "place", "schedule", "lower")
"""What `dump` is called for, in order."""


def compile_step(
    config: Config,
    model: Model,
    *,
    reading: str = Reading.XATTN,
    batch: int = 1,
    rank: int | None = None,
    fusions: Fusions | None = None,
    objective: Goal = "latency",
    dump: Callable[[str, object], None] | None = None,
    spread: Callable[..., Iterable] = map,
) -> StepProgram:
    """Compile one training step of a model with LoRA.

    Parameters
    ----------
    config : Config
    model : Model
    reading : str
        One of `Reading`: which layers a step runs.
    batch : int
        Samples.
    rank : int or None
        Of LoRA; None for 4, or for that of the model's LoRA layers.
    fusions : Fusions, optional
        All, by default.
    objective : "latency", "energy" or "edp"
        What the order of a program's work makes small.
    dump : callable, optional
        Called behind each pass with its name, one of `PASSES`, and what it made, whose `str` is
        its text.
    spread : callable
        Works as `map`, maybe in processes: `sw.parallel.spread` gives one.

    Raises
    ------
    GraphError
        The step makes no sense on this accelerator.
    ModelError
        The model gives no such step.
    TileError, PlacementError
        A product does not fit the memories, or a value does not fit DRAM.
    """
    show = dump or (lambda name, stage: None)
    graph = build(model, reading, batch, rank)
    verify(graph)
    show("build", graph)
    graph = quantise(graph, config)
    verify(graph)
    show("quantise", graph)
    fused = fuse(graph, config, fusions or Fusions())
    verify_fused(fused, config)
    show("fuse", fused)
    fused = store_twice(fused)
    verify_fused(fused, config)
    show("store", fused)
    chosen = choose_dataflows(config, fused)
    show("choose", chosen)
    tiled = tile_products(config, chosen)
    show("tile", tiled)
    placed = place_values(config, fused)
    show("place", placed)
    scheduled = schedule(config, tiled, objective, spread)
    show("schedule", scheduled)
    step = lower_step(config, scheduled, placed)
    show("lower", step)
    return step
