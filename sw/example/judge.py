"""Judges what a model makes: a classifier of rendered images, distances, and held-out losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .diffusion import Diffusion, even_times, loss_by_range, losses, sample
from .kept import kept, kept_folder
from .pretrain import Progress, frozen, seeded
from .shapes import (
    Scenes,
    concept_images,
    concept_scenes,
    draw_scenes,
    lookalike_images,
    render,
)
from .size import Size
from .words import COLOURS, COLUMNS, ROWS, SHAPES, tokenise

__all__ = [
    "CLASSES",
    "Judge",
    "Verdict",
    "evaluate",
    "frechet_distance",
    "held_out_losses",
    "judge",
]

CLASSES = (*SHAPES, "concept", "lookalike")
"""What the classifier tells apart; lookalikes have the concept's colours, but not its form."""

_CONCEPT = CLASSES.index("concept")
_LOOKALIKE = CLASSES.index("lookalike")
_MODULES = ("judge", "shapes", "size", "words")
_FEATURES = 32


class Judge(nn.Module):
    """A small convolutional classifier of class, colour and place."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
            for inputs, outputs, stride in ((3, 32, 2), (32, 48, 1), (48, 64, 2), (64, 64, 1))
        )
        self.where = nn.Conv2d(64, 4, 1)
        self.features = nn.Linear(64 + 4 * 64, _FEATURES)
        self.heads = nn.ModuleList(
            nn.Linear(_FEATURES, count)
            for count in (len(CLASSES), len(COLOURS), len(ROWS) * len(COLUMNS))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return features (n, 32), and scores of classes, colours and places, of images."""
        x = images
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        # What there is, wherever it is, and where something is.
        parts = [x.amax((2, 3)), self.where(x).flatten(1)]
        features = self.features(torch.cat(parts, 1))
        return features, [head(F.relu(features)) for head in self.heads]

    @torch.no_grad()
    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return features float64 (n, 32), and class, colour and place int64 (n, 3)."""
        features, scores = self(torch.from_numpy(images).to(self.features.weight.device))
        found = torch.stack([score.argmax(1) for score in scores], 1)
        return features.double().cpu().numpy(), found.cpu().numpy()


def judge(size: Size | None = None, *, seed: int = 0, progress: Progress | None = None) -> Judge:
    """Return the trained classifier, frozen: from the cache, or after seconds.

    Parameters
    ----------
    size : Size, optional
        Says how long it learns; by default as for the example.
    seed : int
        Of its parameters and of the images.
    progress : callable, optional
        Told of every step.
    """
    size = Size() if size is None else size
    made = seeded(Judge, seed)
    kept(
        kept_folder(f"judge-{seed}", size, _MODULES),
        made,
        lambda: _train(made, size, seed, progress),
    )
    return frozen(made)


def _train(made: Judge, size: Size, seed: int, progress: Progress | None) -> None:
    rng = np.random.default_rng([seed, 2])
    steps = size.judge_steps
    optimiser = torch.optim.Adam(made.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=3e-3, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    for step in range(steps):
        images, labels = _lesson(rng, 64)
        # Samples are never as clean as renders.
        images += rng.normal(0, 0.05, images.shape).astype(np.float32)
        _, scores = made(torch.from_numpy(images))
        loss = sum(
            F.cross_entropy(score, label, ignore_index=-1)
            for score, label in zip(scores, torch.from_numpy(labels).T, strict=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress("train the judge", step + 1, steps)


def _lesson(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images, half of them of shapes, and class, colour and place (n, 3); -1 is none.

    They are of all combinations: a judge that never saw some would take them for others.
    """
    quarter = count // 4
    kinds = (
        draw_scenes(count - 2 * quarter, rng, held_out=None),
        concept_scenes(quarter, rng, held_out=None),
        draw_scenes(quarter, rng, held_out=None),
    )
    shapes, concept, like = kinds
    images = [render(shapes), concept_images(concept), lookalike_images(like, rng)]
    classes = [shapes.shape, np.full(quarter, _CONCEPT), np.full(quarter, _LOOKALIKE)]
    colours = [shapes.colour, np.full(2 * quarter, -1)]
    places = [each.place for each in kinds]
    labels = [np.concatenate(each) for each in (classes, colours, places)]
    return np.concatenate(images), np.stack(labels, 1)


def accuracy(made: Judge, count: int = 2000, seed: int = 0) -> dict[str, float]:
    """Return the shares of renders, none of them seen before, of which a judge tells each label."""
    images, labels = _lesson(np.random.default_rng([seed, 3]), count)
    right = made.look(images)[1] == labels
    known = labels >= 0
    return {
        name: float(right[known[:, index], index].mean())
        for index, name in enumerate(("class", "colour", "place"))
    }


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Frechet distance of two sets of features, as normal distributions.

    Parameters
    ----------
    first, second : ndarray
        float64 (n, features); each has at least two rows.
    """
    means = first.mean(0) - second.mean(0)
    left, right = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(left)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    # The trace of sqrt(left . right), by a symmetric matrix with the same eigenvalues.
    cross = np.sqrt(np.linalg.eigvalsh(root @ right @ root).clip(min=0)).sum()
    return float(means @ means + np.trace(left) + np.trace(right) - 2 * cross)


@torch.no_grad()
def held_out_losses(
    model: Diffusion, *, concept: bool, count: int = 1024, seed: int = 0, batch: int = 128
) -> tuple[float, list[float]]:
    """Return the mean loss on held-out images, and in each of five ranges of time.

    Images, times and noise depend on the seed only, so that two models see the same.

    Parameters
    ----------
    model : Diffusion
        The denoiser.
    concept : bool
        Images of the concept, or of shapes in combinations that no training sees.
    count : int
        Images; their times are spread evenly.
    seed : int
        Of everything.
    batch : int
        Images at once.
    """
    rng = np.random.default_rng([seed, 4])
    scenes = _held_out(concept, count, rng)
    images = concept_images(scenes) if concept else render(scenes)
    times = even_times(count, rng)
    noise = rng.standard_normal(images.shape, np.float32)
    values = (images, tokenise(scenes.captions(modifier=concept)), times, noise)
    device = model.alpha.device
    each = np.concatenate(
        [
            losses(
                model,
                *(torch.from_numpy(value[first : first + batch]).to(device) for value in values),
            )
            .cpu()
            .numpy()
            for first in range(0, count, batch)
        ]
    )
    return float(each.mean(dtype=np.float64)), loss_by_range(each, times)


def _held_out(concept: bool, count: int, rng: np.random.Generator) -> Scenes:
    draw = concept_scenes if concept else draw_scenes
    return draw(count, rng, held_out=True)


@dataclass(frozen=True)
class Verdict:
    """What is measured of a model; of the concept, and of ordinary shapes as the prior.

    Members
    -------
    concept_loss, prior_loss : float
        Held-out denoising losses.
    concept_ranges, prior_ranges : list of float
        The same in five ranges of time, least noise first.
    concept_accuracy : float
        Share of images of concept captions that the judge takes for the concept.
    concept_place : float
        Share of these at the place that the caption names.
    prior_shape, prior_colour, prior_place : float
        Shares of images of ordinary captions that show what they name.
    concept_distance, prior_distance : float
        Frechet distances of the judge's features, made images to held-out renders.
    """

    concept_loss: float
    prior_loss: float
    concept_ranges: list[float]
    prior_ranges: list[float]
    concept_accuracy: float
    concept_place: float
    prior_shape: float
    prior_colour: float
    prior_place: float
    concept_distance: float
    prior_distance: float


def evaluate(model: Diffusion, made: Judge, *, samples: int = 128, seed: int = 0) -> Verdict:
    """Measure a model by its losses and by images it makes, the same captions and noise for all.

    Parameters
    ----------
    model : Diffusion
        The denoiser.
    made : Judge
        The classifier.
    samples : int
        Images to make of the concept, and of shapes.
    seed : int
        Of captions, noise and held-out images.
    """
    concept_loss, concept_ranges = held_out_losses(model, concept=True, seed=seed)
    prior_loss, prior_ranges = held_out_losses(model, concept=False, seed=seed)
    shown, concept_distance = _made(model, made, True, samples, seed)
    prior, prior_distance = _made(model, made, False, samples, seed)
    return Verdict(
        concept_loss,
        prior_loss,
        concept_ranges,
        prior_ranges,
        shown[0],
        shown[2],
        *prior,
        concept_distance,
        prior_distance,
    )


def _made(
    model: Diffusion, made: Judge, concept: bool, samples: int, seed: int
) -> tuple[Sequence[float], float]:
    """Return shares right of class, colour and place of images made, and their distance."""
    rng = np.random.default_rng([seed, 5])
    scenes = _held_out(concept, samples, rng)
    images = sample(model, scenes.captions(modifier=concept), seed=seed)
    features, found = made.look(images)
    classes = np.full(samples, _CONCEPT) if concept else scenes.shape
    wanted = np.stack([classes, scenes.colour, scenes.place], 1)
    reference = _held_out(concept, 2048, rng)
    renders = concept_images(reference) if concept else render(reference)
    distance = frechet_distance(features, made.look(renders)[0])
    return (found == wanted).mean(0).tolist(), distance
