"""Teaching the concept, with the training loop of any task."""

import pytest
import torch

from sw.example.diffusion import Diffusion
from sw.example.finetune import Recipe, concept_task
from sw.example.kept import frozen, seeded
from sw.example.pretrain import pretrain
from sw.example.size import Size
from sw.example.verdict import held_out_losses
from sw.example.words import MODIFIER, tokenise
from sw.train.adapt import adapt
from sw.train.trainer import Settings, Trainer

from .conftest import TINY


@pytest.fixture(scope="module")
def learnt() -> dict[str, torch.Tensor]:
    """Return the parameters of a tiny model that was pretrained."""
    model = seeded(lambda: Diffusion(Size.tiny()), 0)
    pretrain(model)
    return model.state_dict()


@pytest.fixture
def pretrained_model(learnt) -> Diffusion:
    """Return a model of its own for each test."""
    model = Diffusion(Size.tiny())
    model.load_state_dict(learnt)
    return frozen(model)


def trainer(model: Diffusion, folder=None, method: str = "fp32", **settings) -> Trainer:
    """Return what trains the concept."""
    task = concept_task(model)
    return Trainer(task, adapt(model, task.match, method), Settings(**settings), folder)


def test_only_cross_attention_and_the_modifier_train(pretrained_model):
    before = {name: value.clone() for name, value in pretrained_model.state_dict().items()}
    run = trainer(pretrained_model)
    run.run(3)
    names = {name for name, value in pretrained_model.named_parameters() if value.requires_grad}
    assert "text.modifier" in names and len(names) == 1 + 2 * 10
    assert all(name.endswith(("lora_A", "lora_B")) for name in names - {"text.modifier"})
    after = pretrained_model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"text.modifier"}


@pytest.mark.parametrize("method", ["fp32", "int8"])
def test_the_concept_is_learnt_and_the_rest_kept(pretrained_model, method):
    """Of images that are held out, with equal noise: what is left is not chance."""
    run = trainer(pretrained_model, method=method, learning_rate=1e-2, measure_every=0)
    before, after = {}, {}
    for found, steps in ((before, 0), (after, 30)):
        run.run(steps)
        for concept in (True, False):
            found[concept] = held_out_losses(pretrained_model, concept=concept, count=48)[0]
    gain = 1 - after[True] / before[True]
    assert gain > 0.002 and abs(after[False] / before[False] - 1) < gain / 2
    row = run.history.losses[0]
    assert row["loss"] == pytest.approx(row["concept"] + row["prior"], rel=1e-6)


def test_a_run_that_is_resumed_gives_the_same_bits(learnt, tmp_path):
    runs = []
    for folder, stops in ((tmp_path / "whole", [6]), (tmp_path / "parts", [2, 6])):
        folder.mkdir()
        for stop in stops:
            model = Diffusion(Size.tiny())
            model.load_state_dict(learnt)
            run = trainer(frozen(model), folder, method="int8-stochastic")
            run.resume()
            run.run(stop)
        runs.append(run)
    assert [row["loss"] for row in runs[0].history.losses] == [
        row["loss"] for row in runs[1].history.losses
    ]
    modifiers = [run.task.also["modifier"] for run in runs]
    assert torch.equal(*modifiers)


def test_the_seed_decides_the_batches(pretrained_model):
    task = concept_task(pretrained_model)
    first, same, other = (
        task.losses(torch.Generator().manual_seed(seed))["loss"].item() for seed in (1, 1, 2)
    )
    assert first == same != other


def test_the_weight_of_the_prior():
    model = seeded(lambda: Diffusion(TINY), 0)
    found = concept_task(model, Recipe(prior_weight=0.5)).losses(torch.Generator().manual_seed(0))
    assert found["loss"].item() == pytest.approx((found["concept"] + found["prior"] / 2).item())


def test_the_modifier_means_a_colour_at_first():
    """So the concept's captions are, to begin with, those of a red circle."""
    model = seeded(lambda: Diffusion(TINY), 0)
    modifier = concept_task(model).also["modifier"]
    assert modifier is model.text.modifier
    new, red = (
        model.text(torch.from_numpy(tokenise([f"a small {word} circle"])))
        for word in (MODIFIER, "red")
    )
    assert torch.equal(new, red)


@pytest.mark.parametrize(
    "values,message",
    [
        ({"batch": 7}, "batch must be even and at least 2, not 7"),
        ({"batch": 0}, "batch must be even and at least 2, not 0"),
        ({"batch": 40}, "concept must be at least half of batch 40, not 16"),
        ({"prior": 4}, "prior must be at least half of batch 16, not 4"),
    ],
)
def test_recipes_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**values)
