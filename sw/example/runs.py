"""Fine-tuning runs of the example: each method with each seed, judged, and kept as they end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..parallel import cores
from ..program_file import write_file
from ..train.adapt import Adapted, adapt
from ..train.adapter_file import save_adapter
from ..train.history import History
from ..train.mac_energy import MacEnergy, mac_energy
from ..train.memory import Memory, memory
from ..train.precision import METHODS, Method
from ..train.task import Task
from ..train.trainer import Settings, Trainer
from .diffusion import Diffusion, sample
from .finetune import concept_task
from .judge import accuracy, judge
from .kept import kept_folder
from .pretrain import pretrained
from .shapes import CLASS_WORD
from .size import Size
from .verdict import Verdict, evaluate
from .words import MODIFIER, caption

__all__ = [
    "FROZEN",
    "SETS",
    "Circumstances",
    "Outcome",
    "Plan",
    "adapted_to",
    "captions_shown",
    "methods_of",
    "run",
    "run_all",
    "step_energy",
]

FROZEN = ("*attn2.to_q", "*attn2.to_out")
"""Projections that are quantised without being trained, where the method quantises."""

ATTENTION = ("*attn2",)
"""Modules whose products Q.K^T and P.V are quantised too."""

RATES = {"lora": 2e-2, "full": 2e-3, "tuneqdm": 5e-2}
"""Learning rates: a weight moves as far in a step as a product of two that both move; gains are
about 1."""

_VERDICT = "verdict.json"
_VERSION = 2
_JUDGED = ("diffusion", "judge", "kept", "shapes", "size", "verdict", "words")
"""Modules of this package on which a verdict depends, beside the model."""

Watch = Callable[[str, int, int], None]
"""Told what is being done, steps done, and steps in all."""


SETS = {
    "lora": ("fp32", "int8", "int8-tensor", "int8-stochastic", "fp32-full", "int8-full"),
    "tuneqdm": ("fp32", "int8-4bit", "fp32-tuneqdm", "int8-tuneqdm", "int8-tuneqdm-8bit",
                "int8-tuneqdm-one", "int8-tuneqdm-out"),
    "schedule": ("fp32", "int8", "int6", "int4", "int4-weights", "int4-activations",
                 "int4-gradients", "int8-low-noise", "int8-high-noise"),
}  # fmt: skip
"""Methods that are compared, by what is in question."""


def methods_of(name: str) -> dict[str, Method]:
    """Return the methods of one of `SETS`."""
    return {each: METHODS[each] for each in SETS[name]}


@dataclass(frozen=True)
class Plan:
    """What is run.

    Members
    -------
    methods : dict of Method
        By name; the first is what the others are compared with.
    seeds : tuple of int
        Of A, of the batches, and of stochastic rounding.
    steps, rank : int
        Of fine-tuning; of LoRA.
    samples, held_out : int
        Images made to judge a model by, and held-out ones for its losses, of concept and prior
        each.
    size : Size
        Of the model.
    """

    methods: Mapping[str, Method] = field(default_factory=lambda: methods_of("lora"))
    seeds: tuple[int, ...] = (0,)
    steps: int = 400
    rank: int = 4
    samples: int = 128
    held_out: int = 1024
    size: Size = field(default_factory=Size)

    def of(self, **changes: Any) -> Plan:
        """Return the plan with some members replaced."""
        return replace(self, **changes)


def captions_shown() -> list[str]:
    """Return captions of what a grid of images shows: the concept, then its class, then others."""
    places = [("top", "left"), ("middle", "centre"), ("bottom", "right")]
    shown = [caption(CLASS_WORD, MODIFIER, size, place)
             for size, place in zip(("large", "small", "large"), places, strict=True)]  # fmt: skip
    shown += [caption(CLASS_WORD, "red", "large", places[1]),
              caption(CLASS_WORD, "green", "small", places[0]),
              caption("square", "blue", "large", places[2]),
              caption("cross", "yellow", "small", places[1])]  # fmt: skip
    return shown


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Members
    -------
    seconds : float
        Of training.
    whole : bool
        Whether all of it was trained and judged now, none by a run before in the same folder.
    energy : MacEnergy or None
        Of a step; None in floating point.
    """

    method: str
    seed: int
    verdict: Verdict
    seconds: float
    whole: bool
    memory: Memory
    energy: MacEnergy | None
    history: History = field(repr=False)


@dataclass(frozen=True)
class Circumstances:
    """How runs came about.

    Members
    -------
    seconds : float
        Wall time of everything.
    before : float
        Of it, until the first run: the pretrained model and the judge, made or read.
    fresh : bool
        Whether both were made, not read from the cache.
    cores : int
        That this process may use.
    judge : dict of float
        Shares of renders of which the judge tells class, colour and place (`accuracy`).
    """

    seconds: float
    before: float
    fresh: bool
    cores: int
    judge: dict[str, float]


def run(
    plan: Plan, method: str, seed: int, folder: Path, watch: Watch
) -> tuple[Outcome, Diffusion]:
    """Fine-tune with a method and a seed, or go on where a run in the folder stopped.

    Parameters
    ----------
    folder : Path
        Made if it is not there; takes the checkpoint, the logs, the adapter and the verdict.

    Returns
    -------
    Outcome, and the model.

    Raises
    ------
    StepRefused, CheckpointError
        As `sw.train.trainer.Trainer`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = pretrained(plan.size, progress=watch)
    task, way = concept_task(model), plan.methods[method]
    adapted = adapted_to(task, way, plan.rank, seed)
    # What is judged is the end of a run: a rate that stays would leave it to its last batches.
    settings = Settings(learning_rate=RATES[way.trains], decay_steps=plan.steps, seed=seed)
    trainer = Trainer(task, adapted, settings, folder)
    begun = trainer.resume()
    name, start = f"{method}, seed {seed}", time.perf_counter()
    trainer.run(plan.steps, lambda step, _: watch(name, step, plan.steps))
    seconds = time.perf_counter() - start
    if way.trains == "lora":
        save_adapter(adapted, folder / "adapter", also=task.also, base=task.name)
    judged = kept_folder("verdict", plan.size, _JUDGED).name
    facts = {"version": _VERSION, "steps": trainer.step, "samples": plan.samples,
             "held_out": plan.held_out, "judged": judged}  # fmt: skip
    kept = _kept(folder / _VERDICT, facts)
    if kept is None:
        watch(f"judge {name}", 0, 0)
        made = judge(plan.size, progress=watch)
        kept = evaluate(model, made, samples=plan.samples, count=plan.held_out)
        text = json.dumps({"facts": facts, "verdict": asdict(kept)}, indent=2) + "\n"
        write_file(os.fspath(folder / _VERDICT), text.encode())
    energy = step_energy(task, adapted)
    return Outcome(
        method, seed, kept, seconds, not begun, memory(adapted), energy, trainer.history
    ), model


def adapted_to(task: Task, way: Method, rank: int, seed: int = 0) -> Adapted:
    """Return the model of the example's task as a method trains it."""
    return adapt(task.model, task.match, way, rank=rank, frozen=FROZEN, attention=ATTENTION,
                 seed=seed)  # fmt: skip


def step_energy(task: Task, adapted: Adapted) -> MacEnergy | None:
    """Return what the MACs of a step of the example take; the parameters may have any values."""
    for parameter in task.also.values():
        parameter.requires_grad_(True)
    return mac_energy(adapted, partial(task.losses, torch.Generator()))


def _kept(path: Path, facts: dict[str, Any]) -> Verdict | None:
    """Return the verdict that a run before left, if it is of the same run."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Verdict(**found["verdict"]) if found["facts"] == facts else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def run_all(
    plan: Plan,
    folder: Path,
    captions: Sequence[Any],
    watch: Watch,
    side_by_side: Callable[..., Iterable[Any]] = map,
) -> tuple[list[Outcome], dict[str, np.ndarray], Circumstances]:
    """Run every method with every seed.

    Parameters
    ----------
    captions : sequence
        What images are made of with each method's model of the first seed.
    side_by_side : callable
        Works as `map`: runs are apart from one another, and may be in processes of their own.

    Returns
    -------
    Outcomes, the images, float32 (captions, 3, 32, 32) by method, and how they came about.
    """
    start, making = time.perf_counter(), set()

    def note(what: str, done: int, of: int) -> None:
        making.add(what)
        watch(what, done, of)

    # What all runs share is made once, before them.
    pretrained(plan.size, progress=note)
    accurate = accuracy(judge(plan.size, progress=note))
    before = time.perf_counter() - start
    works = [(method, seed) for seed in plan.seeds for method in plan.methods]
    outcomes, images = [], {}
    watch("runs done", 0, len(works))
    work = partial(_work, plan, folder, captions)
    for (method, seed), (outcome, shown) in zip(works, side_by_side(work, works), strict=True):
        outcomes.append(outcome)
        if seed == plan.seeds[0]:
            images[method] = shown
        watch("runs done", len(outcomes), len(works))
    seconds = time.perf_counter() - start
    return outcomes, images, Circumstances(seconds, before, len(making) == 2, cores(), accurate)


def _work(
    plan: Plan, folder: Path, captions: Sequence[Any], which: tuple[str, int]
) -> tuple[Outcome, np.ndarray | None]:
    """Do a run; return what came of it and, for the first seed, images.

    One thread, whoever else is at work: sums are added in the same order then.
    """
    method, seed = which
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        outcome, model = run(plan, method, seed, folder / f"{method}-{seed}", lambda *_: None)
        if seed != plan.seeds[0]:
            return outcome, None
        with torch.no_grad():
            return outcome, sample(model, captions, seed=0)
    finally:
        torch.set_num_threads(before)
