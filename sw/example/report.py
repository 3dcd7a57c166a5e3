"""The report of the example: tables, curves, the state of quantisation, and images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..markdown import table
from ..plotting import figure_style, render
from ..program_file import write_files
from .grid import image_grid
from .runs import Outcome, Plan, Summary, summarise

__all__ = ["GOAL", "figures", "rows", "write_report"]

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

_GRADIENTS = ("dB", "dW", "d_out")
"""Products that only layers which train have."""

_SMOOTH = 25
"""Steps that a point of a curve is the mean of."""


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a row for each method, for a table."""
    found = []
    for method, measures in summarise(outcomes).items():
        row: dict[str, Any] = {"method": method}
        for name, called in MEASURES.items():
            each = measures[name]
            row[called] = f"{each.mean:.4f} ({each.spread:.4f})"
        held = next(o.memory for o in outcomes if o.method == method)
        row["KB"] = f"{held.total / 1024:.1f}"
        spent = next(o.mac_pj for o in outcomes if o.method == method)
        row["pJ a MAC"] = "" if spent is None else f"{spent:.3f}"
        row["loss of the concept"] = f"{measures['concept_loss'].change:+.2%}"
        row["of the prior"] = f"{measures['prior_loss'].change:+.2%}"
        found.append(row)
    return found


def figures(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return every figure, as --json writes them."""
    summary = summarise(outcomes)
    return {
        "methods": list(plan.methods),
        "seeds": list(plan.seeds),
        "steps": plan.steps,
        "rank": plan.rank,
        "samples": plan.samples,
        "summary": {
            method: {name: vars(each) for name, each in measures.items()}
            for method, measures in summary.items()
        },
        "goal": {method: _verdict(measures) for method, measures in summary.items()},
        "runs": [
            {
                "method": o.method,
                "seed": o.seed,
                "seconds": o.seconds,
                **vars(o.verdict),
                "memory_bytes": vars(o.memory),
            }
            for o in outcomes
        ],
    }


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
) -> list[Path]:
    """Write ``report.md`` and its pictures; return their paths.

    Raises
    ------
    ProgramFileError
        One cannot be written; none is then.
    """
    files = {
        folder / "grid.png": image_grid(images, captions),
        folder / "curves.png": _curves(outcomes),
    }
    if len({round(o.mac_pj, 3) for o in outcomes if o.mac_pj is not None}) > 1:
        files[folder / "energy.png"] = _trade(outcomes)
    quantised = [o for o in outcomes if o.history.quantisation and o.seed == plan.seeds[0]]
    if quantised:
        files[folder / "quantisation.png"] = _quantisation(quantised)
    files[folder / "report.md"] = _text(plan, outcomes, [path.name for path in files]).encode()
    write_files(files)
    return list(files)


def _text(plan: Plan, outcomes: Sequence[Outcome], pictures: Iterable[str]) -> str:
    reference, shown = next(iter(plan.methods)), rows(outcomes)
    lines = [
        "# Fine-tuning the example",
        "",
        f"{plan.steps} steps, rank {plan.rank}, seeds {', '.join(map(str, plan.seeds))}; "
        f"{plan.samples} images of concept and prior each. Means over the seeds, and in brackets "
        f"the largest less the least; changes are against {reference}. KB are of the layers that "
        "train: weights, parameters, and the optimiser's state; pJ a MAC are of the array's "
        "elements.",
        "",
        table(list(shown[0]), [list(row.values()) for row in shown]),
        "",
    ]
    for method, measures in summarise(outcomes).items():
        if method == reference:
            continue
        found = _verdict(measures)
        held = f"held-out losses {'within' if found['losses'] else 'NOT within'} {GOAL:.0%} of "
        others = f"{'within' if found['others'] else 'NOT all within'} the spread over seeds"
        if len(plan.seeds) == 1:
            others = "of one seed, which has no spread"
        lines.append(f"- {method}: {held}{reference}'s, other measures {others}.")
    for name in pictures:
        lines += ["", f"![{Path(name).stem}]({name})"]
    return "\n".join(lines) + "\n"


def _curves(outcomes: Sequence[Outcome]) -> bytes:
    """Return a picture of the losses of each method, means over its seeds."""
    from matplotlib.figure import Figure

    by_method: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_method[outcome.method].append(outcome)
    with figure_style():
        figure = Figure(figsize=(8, 3), layout="constrained")
        for axes, name in zip(figure.subplots(1, 2), ("concept", "prior"), strict=True):
            for method, runs in by_method.items():
                values = np.mean(
                    [[row[name] for row in each.history.losses] for each in runs], axis=0
                )
                width = min(_SMOOTH, len(values))
                smooth = np.convolve(values, np.full(width, 1 / width), "valid")
                axes.plot(np.arange(len(smooth)) + width, smooth, label=method, linewidth=1)
            axes.set(title=f"training loss, {name}", xlabel="step", yscale="log")
        axes.legend(fontsize=7)
        return render(figure, ".png")


def _trade(outcomes: Sequence[Outcome]) -> bytes:
    """Return a picture of the held-out loss of the concept against the energy of a MAC."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        summary = summarise(outcomes)
        for method, measures in summary.items():
            spent = next(o.mac_pj for o in outcomes if o.method == method)
            if spent is None:
                continue
            each = measures["concept_loss"]
            axes.errorbar(spent, each.mean, yerr=each.spread / 2, fmt="o", capsize=2)
            axes.annotate(method, (spent, each.mean), xytext=(4, 4), fontsize=7,
                          textcoords="offset points")  # fmt: skip
        reference, measures = next(iter(summary.items()))
        axes.axhline(measures["concept_loss"].mean, color="0.5", linewidth=0.8, label=reference)
        axes.set(xlabel="pJ a MAC in the elements", ylabel="held-out loss of the concept")
        axes.legend(fontsize=7)
        return render(figure, ".png")


def _quantisation(outcomes: Sequence[Outcome]) -> bytes:
    """Return a picture of noise of products, maxima of operands, and elements limited."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 2.4 * len(outcomes)), layout="constrained")
        grid = figure.subplots(len(outcomes), 3, squeeze=False)
        for line, outcome in zip(grid, outcomes, strict=True):
            for axes, kind in zip(line, ("snr_db", "absmax"), strict=False):
                for tensor, (steps, values) in _median(outcome, kind).items():
                    axes.plot(steps, values, label=tensor, linewidth=1)
                axes.legend(fontsize=6, ncols=2)
            line[0].set(title=f"{outcome.method}: dB of products", xlabel="step")
            line[1].set(title="maxima of operands", xlabel="step", yscale="log")
            limited = np.cumsum([row["saturations"] for row in outcome.history.losses])
            line[2].plot(limited, linewidth=1)
            line[2].set(title="elements limited so far", xlabel="step")
        return render(figure, ".png")


def _median(outcome: Outcome, kind: str) -> dict[str, tuple[list[int], list[float]]]:
    """Return steps and medians over the layers that train, by tensor."""
    groups: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    trained = {m["layer"] for m in outcome.history.quantisation if m["tensor"] in _GRADIENTS}
    for row in outcome.history.quantisation:
        if row["kind"] == kind and row["layer"] in trained:
            groups[row["tensor"]][row["step"]].append(row["value"])
    return {
        tensor: (list(steps), [float(np.median(values)) for values in steps.values()])
        for tensor, steps in groups.items()
    }
