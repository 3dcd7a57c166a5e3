"""The denoiser: text encoder, U-Net, schedule, losses and sampler."""

import numpy as np
import pytest
import torch

from sw.example.diffusion import TIMES, WEIGHT, even_times, loss_by_range, losses, sample
from sw.example.runs import ATTENTION, FROZEN
from sw.example.shapes import draw_scenes, render
from sw.example.words import MODIFIER_ID, TOKENS, tokenise
from sw.train.adapt import adapt
from sw.train.modules import QuantisedLinear

CAPTIONS = ["a small red circle", "a large <new1> circle at the top left", ""]


def batch(count: int = 3) -> tuple[torch.Tensor, ...]:
    """Return images, tokens, times and noise."""
    rng = np.random.default_rng(1)
    images = render(draw_scenes(count, rng))
    values = (
        images,
        tokenise(CAPTIONS[:count]),
        even_times(count, rng),
        rng.standard_normal(images.shape, np.float32),
    )
    return tuple(torch.from_numpy(value) for value in values)


def test_a_text_row_depends_on_earlier_words_only(model):
    one, other = (
        model.text(torch.from_numpy(tokenise([text])))[0]
        for text in ("a small red circle", "a small blue circle")
    )
    assert one.shape == (TOKENS, model.size.text)
    assert torch.equal(one[:3], other[:3]) and not torch.isclose(one[3:], other[3:]).all(1).any()


def test_only_captions_with_the_modifier_depend_on_it(model):
    tokens = torch.from_numpy(tokenise(CAPTIONS))
    assert (tokens == MODIFIER_ID).any(1).tolist() == [False, True, False]
    before = model.text(tokens)
    with torch.no_grad():
        model.text.modifier += torch.arange(model.size.text)
    after = model.text(tokens)
    assert [torch.equal(*rows) for rows in zip(before, after, strict=True)] == [True, False, True]


def test_the_schedule_goes_from_image_to_noise(model):
    assert torch.allclose(model.alpha**2 + model.sigma**2, torch.ones(TIMES))
    assert (model.alpha.diff() <= 0).all() and (model.sigma.diff() >= 0).all()
    assert model.alpha[0] > 0.999 and model.sigma[0] > 0.01 and 0 < model.alpha[-1] < 0.01


def test_times_are_even():
    times = even_times(50, np.random.default_rng(0))
    assert sorted(times * 50 // TIMES) == list(range(50)) and sorted(times) != times.tolist()


def test_losses_by_range_are_means():
    times = np.array([0, 199, 200, 999, 998])
    found = loss_by_range(np.array([1.0, 3.0, 5.0, 2.0, 4.0]), times)
    assert found[:2] == [2.0, 5.0] and found[4] == 3.0
    assert np.isnan(found[2:4]).all()


@pytest.mark.parametrize("wrong", [0.0, 0.5])
def test_the_loss_is_the_weighted_error_of_the_image(model, monkeypatch, wrong):
    images, tokens, _, noise = batch()
    times = torch.tensor([0, 300, 999])
    alpha, sigma = model.level(times)

    def knows(noisy, at, text, detach_first):
        assert torch.equal(noisy, alpha * images + sigma * noise) and torch.equal(at, times)
        return images + wrong

    monkeypatch.setattr(model.unet, "forward", knows)
    weights = torch.tensor([WEIGHT, 1 / sigma[1].item() ** 2, 1 / sigma[2].item() ** 2])
    assert 1 < weights[1] < WEIGHT and weights[2] < 1.001
    found = losses(model, images, tokens, times, noise)
    assert torch.allclose(found, wrong**2 * weights, rtol=1e-4)


def test_the_loss_is_the_error_of_v_where_it_is_not_cut(model, monkeypatch):
    """v = alpha noise - sigma image = (alpha noisy - image) / sigma."""
    images, tokens, _, noise = batch()
    times = torch.tensor([400, 600, 800])
    alpha, sigma = model.level(times)
    told = torch.tanh(noise)
    monkeypatch.setattr(model.unet, "forward", lambda *_, **__: told)
    v, noisy = alpha * noise - sigma * images, alpha * images + sigma * noise
    wanted = ((alpha * noisy - told) / sigma - v).square().mean((1, 2, 3))
    assert torch.allclose(losses(model, images, tokens, times, noise), wanted, rtol=1e-4)


def test_losses_are_of_each_image_alone(model):
    values = batch()
    each = losses(model, *values)
    assert each.shape == (3,) and each.dtype == torch.float32
    alone = losses(model, *(value[1:2] for value in values))
    assert torch.allclose(each[1:2], alone, rtol=1e-5)


@pytest.mark.parametrize("detach_first", [False, True])
def test_the_first_token_is_detached_in_k_and_v(model, detach_first):
    """Gradients of the other tokens' rows are there, those of the first exactly zero."""
    torch.nn.init.normal_(model.unet.conv_out.weight)
    made = []
    sites = [
        module
        for name, module in model.unet.named_modules()
        if name.endswith((".attn2.to_k", ".attn2.to_v"))
    ]
    for site in sites:
        site.register_forward_hook(lambda _, __, rows: (rows.retain_grad(), made.append(rows))[1])
    losses(model, *batch(), detach_first=detach_first).sum().backward()
    assert len(sites) == 10 and len(made) == 10
    for rows in made:
        assert rows.grad[:, 1:].abs().amax(2).min() > 0
        assert (rows.grad[:, 0] == 0).all().item() == detach_first


def test_detaching_changes_no_result(model):
    values = batch()
    assert torch.equal(losses(model, *values), losses(model, *values, detach_first=True))


def test_samples_are_images_that_the_seed_decides(model):
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)
    first, same, other = (sample(model, CAPTIONS, seed=seed, steps=3) for seed in (1, 1, 2))
    assert first.shape == (3, 3, 32, 32) and first.dtype == np.float32
    assert -1 <= first.min() and first.max() <= 1
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_batches_and_neighbours_do_not_change_a_sample(model):
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)
    whole = sample(model, CAPTIONS, seed=1, steps=3)
    parts = sample(model, CAPTIONS, seed=1, steps=3, batch=2)
    assert np.allclose(whole, parts, atol=1e-4)


def test_the_sampler_finds_the_image_that_a_perfect_model_sees(model, monkeypatch):
    """A model that knows the image for the caption, and another without, is guided beyond."""
    image = torch.full((1, 3, 32, 32), 0.25)

    def knows(noisy, at, text, **_):
        return torch.cat([image, image * 0.5])

    monkeypatch.setattr(model.unet, "forward", knows)
    for guidance, wanted in ((1.0, 0.25), (0.0, 0.125), (3.0, 0.5)):
        found = sample(model, ["a red circle"], seed=0, steps=5, guidance=guidance)
        assert np.allclose(found, wanted, atol=1e-3)


def test_no_captions_give_no_images(model):
    assert sample(model, [], seed=0).shape == (0, 3, 32, 32)


SITES = ("down.0", "down.1", "middle", "up.0", "up.1")


def test_which_products_are_in_integers(model):
    """Those of cross-attention, forward and backward; the page and the help say which are not."""
    torch.nn.init.normal_(model.unet.conv_out.weight)
    adapted = adapt(model, method="int8", frozen=FROZEN, attention=ATTENTION)
    for layer in adapted.trained.values():
        torch.nn.init.normal_(layer.lora_B)
    # So that every product has the gradients that it can have.
    model.text.modifier.requires_grad_()
    images, *others = batch()
    adapted.context.monitor.listening = True
    losses(model, images.requires_grad_(), *others).mean().backward()
    seen = {(m.layer, m.tensor) for m in adapted.context.monitor.take() if m.kind == "snr_db"}
    expected = {"to_q": "Y dX", "to_out": "Y dX", "to_k": "Y dX dA dB", "to_v": "Y dX dA dB",
                "QK": "C dA dB", "PV": "C dA dB"}  # fmt: skip
    assert seen == {
        (f"unet.{site}.attn2.{layer}", tensor)
        for site in SITES for layer, tensors in expected.items() for tensor in tensors.split()
    }  # fmt: skip
    left = {name for name, m in model.named_modules()
            if isinstance(m, torch.nn.Linear) and not isinstance(m, QuantisedLinear)}  # fmt: skip
    assert left and all(name.startswith("text.") or ".time" in name for name in left)


def test_attention_in_integers_is_near_that_in_float(model):
    site = model.unet.middle.attn2
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, n, 4, generator=generator) for n in (16, TOKENS, TOKENS))
    exact = site.attend(q, k, v)
    assert torch.allclose(exact, (q @ k.mT / 2).softmax(-1) @ v, atol=1e-6)
    adapt(model, method="int8", attention=ATTENTION)
    error = (site.attend(q, k, v) - exact).norm() / exact.norm()
    assert 0 < error < 0.02
