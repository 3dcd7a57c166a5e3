"""The report of the example: tables, curves, the state of quantisation, and images."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..markdown import table
from ..program_file import write_files
from ..train.mac_energy import MacEnergy
from ..train.memory import Memory
from .grid import image_grid
from .pictures import curves, quantisation, trade
from .runs import Circumstances, Outcome, Plan
from .summary import Summary, reference_of, summarise

__all__ = ["GOAL", "costs", "figures", "rows", "write_report"]

GOAL = 0.02
"""How much of the reference's held-out loss a quantised method may lose."""

MEASURES = {
    "concept_loss": "loss, concept",
    "prior_loss": "loss, prior",
    "concept_accuracy": "concept shown",
    "concept_place": "at its place",
    "prior_shape": "prior: shape",
    "prior_colour": "prior: colour",
    "prior_place": "prior: place",
    "concept_distance": "distance, concept",
    "prior_distance": "distance, prior",
}
"""What is shown of a verdict, and how it is called."""


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a row for each method, for a table."""
    found = []
    for method, measures in summarise(outcomes).items():
        row: dict[str, Any] = {"method": method}
        for name, called in MEASURES.items():
            each = measures[name]
            row[called] = f"{each.mean:.4f} ({each.spread:.4f})"
        one = next(o for o in outcomes if o.method == method)
        row |= costs(one.memory, one.energy)
        row["loss of the concept"] = f"{measures['concept_loss'].change:+.2%}"
        row["of the prior"] = f"{measures['prior_loss'].change:+.2%}"
        found.append(row)
    return found


def costs(held: Memory, spent: MacEnergy | None) -> dict[str, str]:
    """Return the columns of a method's memory and energy, for a table."""
    found = {
        "KB": f"{held.total / 1024:.1f}",
        "uJ a step": "",
        "uJ, trained layers": "",
        "pJ a MAC": "",
    }
    if spent is not None:
        found |= {
            "uJ a step": f"{spent.joules * 1e6:.1f}",
            "uJ, trained layers": f"{spent.trained_joules * 1e6:.1f}",
            "pJ a MAC": f"{spent.pj:.3f}",
        }
    return found


def figures(plan: Plan, outcomes: Sequence[Outcome], how: Circumstances) -> dict[str, Any]:
    """Return every figure, as --json writes them."""
    summary = summarise(outcomes)
    return {
        "methods": list(plan.methods),
        "seeds": list(plan.seeds),
        "steps": plan.steps,
        "rank": plan.rank,
        "samples": plan.samples,
        "how": vars(how),
        "summary": {
            method: {name: vars(each) for name, each in measures.items()}
            for method, measures in summary.items()
        },
        "goal": {
            method: {"reference": reference, **_verdict(measures)}
            for method, reference, measures in _judged(plan, outcomes)
        },
        "runs": [
            {
                "method": o.method,
                "seed": o.seed,
                "seconds": o.seconds,
                "whole": o.whole,
                **vars(o.verdict),
                "memory_bytes": vars(o.memory),
                "energy": o.energy and vars(o.energy),
            }
            for o in outcomes
        ],
    }


def _judged(
    plan: Plan, outcomes: Sequence[Outcome]
) -> Iterator[tuple[str, str, dict[str, Summary]]]:
    """Yield each method, what it is judged by, and its measures against that."""
    for method in plan.methods:
        reference = reference_of(plan.methods, method)
        yield method, reference, summarise(outcomes, reference)[method]


def _verdict(measures: Mapping[str, Summary]) -> dict[str, bool]:
    losses = [measures[name].change for name in ("concept_loss", "prior_loss")]
    others = [measures[name].within for name in MEASURES if not name.endswith("_loss")]
    return {"losses": all(change <= GOAL for change in losses), "others": all(others)}


def write_report(
    folder: Path,
    plan: Plan,
    outcomes: Sequence[Outcome],
    images: Mapping[str, np.ndarray],
    captions: Sequence[str],
    how: Circumstances,
) -> list[Path]:
    """Write ``report.md`` and its pictures; return their paths.

    Raises
    ------
    ProgramFileError
        One cannot be written; none is then.
    """
    files = {
        folder / "grid.png": image_grid(images, captions),
        folder / "curves.png": curves(outcomes),
    }
    if len({f"{o.energy.joules:.3g}" for o in outcomes if o.energy is not None}) > 1:
        files[folder / "energy.png"] = trade(outcomes)
    quantised = [o for o in outcomes if o.history.quantisation and o.seed == plan.seeds[0]]
    if quantised:
        files[folder / "quantisation.png"] = quantisation(quantised)
    names = [path.name for path in files]
    files[folder / "report.md"] = _text(plan, outcomes, names, how).encode()
    write_files(files)
    return list(files)


def _text(
    plan: Plan, outcomes: Sequence[Outcome], pictures: Iterable[str], how: Circumstances
) -> str:
    reference, shown = next(iter(plan.methods)), rows(outcomes)
    lines = [
        "# Fine-tuning the example",
        "",
        f"{plan.steps} steps, rank {plan.rank}, seeds {', '.join(map(str, plan.seeds))}; "
        f"{plan.samples} images of concept and prior each. Means over the seeds, and in brackets "
        f"the largest less the least; changes are against {reference}. KB are of the layers that "
        "train: weights, parameters, and the optimiser's state. uJ a step are of the MACs in "
        "integers, of the layers that train and of what is only quantised, for a batch, in the "
        "array's elements alone: buffers, DRAM, scales and copies are left out. Methods differ in "
        "how many MACs they take, so pJ a MAC says nothing about which takes more.",
        "",
        table(list(shown[0]), [list(row.values()) for row in shown]),
        "",
    ]
    told = ", ".join(f"{name} {share:.1%}" for name, share in how.judge.items())
    lines += [
        f"The classifier is right about renders that it has not seen: {told}. "
        + _took(outcomes, how),
        "",
        f"Judged by the same method in float where it is here, else by {reference}: losses may be "
        f"{GOAL:.0%} higher, and the mean of another measure may differ by as much as seeds of "
        "what it is judged by do.",
        "",
    ]
    for method, base, measures in _judged(plan, outcomes):
        if method != base:
            lines.append(f"- {method}: {_sentence(plan, base, measures)}")
    for name in pictures:
        lines += ["", f"![{Path(name).stem}]({name})"]
    return "\n".join(lines) + "\n"


def _took(outcomes: Sequence[Outcome], how: Circumstances) -> str:
    """Return how long everything took, and on what."""
    machine = f"{how.cores} core{'s' * (how.cores > 1)} ({platform.machine()})"
    if begun := sum(not each.whole for each in outcomes):
        return (
            f"{begun} of {len(outcomes)} runs were begun before: the {_clock(how.seconds)} that "
            f"were taken on {machine} are not of all."
        )
    start = "from an empty cache" if how.fresh else "with models of the cache"
    return (
        f"All of it took {_clock(how.seconds)} on {machine}, {start}: {_clock(how.before)} until "
        f"the denoiser was pretrained and the classifier trained, the rest for {len(outcomes)} "
        "runs, a core each."
    )


def _clock(seconds: float) -> str:
    """Return a time for a reader."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _sentence(plan: Plan, base: str, measures: Mapping[str, Summary]) -> str:
    """Return what a method loses against what it is judged by."""
    found = _verdict(measures)
    changes = (f"{measures[name].change:+.2%}" for name in ("concept_loss", "prior_loss"))
    losses = f"{'within' if found['losses'] else 'NOT within'} {GOAL:.0%} of {base}'s"
    outside = [called for name, called in MEASURES.items()
               if not name.endswith("_loss") and not measures[name].within]  # fmt: skip
    others = f"NOT within its spread over seeds: {', '.join(outside)}"
    if len(plan.seeds) == 1:
        others = "other measures of one seed, which has no spread"
    elif not outside:
        others = "other measures within its spread over seeds"
    return f"held-out losses {' and '.join(changes)}, {losses}; {others}."
