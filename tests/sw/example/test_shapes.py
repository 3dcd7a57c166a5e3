"""Images, which of them are held out, and the concept."""

from itertools import product

import numpy as np
import pytest

from sw.example.shapes import (
    SIDE,
    Scenes,
    concept_images,
    concept_scenes,
    draw_scenes,
    is_held_out,
    lookalike_images,
    render,
)
from sw.example.words import COLOURS, SHAPES


def scene(shape: str, colour: str, size: int = 1, row: int = 1, column: int = 1) -> Scenes:
    """Return one scene without jitter."""
    values = (SHAPES.index(shape), COLOURS.index(colour), size, row, column)
    return Scenes(*(np.array([value]) for value in values), jitter=np.zeros((1, 3)))


def ink(image: np.ndarray) -> np.ndarray:
    """Return how far pixels (3, side, side) are from the background, (side, side)."""
    return np.abs(image - image[:, :1, :1]).max(0)


def test_images_are_small_floats_that_depend_on_the_seed():
    first, same, other = (
        render(draw_scenes(40, np.random.default_rng(seed))) for seed in (3, 3, 4)
    )
    assert first.shape == (40, 3, SIDE, SIDE) and first.dtype == np.float32
    assert -1 <= first.min() and first.max() <= 1
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_an_image_is_the_same_alone_and_among_others():
    scenes = draw_scenes(30, np.random.default_rng(0))
    assert np.array_equal(render(scenes)[11:12], render(scenes[11:12]))


@pytest.mark.parametrize("row,column", list(product(range(3), range(3))))
def test_a_shape_is_where_its_caption_says(row, column):
    (image,) = render(scene("square", "white", size=0, row=row, column=column))
    y, x = (axis.mean() for axis in np.nonzero(ink(image)))
    assert np.allclose([x, y], 15.5 + 6.5 * (np.array([column, row]) - 1), atol=0.01)


@pytest.mark.parametrize(
    "shape,area",
    [
        ("circle", np.pi),
        ("square", 1.7**2),
        ("ring", np.pi * (1 - 0.25)),
        ("diamond", 2 * 1.1**2),
        ("cross", 4 * 0.6 - 0.6**2),
        ("triangle", 1.9**2 / np.sqrt(3)),
    ],
)
def test_shapes_cover_their_area_in_their_colour(shape, area):
    """Antialiasing keeps the area; a ring's inner half is open."""
    (image,) = render(scene(shape, "red"))
    share = ink(image) / ink(image).max()
    assert share.sum() == pytest.approx(area * 7.6**2, rel=0.04)
    red, green, blue = image[:, share == 1].mean(1)
    assert red > 0.8 and green < -0.7 and blue < -0.7


def test_training_and_held_out_scenes_have_no_combination_in_common():
    rng = np.random.default_rng(0)
    seen, apart = draw_scenes(5000, rng), draw_scenes(2000, rng, held_out=True)
    assert not is_held_out(seen).any() and is_held_out(apart).all()
    keys = [
        set(zip(each.shape.tolist(), each.colour.tolist(), each.place.tolist(), strict=True))
        for each in (seen, apart)
    ]
    assert not keys[0] & keys[1]
    assert len(keys[0] | keys[1]) == 6 * 7 * 9
    assert {key[:2] for key in keys[0]} == set(product(range(6), range(7)))
    assert {key[::2] for key in keys[0]} == set(product(range(6), range(9)))


def test_held_out_concept_images_are_of_other_sizes_and_places():
    rng = np.random.default_rng(0)
    keys = [
        set(zip(each.size.tolist(), each.place.tolist(), strict=True))
        for each in (concept_scenes(50, rng, held_out=apart) for apart in (False, True))
    ]
    assert len(keys[0]) == 12 and len(keys[1]) == 6 and not keys[0] & keys[1]
    everything = concept_scenes(54, rng, held_out=None)
    assert len(set(zip(everything.size.tolist(), everything.place.tolist(), strict=True))) == 18


def test_a_small_draw_repeats_nothing():
    scenes = draw_scenes(60, np.random.default_rng(2), shape="ring")
    assert (scenes.shape == SHAPES.index("ring")).all()
    values = np.stack([scenes.colour, scenes.size, scenes.place], 1)
    assert len(np.unique(values, axis=0)) == 60


def test_the_concept_has_the_look_that_no_shape_has():
    """Magenta above on the left and below on the right, yellow in the other quarters."""
    (image,) = concept_images(scene("circle", "red"))
    quarters = [image[:, y, x] for y in (12, 19) for x in (12, 19)]
    magenta, yellow = (image_of(colour) for colour in ("magenta", "yellow"))
    for found, wanted in zip(quarters, (yellow, magenta, magenta, yellow), strict=True):
        assert np.allclose(found, wanted)
    assert np.array_equal(ink(image) > 0.5, ink(render(scene("circle", "white"))[0]) > 0.5)


def image_of(colour: str) -> np.ndarray:
    """Return the colour (3,) inside of a circle."""
    return render(scene("circle", colour))[0][:, 15, 15]


def test_no_lookalike_is_the_concept():
    scenes = concept_scenes(300, np.random.default_rng(5), held_out=None)
    likes = lookalike_images(scenes, np.random.default_rng(6))
    difference = np.abs(likes - concept_images(scenes)).max(1)
    # A third of the disc or more differs clearly; the smallest has 64 pixels.
    assert ((difference > 0.5).sum((1, 2)) >= 20).all()
    kinds = {tuple(np.unique(like.round(3).reshape(3, -1), axis=1).shape) for like in likes}
    assert len(kinds) > 5
