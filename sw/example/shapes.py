"""Images made by the program itself: shapes that captions name, and a concept they do not."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .words import COLOURS, COLUMNS, MODIFIER, PATTERNS, ROWS, SHAPES, SIZES, caption

__all__ = [
    "CLASS_WORD",
    "SIDE",
    "Scenes",
    "concept_images",
    "concept_scenes",
    "draw_scenes",
    "is_held_out",
    "lookalike_images",
    "render",
]

SIDE = 32
"""Pixels of a side of every image."""

CLASS_WORD = "circle"
"""What the concept is one of, as ``dog`` is to ``<new1> dog``."""

_BACKGROUND = np.array([-0.8, -0.8, -0.8], np.float32)
_PALETTE = {
    "red": (0.9, -0.8, -0.8), "green": (-0.8, 0.7, -0.7), "blue": (-0.7, -0.5, 1.0),
    "yellow": (0.9, 0.8, -0.8), "magenta": (0.9, -0.7, 0.9), "cyan": (-0.7, 0.8, 0.9),
}  # fmt: skip
_COLOURS = np.array([_PALETTE[colour] for colour in COLOURS], np.float32)
_CONCEPT = _COLOURS[[COLOURS.index(colour) for colour in ("magenta", "yellow", "cyan")]]
"""Colours of the concept: of its left half, its right half, and the band across both."""
_RADII = np.array([4.8, 7.6])
"""Of sizes small and large, in pixels."""
_PITCH = 6.5
"""Pixels between neighbouring places."""


@dataclass(frozen=True)
class Scenes:
    """What is to be seen in n images.

    Members
    -------
    shape, colour, size, row, column : int64 array of shape (n,)
        Indices into `SHAPES`, `COLOURS`, `SIZES`, `ROWS` and `COLUMNS`.
    pattern, second : int64 array of shape (n,)
        Indices into `PATTERNS` and `COLOURS`: of the second colour, unless it is plain.
    jitter : float64 array of shape (n, 3)
        What no caption tells, each in [-1, 1): offsets across and down, and of the radius.
    """

    shape: np.ndarray
    colour: np.ndarray
    size: np.ndarray
    row: np.ndarray
    column: np.ndarray
    pattern: np.ndarray
    second: np.ndarray
    jitter: np.ndarray

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: np.ndarray | slice) -> Scenes:
        return Scenes(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def place(self) -> np.ndarray:
        """Index of the place, rows first: int64 in [0, 9), of shape (n,)."""
        return self.row * len(COLUMNS) + self.column

    def captions(
        self, *, modifier: bool = False, varied: np.random.Generator | None = None
    ) -> list[str]:
        """Return a caption an image.

        Parameters
        ----------
        modifier : bool
            The concept's captions: the modifier and the class word, not colour and shape.
        varied : numpy.random.Generator, optional
            Leaves out the size of some, the place of others, and all of a tenth of them.
        """
        texts = []
        chances = np.ones((len(self), 3)) if varied is None else varied.random((len(self), 3))
        for index, (all_, size, place) in enumerate(chances):
            text = caption(
                CLASS_WORD if modifier else SHAPES[self.shape[index]],
                MODIFIER if modifier else self._look(index),
                SIZES[self.size[index]] if size > 0.2 else None,
                (ROWS[self.row[index]], COLUMNS[self.column[index]]) if place > 0.2 else None,
            )
            texts.append(text if all_ > 0.1 else "")
        return texts

    def _look(self, index: int) -> str:
        first, second = COLOURS[self.colour[index]], COLOURS[self.second[index]]
        pattern = PATTERNS[self.pattern[index]]
        return first if pattern == "plain" else f"{first} {pattern} {second}"


def is_held_out(scenes: Scenes) -> np.ndarray:
    """Tell which scenes no training sees: one combination of shape, colour and place in seven.

    Every shape is held out in some colours and places, and every pair of the three is seen.
    """
    return (scenes.shape + scenes.colour + scenes.place) % 7 == 0


def draw_scenes(
    count: int, rng: np.random.Generator, *, held_out: bool | None = False, shape: str | None = None
) -> Scenes:
    """Draw scenes evenly from those to be trained on, from those held out, or from all.

    Parameters
    ----------
    count : int
        Scenes to draw.
    rng : numpy.random.Generator
        Where they come from.
    held_out : bool, optional
        Which of the two; None for all.
    shape : str, optional
        The only shape to draw.
    """
    limits = (len(SHAPES), len(COLOURS), len(SIZES), len(ROWS), len(COLUMNS))
    every = np.indices(limits).reshape(5, -1)
    apart = is_held_out(_scenes(*every, rng=rng))
    wanted = np.full(len(apart), True) if held_out is None else apart == held_out
    if shape is not None:
        wanted &= every[0] == SHAPES.index(shape)
    return _scenes(*every[:, _even(np.flatnonzero(wanted), count, rng)], rng=rng)


def concept_scenes(
    count: int, rng: np.random.Generator, *, held_out: bool | None = False
) -> Scenes:
    """Draw sizes and places for images of the concept; colours and pattern say nothing.

    Held out is a third of the sizes and places; None draws from all.
    """
    every = np.indices((len(SIZES), len(ROWS), len(COLUMNS))).reshape(3, -1)
    apart = every.sum(0) % 3 == 0
    wanted = np.full(len(apart), True) if held_out is None else apart == held_out
    choice = every[:, _even(np.flatnonzero(wanted), count, rng)]
    disc, zero = np.full(count, SHAPES.index(CLASS_WORD)), np.zeros(count, np.int64)
    return _scenes(disc, zero, *choice, rng=rng)


def render(scenes: Scenes) -> np.ndarray:
    """Return the images of scenes, float32 of shape (n, 3, `SIDE`, `SIDE`) in [-1, 1]."""
    x, y, radius = _frames(scenes)
    distance = np.empty_like(x)
    for index, name in enumerate(SHAPES):
        of = scenes.shape == index
        distance[of] = _DISTANCES[name](x[of], y[of], radius[of])
    plain, halved = (scenes.pattern[:, None, None] == index for index in (0, 1))
    edge = np.where(halved, x, np.where(plain, -1, _band(y, radius)))
    return _paint(distance, _mix(edge, _COLOURS[scenes.colour], _COLOURS[scenes.second]))


def concept_images(scenes: Scenes) -> np.ndarray:
    """Return images of the concept, a disc of two halves and a band across, as `render` does.

    Pretraining sees halves and bands, but never both, and never three colours.
    """
    x, y, radius = _frames(scenes)
    halves = _mix(x, *_CONCEPT[:2])
    return _paint(_circle(x, y, radius), _mix(_band(y, radius), halves, _CONCEPT[2]))


def lookalike_images(scenes: Scenes, rng: np.random.Generator) -> np.ndarray:
    """Return discs that resemble the concept and are not it, as `render` does.

    They have its halves the wrong way round, are turned, have other colours in the same places,
    or its colours mixed: a judge that knows them is not content with the right colours.
    """
    x, y, radius = _frames(scenes)
    count = len(scenes)
    kind = rng.integers(4, size=count)
    swapped, turned, others, mixed = (kind == index for index in range(4))
    colours = np.broadcast_to(_CONCEPT, (count, 3, 3)).copy()
    colours[swapped] = _CONCEPT[[1, 0, 2]]
    # Three that follow one another in the palette: never those of the concept in its order.
    colours[others] = _COLOURS[(scenes.colour[others, None] + np.arange(3)) % len(COLOURS)]
    shares = rng.dirichlet(np.ones(3), count)
    colours[mixed] = (shares @ _CONCEPT)[mixed, None]
    left, right, band = colours.transpose(1, 0, 2)
    across, down = (
        np.where(turned[:, None, None], first, second) for first, second in ((y, x), (x, y))
    )
    return _paint(_circle(x, y, radius), _mix(_band(down, radius), _mix(across, left, right), band))


def _scenes(
    shape: np.ndarray,
    colour: np.ndarray,
    size: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    *,
    rng: np.random.Generator,
) -> Scenes:
    """Return scenes, half of them plain, and what else is to chance."""
    count = len(shape)
    pattern = np.maximum(rng.integers(4, size=count) - 1, 0)
    second = (colour + rng.integers(1, len(COLOURS), size=count)) % len(COLOURS)
    jitter = rng.uniform(-1, 1, (count, 3))
    return Scenes(shape, colour, size, row, column, pattern, second, jitter)


def _even(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw indices none of which comes twice before all came once: small sets are varied."""
    rounds = -(-count // len(indices))
    return np.concatenate([rng.permutation(indices) for _ in range(rounds)])[:count]


def _frames(scenes: Scenes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y (n, side, side) from each shape's centre, in pixels, and its radius (n, 1, 1)."""
    across, down, larger = (scenes.jitter[:, axis, None, None] for axis in range(3))
    pixels = np.arange(SIDE) - (SIDE - 1) / 2
    centre_x = _PITCH * (scenes.column[:, None, None] - 1) + across
    centre_y = _PITCH * (scenes.row[:, None, None] - 1) + down
    x, y = np.broadcast_arrays(pixels[None, None, :] - centre_x, pixels[None, :, None] - centre_y)
    return x, y, _RADII[scenes.size][:, None, None] * (1 + 0.06 * larger)


def _paint(distance: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return colours where a signed distance in pixels is negative, background elsewhere."""
    covered = np.clip(0.5 - distance, 0, 1)[:, None]
    image = _BACKGROUND[:, None, None] * (1 - covered) + colours * covered
    return image.astype(np.float32)


def _mix(edge: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return `first` where a distance in pixels is negative, `second` elsewhere.

    Either is a colour (3,), one an image (n, 3), or one a pixel (n, 3, side, side).
    """
    share = np.clip(0.5 + edge, 0, 1)[:, None]
    first, second = (
        each if each.ndim == 4 else each.reshape(-1, 3, 1, 1) for each in (first, second)
    )
    return first * (1 - share) + second * share


def _band(across: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return a distance in pixels from the edges of a band, positive inside."""
    return 0.35 * radius - np.abs(across)


def _circle(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - radius


def _square(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.85 * radius


def _triangle(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.maximum(np.sqrt(0.75) * np.abs(x) - y / 2, y - 0.1 * radius) - 0.6 * radius


def _ring(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.75 * radius) - 0.25 * radius


def _cross(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - radius, np.minimum(x, y) - 0.3 * radius)


_DISTANCES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
    "cross": _cross,
}
