"""The judge, distances of features, and what is measured of a model."""

import math

import numpy as np
import pytest
import torch

from sw.example.grid import image_grid
from sw.example.judge import CLASSES, accuracy
from sw.example.shapes import concept_images, concept_scenes, draw_scenes, lookalike_images, render
from sw.example.verdict import evaluate, frechet_distance, held_out_losses


def test_a_judge_tells_renders_apart(tiny_judge):
    found = accuracy(tiny_judge, 1000)
    assert found["class"] > 0.5 and found["colour"] > 0.7 and found["place"] > 0.95


def test_a_judge_tells_the_concept_from_its_lookalikes(tiny_judge):
    rng = np.random.default_rng(7)
    scenes = concept_scenes(100, rng, held_out=None)
    named = CLASSES.index("concept")
    for images, least, most in (
        (concept_images(scenes), 0.9, 1),
        (lookalike_images(scenes, rng), 0, 0.1),
        (render(draw_scenes(100, rng)), 0, 0.1),
    ):
        features, found = tiny_judge.look(images)
        assert features.shape == (100, 32) and found.shape == (100, 3)
        assert least <= (found[:, 0] == named).mean() <= most


def test_the_distance_of_normal_distributions():
    """Of diagonal covariances it is known: means apart, and deviations apart."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((200_000, 3)) * [1, 2, 3] + [0, 1, 0]
    second = rng.standard_normal((200_000, 3)) * [2, 2, 1] + [0, 3, 0]
    assert frechet_distance(first, second) == pytest.approx(4 + 1 + 4, rel=0.02)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(second, first) == pytest.approx(frechet_distance(first, second))


def test_renders_of_one_kind_are_nearer_than_others(tiny_judge):
    rng = np.random.default_rng(3)
    concept, same = (tiny_judge.look(concept_images(concept_scenes(300, rng)))[0] for _ in range(2))
    shapes = tiny_judge.look(render(draw_scenes(300, rng)))[0]
    assert frechet_distance(concept, same) < 0.05 * frechet_distance(concept, shapes)


def test_held_out_losses_are_the_same_for_the_same_model(model):
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)
    first, same, other = (
        held_out_losses(model, concept=False, count=64, seed=seed) for seed in (0, 0, 1)
    )
    assert first == same != other
    loss, ranges = first
    assert len(ranges) == 5 and loss == pytest.approx(np.mean(ranges), rel=0.1)
    batches = held_out_losses(model, concept=False, count=64, batch=24)
    assert batches[0] == pytest.approx(loss, rel=1e-5)
    assert held_out_losses(model, concept=True, count=64)[0] != loss


def test_a_verdict_has_shares_and_distances(model, tiny_judge):
    verdict = evaluate(model, tiny_judge, samples=12, count=48)
    assert verdict == evaluate(model, tiny_judge, samples=12, count=48)
    for name in ("concept_accuracy", "concept_place", "prior_shape", "prior_colour", "prior_place"):
        share = getattr(verdict, name)
        assert 0 <= share <= 1 and (share * 12) == pytest.approx(round(share * 12))
    # A model without training makes noise: no renders are near.
    assert verdict.concept_accuracy < 0.5 and verdict.concept_distance > 0
    assert math.isfinite(verdict.prior_distance) and verdict.prior_distance > 0


def test_a_grid_is_a_picture_of_rows_and_columns():
    rng = np.random.default_rng(0)
    images = render(draw_scenes(3, rng))
    captions = ["a red circle", "a blue ring", "a <new1> circle"]
    png = image_grid({"FP32": images, "INT8": images}, captions)
    assert png.startswith(b"\x89PNG")
    assert png == image_grid({"FP32": images, "INT8": images}, captions)
    assert png != image_grid({"FP32": images, "INT8": images[::-1]}, captions)


def test_grids_with_holes_are_refused():
    images = np.zeros((2, 3, 32, 32), np.float32)
    with pytest.raises(ValueError, match=r"INT8 is of shape \(2, 3, 32, 32\), not \(3, 3, "):
        image_grid({"INT8": images}, ["a", "b", "c"])
    with pytest.raises(ValueError, match="at least one row and one column"):
        image_grid({}, ["a"])
