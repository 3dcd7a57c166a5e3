"""Fine-tuning runs of the example: each method with each seed, judged, and kept as they end."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..program_file import write_file
from ..train.adapt import adapt
from ..train.adapter_file import save_adapter
from ..train.history import History
from ..train.mac_energy import mac_pj
from ..train.memory import Memory, memory
from ..train.precision import METHODS, Method
from ..train.trainer import Settings, Trainer
from .diffusion import Diffusion, sample
from .finetune import concept_task
from .judge import judge
from .kept import kept_folder
from .pretrain import pretrained
from .shapes import CLASS_WORD
from .size import Size
from .verdict import Verdict, evaluate
from .words import MODIFIER, caption

__all__ = [
    "FROZEN",
    "SETS",
    "Outcome",
    "Plan",
    "Summary",
    "captions_shown",
    "methods_of",
    "run",
    "run_all",
    "summarise",
]

FROZEN = ("*attn2.to_q", "*attn2.to_out")
"""Projections that are quantised without being trained, where the method quantises."""

RATES = {"lora": 2e-2, "full": 2e-3, "tuneqdm": 5e-2}
"""Learning rates: a weight moves as far in a step as a product of two that both move; gains are
about 1."""

_VERDICT = "verdict.json"
_VERSION = 1
_JUDGED = ("diffusion", "judge", "kept", "shapes", "size", "verdict", "words")
"""Modules of this package on which a verdict depends, beside the model."""

Watch = Callable[[str, int, int], None]
"""Told what is being done, steps done, and steps in all."""


SETS = {
    "lora": ("fp32", "int8", "int8-tensor", "int8-stochastic", "int8-full"),
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
    """What came of a run; pJ a MAC are those of `sw.train.mac_energy.mac_pj`."""

    method: str
    seed: int
    verdict: Verdict
    seconds: float
    memory: Memory
    mac_pj: float | None
    history: History = field(repr=False)


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
    adapted = adapt(model, task.match, way, rank=plan.rank, frozen=FROZEN, seed=seed)
    # What is judged is the end of a run: a rate that stays would leave it to its last batches.
    settings = Settings(learning_rate=RATES[way.trains], decay_steps=plan.steps, seed=seed)
    trainer = Trainer(task, adapted, settings, folder)
    trainer.resume()
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
    return Outcome(
        method, seed, kept, seconds, memory(adapted), mac_pj(adapted), trainer.history
    ), model


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
) -> tuple[list[Outcome], dict[str, np.ndarray]]:
    """Run every method with every seed.

    Parameters
    ----------
    captions : sequence
        What images are made of with each method's model of the first seed.
    side_by_side : callable
        Works as `map`: runs are apart from one another, and may be in processes of their own.

    Returns
    -------
    Outcomes, and the images, float32 (captions, 3, 32, 32) by method.
    """
    # What all runs share is made once, before them.
    pretrained(plan.size, progress=watch)
    judge(plan.size, progress=watch)
    works = [(method, seed) for seed in plan.seeds for method in plan.methods]
    outcomes, images = [], {}
    watch("runs done", 0, len(works))
    work = partial(_work, plan, folder, captions)
    for (method, seed), (outcome, shown) in zip(works, side_by_side(work, works), strict=True):
        outcomes.append(outcome)
        if seed == plan.seeds[0]:
            images[method] = shown
        watch("runs done", len(outcomes), len(works))
    return outcomes, images


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


@dataclass(frozen=True)
class Summary:
    """One measure over the seeds of a method.

    Members
    -------
    mean : float
    spread : float
        From the least to the largest.
    change : float
        Mean over that of the reference, less one.
    within : bool
        Whether the means differ by no more than the larger of both spreads.
    """

    mean: float
    spread: float
    change: float
    within: bool


def summarise(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Summary]]:
    """Return each measure of each method over its seeds; the first method is the reference."""
    methods = list(dict.fromkeys(outcome.method for outcome in outcomes))
    names = [each.name for each in fields(Verdict) if not each.name.endswith("_ranges")]
    found: dict[str, dict[str, Summary]] = {}
    for method in methods:
        found[method] = {}
        for name in names:
            values, reference = (
                [getattr(outcome.verdict, name) for outcome in outcomes if outcome.method == which]
                for which in (method, methods[0])
            )
            mean, base = statistics.fmean(values), statistics.fmean(reference)
            spread = max(values) - min(values)
            most = max(spread, max(reference) - min(reference))
            change = mean / base - 1 if base else 0.0 if mean == base else float("inf")
            found[method][name] = Summary(mean, spread, change, abs(mean - base) <= most)
    return found
