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
)
from sw.example.size import Size
from sw.example.summary import reference_of, summarise
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDMQTA_CACHE", str(folder / "cache"))
        yield folder, *run_all(PLAN, folder, captions_shown(), silent)


def test_every_method_runs_with_every_seed(made):
    folder, outcomes, images, _ = made
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
    folder, outcomes, *_ = made
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
    _, outcomes, images, how = made
    written = write_report(tmp_path, PLAN, outcomes, images, captions_shown(), how)
    assert {path.name for path in written} == {
        "grid.png", "curves.png", "energy.png", "quantisation.png", "report.md",
    }  # fmt: skip
    text = (tmp_path / "report.md").read_text()
    for name in METHOD_NAMES:
        assert f"\n| {name} |" in text
    assert f"within {GOAL:.0%} of fp32's" in text
    found = json.loads(json.dumps(figures(PLAN, outcomes, how)))
    assert len(found["runs"]) == 8 and found["seeds"] == [0, 1]
    assert found["goal"]["fp32"] == {"reference": "fp32", "losses": True, "others": True}


def test_the_report_says_how_it_came_about(made, tmp_path):
    folder, outcomes, images, how = made
    assert how.fresh and 0 < how.before < how.seconds and all(each.whole for each in outcomes)
    assert how.judge.keys() == {"class", "colour", "place"}

    def text(runs, **changes) -> str:
        write_report(tmp_path, PLAN, runs, images, captions_shown(), replace(how, **changes))
        return (tmp_path / "report.md").read_text()

    told = text(outcomes, seconds=754.2, before=200.0, cores=2, judge={"class": 0.981})
    assert "that it has not seen: class 98.1%. All of it took 12 min 34 s on 2 cores (" in told
    assert "), from an empty cache: 3 min 20 s until the denoiser was pretrained" in told
    assert "with models of the cache" in text(outcomes, fresh=False)
    again = run(PLAN, "int8", 1, folder / "int8-1", silent)[0]
    assert not again.whole
    told = text([*outcomes[:-1], again], seconds=20, cores=1)
    assert "1 of 8 runs were begun before: the 20 s that were taken on 1 core (" in told


def outcome(method: str, seed: int, verdict, **changes) -> Outcome:
    """Return an outcome made up of a verdict and changes."""
    return Outcome(
        method, seed, replace(verdict, **changes), 0.0, True, Memory(1, 2, 3), None, History()
    )


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
    assert summarise(outcomes, "b")["a"]["concept_loss"].change == pytest.approx(1.1 / 1.17 - 1)
    far = summarise([outcome("a", 0, verdict, concept_loss=1.0),
                     outcome("b", 0, verdict, concept_loss=1.1)])["b"]["concept_loss"]  # fmt: skip
    assert not far.within
    assert rows(outcomes)[1]["loss of the concept"] == f"{1.17 / 1.1 - 1:+.2%}"


def test_a_noisy_method_does_not_pass_by_its_own_noise(made):
    verdict = made[1][0].verdict
    calm = [outcome("a", seed, verdict, prior_distance=1.0 + seed / 100) for seed in range(3)]
    noisy = [outcome("b", seed, verdict, prior_distance=1.0 + seed) for seed in range(3)]
    assert not summarise(calm + noisy)["b"]["prior_distance"].within
    assert summarise(noisy + calm)["a"]["prior_distance"].within


def test_methods_are_judged_by_the_same_in_float():
    judged = {name: reference_of(methods_of("lora"), name) for name in methods_of("lora")}
    assert judged.pop("int8-full") == judged.pop("fp32-full") == "fp32-full"
    assert set(judged.values()) == {"fp32"}
    tune = methods_of("tuneqdm")
    assert reference_of(tune, "int8-tuneqdm") == "fp32-tuneqdm"
    assert {reference_of(tune, each) for each in ("int8-4bit", "int8-tuneqdm-one")} == {"fp32"}
    assert reference_of(methods_of("schedule"), "int8-low-noise") == "fp32"


@pytest.mark.parametrize("name", ["lora", "tuneqdm", "schedule"])
def test_sets_of_methods_start_with_float(name):
    assert next(iter(methods_of(name).values())).precision is None
