"""Pretraining: the same bits for the same seed, and kept whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sw.example.diffusion import Diffusion
from sw.example.kept import frozen, kept_folder, seeded
from sw.example.pretrain import pretrain, pretrained
from sw.example.size import Size

from .conftest import TINY


def bits(model: torch.nn.Module) -> dict[str, bytes]:
    """Return every parameter's bytes."""
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def test_losses_fall():
    model = seeded(lambda: Diffusion(Size.tiny()), 0)
    history = pretrain(model)
    assert len(history) == Size.tiny().steps
    assert np.mean(history[-10:]) < 0.8 * np.mean(history[:10])


def test_the_seed_decides_every_bit(cache):
    states = []
    for seed in (0, 0, 1):
        model = seeded(lambda: Diffusion(TINY), seed)
        pretrain(model, seed=seed)
        states.append(bits(model))
    assert states[0] == states[1]
    assert all(states[0][name] != states[2][name] for name in ("unet.conv_in.weight",))


def test_torchs_own_generator_is_left_alone(cache):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    pretrained(TINY)
    assert torch.equal(torch.rand(3), wanted)


def test_a_model_is_made_once_and_frozen(cache):
    steps = []

    def watch(stage, step, steps_in_all):
        steps.append((stage, step, steps_in_all))

    first = pretrained(TINY, progress=watch)
    assert steps == [("pretrain", step + 1, TINY.steps) for step in range(TINY.steps)]
    again = pretrained(TINY, progress=watch)
    assert len(steps) == TINY.steps and bits(first) == bits(again)
    assert not any(each.requires_grad for each in again.parameters()) and not again.training


@pytest.mark.parametrize("damage", ["cut", "flip", "sum", "lost", "other"])
def test_a_damaged_model_is_made_anew(cache, damage):
    first = pretrained(TINY)
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    model, checksum = folder / "model.safetensors", folder / "model.sha256"
    data = model.read_bytes()
    if damage == "cut":
        model.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "sum":
        checksum.write_bytes(b"\xff\xfe")
    elif damage == "lost":
        model.unlink()
    else:
        small = replace(TINY, channels=(8, 8))
        pretrained(small)
        (other,) = (path for path in cache.iterdir() if path.is_dir() and path != folder)
        for file in (model, checksum):
            file.write_bytes((other / file.name).read_bytes())
    steps = []
    again = pretrained(TINY, progress=lambda *step: steps.append(step))
    assert len(steps) == TINY.steps and bits(again) == bits(first)
    assert model.read_bytes() == data


def test_a_model_is_kept_by_all_that_it_depends_on(monkeypatch, cache):
    modules = ("shapes", "words")
    folder = kept_folder("model", TINY, modules)
    assert folder.parent == cache
    others = [
        kept_folder("judge", TINY, modules),
        kept_folder("model", replace(TINY, steps=7), modules),
        kept_folder("model", TINY, ("shapes", "text")),
    ]
    monkeypatch.setattr(torch, "__version__", "0")
    others.append(kept_folder("model", TINY, modules))
    assert len({folder, *others}) == 5


def test_training_that_fails_leaves_nothing(cache):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrained(TINY, progress=stop)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_frozen_modules_learn_nothing():
    model = frozen(Diffusion(TINY))
    assert not any(parameter.requires_grad for parameter in model.parameters())
