"""A classifier of rendered images, which judges images that a model makes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .kept import Progress, frozen, kept, kept_folder, seeded
from .shapes import (
    concept_images,
    concept_scenes,
    draw_scenes,
    lookalike_images,
    render,
)
from .size import Size
from .words import COLOURS, COLUMNS, ROWS, SHAPES

__all__ = ["CLASSES", "Judge", "accuracy", "judge"]

CLASSES = (*SHAPES, "concept", "lookalike")
"""What the classifier tells apart; lookalikes have the concept's colours, but not its form."""

_CONCEPT = CLASSES.index("concept")
_LOOKALIKE = CLASSES.index("lookalike")
_MODULES = ("judge", "kept", "shapes", "size", "words")
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
    optimiser = torch.optim.Adam(made.parameters(), lr=6e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=6e-3, total_steps=steps, pct_start=0.1, cycle_momentum=False
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
