"""Runs of the example from end to end, at a tiny size: kept, gone on with, and reported."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from sw.example.diffusion import sample
from sw.example.report import GOAL, figures, rows, write_report
from sw.example.runs import (
    Outcome,
    Plan,
    captions_shown,
    methods_of,
    run,
    run_all,
    summarise,
)
from sw.example.size import Size
from sw.train.history import History
from sw.train.memory import Memory
from sw.train.precision import METHODS

METHOD_NAMES = ("fp32", "int8", "int8-full", "int8-tuneqdm")
PLAN = Plan(
    methods={name: METHODS[name] for name in METHOD_NAMES}, seeds=(0, 1), steps=6, samples=4,
    held_out=40,
    rank=2, size=Size.tiny(),
)  # fmt: skip


def silent(*_) -> None:
    """Watch nothing."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All runs of the plan, in a folder."""
    folder = tmp_path_factory.mktemp("runs")
    outcomes, images = run_all(PLAN, folder, captions_shown(), silent)
    return folder, outcomes, images


def test_every_method_runs_with_every_seed(made):
    folder, outcomes, images = made
    assert [(o.method, o.seed) for o in outcomes] == [(m, s) for s in (0, 1) for m in METHOD_NAMES]
    assert list(images) == list(METHOD_NAMES)
    assert all(each.shape == (len(captions_shown()), 3, 32, 32) for each in images.values())
    for outcome in outcomes:
        assert len(outcome.history.losses) == PLAN.steps
        assert {"loss", "concept", "prior"} <= outcome.history.losses[0].keys()
        place = folder / f"{outcome.method}-{outcome.seed}"
        adapter = place / "adapter" / "adapter_model.safetensors"
        assert adapter.exists() == (METHODS[outcome.method].trains == "lora")
    first = {o.method: o.history.losses[0]["loss"] for o in outcomes if o.seed == 0}
    # The same batch, and LoRA starts at the model: but for what rounding changes.
    assert (
        first["int8"] == pytest.approx(first["fp32"], rel=0.05) and first["int8"] != first["fp32"]
    )


def test_a_run_that_is_done_is_found_again(made):
    folder, outcomes, _ = made
    seen = []
    again, model = run(PLAN, "int8", 1, folder / "int8-1", lambda what, *_: seen.append(what))
    assert again.verdict == next(o.verdict for o in outcomes if (o.method, o.seed) == ("int8", 1))
    assert not seen
    with torch.no_grad():
        assert sample(model, captions_shown()[:1], seed=0).shape == (1, 3, 32, 32)
    text = (folder / "int8-1" / "verdict.json").read_text()
    (folder / "int8-1" / "verdict.json").write_text(text[:20])
    judged = run(PLAN, "int8", 1, folder / "int8-1", lambda what, *_: seen.append(what))[0]
    assert judged.verdict == again.verdict and seen == ["judge int8, seed 1"]


def test_the_report(made, tmp_path):
    _, outcomes, images = made
    written = write_report(tmp_path, PLAN, outcomes, images, captions_shown())
    assert {path.name for path in written} == {
        "grid.png", "curves.png", "energy.png", "quantisation.png", "report.md",
    }  # fmt: skip
    text = (tmp_path / "report.md").read_text()
    for name in METHOD_NAMES:
        assert f"\n| {name} |" in text
    assert f"within {GOAL:.0%} of fp32's" in text
    found = json.loads(json.dumps(figures(PLAN, outcomes)))
    assert len(found["runs"]) == 8 and found["seeds"] == [0, 1]
    assert found["goal"]["fp32"] == {"losses": True, "others": True}


def outcome(method: str, seed: int, verdict, **changes) -> Outcome:
    """Return an outcome made up of a verdict and changes."""
    return Outcome(method, seed, replace(verdict, **changes), 0.0, Memory(1, 2, 3), None, History())


def test_summaries(made):
    verdict = made[1][0].verdict
    values = {"a": (1.0, 1.1, 1.2), "b": (1.05, 1.15, 1.31)}
    outcomes = [
        outcome(method, seed, verdict, concept_loss=value, prior_loss=2 * value)
        for method, listed in values.items()
        for seed, value in enumerate(listed)
    ]
    found = summarise(outcomes)
    one, other = found["a"]["concept_loss"], found["b"]["concept_loss"]
    assert (one.mean, one.spread, one.change) == pytest.approx((1.1, 0.2, 0))
    assert (other.mean, other.spread) == pytest.approx((1.17, 0.26))
    assert other.change == pytest.approx(1.17 / 1.1 - 1) and other.within
    far = summarise([outcome("a", 0, verdict, concept_loss=1.0),
                     outcome("b", 0, verdict, concept_loss=1.1)])["b"]["concept_loss"]  # fmt: skip
    assert not far.within
    assert rows(outcomes)[1]["loss of the concept"] == f"{1.17 / 1.1 - 1:+.2%}"


@pytest.mark.parametrize("name", ["lora", "tuneqdm", "schedule"])
def test_sets_of_methods_start_with_float(name):
    assert next(iter(methods_of(name).values())).precision is None
