"""Pictures of the example's report: losses, energy, and the state of quantisation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..plotting import figure_style, render
from .runs import Outcome
from .summary import summarise

__all__ = ["curves", "quantisation", "trade"]

_SMOOTH = 25
"""Steps that a point of a curve is the mean of."""

_OF_TRAINED = ("A", "W", "U")
"""Tensors whose maxima only layers that train have."""

_SUMS = ("H", "dH", "U", "V", "P", "G")
"""Tensors whose maxima are integers on the chip; those of others are real."""


def curves(outcomes: Sequence[Outcome]) -> bytes:
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


def trade(outcomes: Sequence[Outcome]) -> bytes:
    """Return a picture of the held-out loss of the concept against the energy of a step's MACs."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        summary = summarise(outcomes)
        for method, measures in summary.items():
            energy = next(o.energy for o in outcomes if o.method == method)
            if energy is None:
                continue
            each, spent = measures["concept_loss"], energy.joules * 1e6
            axes.errorbar(spent, each.mean, yerr=each.spread / 2, fmt="o", capsize=2)
            axes.annotate(method, (spent, each.mean), xytext=(4, 4), fontsize=7,
                          textcoords="offset points")  # fmt: skip
        reference, measures = next(iter(summary.items()))
        axes.axhline(measures["concept_loss"].mean, color="0.5", linewidth=0.8, label=reference)
        axes.set(
            xlabel="uJ of a step's MACs in the elements, without buffers and DRAM",
            ylabel="held-out loss of the concept",
        )
        axes.legend(fontsize=7)
        return render(figure, ".png")


def quantisation(outcomes: Sequence[Outcome]) -> bytes:
    """Return a picture of noise of products, maxima of operands, and elements limited.

    Maxima of what the host quantises are real values, those of what the chip makes copies of are
    integers: each has an axis of its own.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(12, 2.4 * len(outcomes)), layout="constrained")
        grid = figure.subplots(len(outcomes), 4, squeeze=False)
        for line, outcome in zip(grid, outcomes, strict=True):
            maxima = _median(outcome, "absmax")
            real = {name: each for name, each in maxima.items() if name not in _SUMS}
            sums = {name: each for name, each in maxima.items() if name in _SUMS}
            _plot(line[0], _median(outcome, "snr_db"), f"{outcome.method}: dB of products")
            _plot(line[1], real, "maxima of operands, real values", logarithmic=True)
            _plot(line[2], sums, "maxima on the chip, integers", logarithmic=True)
            limited = np.cumsum([row["saturations"] for row in outcome.history.losses])
            line[3].plot(limited, linewidth=1, clip_on=False)  # it may lie on the axis
            line[3].set(title="elements limited so far", xlabel="step")
            line[3].set_ylim(0, max(1, 1.05 * limited[-1]))
        return render(figure, ".png")


_Lines = dict[str, tuple[list[int], list[float]]]


def _plot(axes: Any, lines: _Lines, title: str, *, logarithmic: bool = False) -> None:
    """Draw lines by tensor."""
    for tensor, (steps, values) in lines.items():
        # B is zero at the start, and so is dH: a logarithm would draw them as a line downwards.
        shown = [value if value > 0 or not logarithmic else np.nan for value in values]
        axes.plot(steps, shown, label=tensor, linewidth=1)
    axes.set(title=title, xlabel="step")
    if logarithmic and lines:
        axes.set_yscale("log")
    if lines:
        axes.legend(fontsize=6, ncols=2)
    else:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)


def _median(outcome: Outcome, kind: str) -> _Lines:
    """Return steps and medians over the layers that train, by tensor."""
    groups: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    trained = {
        row["layer"]
        for row in outcome.history.quantisation
        if row["kind"] == "absmax" and row["tensor"] in _OF_TRAINED
    }
    for row in outcome.history.quantisation:
        if row["kind"] == kind and row["layer"] in trained:
            groups[row["tensor"]][row["step"]].append(row["value"])
    return {
        tensor: (list(steps), [float(np.median(values)) for values in steps.values()])
        for tensor, steps in groups.items()
    }
