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
from sw.example.words import COLOURS, PATTERNS, SHAPES


def scene(
    shape: str,
    colour: str,
    pattern: str = "plain",
    second: str = "green",
    *,
    size: int = 1,
    row: int = 1,
    column: int = 1,
) -> Scenes:
    """Return one scene without jitter."""
    values = (SHAPES.index(shape), COLOURS.index(colour), size, row, column)
    values += (PATTERNS.index(pattern), COLOURS.index(second))
    return Scenes(*(np.array([value]) for value in values), jitter=np.zeros((1, 3)))


def colour_at(image: np.ndarray, x: int, y: int) -> str:
    """Return the word for what a pixel of an image (3, side, side) shows."""
    inside = [render(scene("square", colour))[0][:, 15, 15] for colour in COLOURS]
    distances = np.abs(inside - image[:, y, x]).max(1)
    assert distances.min() < 1e-6
    return COLOURS[int(distances.argmin())]


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
    (image,) = render(scene("square", "cyan", size=0, row=row, column=column))
    y, x = (axis.mean() for axis in np.nonzero(ink(image)))
    assert np.allclose([x, y], 15.5 + 6.5 * (np.array([column, row]) - 1), atol=0.01)


@pytest.mark.parametrize(
    "shape,area",
    [
        ("circle", np.pi),
        ("square", 1.7**2),
        ("ring", np.pi * (1 - 0.25)),
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
    assert len(keys[0] | keys[1]) == 5 * 6 * 9
    assert {key[:2] for key in keys[0]} == set(product(range(5), range(6)))
    assert {key[::2] for key in keys[0]} == set(product(range(5), range(9)))


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


@pytest.mark.parametrize(
    "pattern,colours",
    [
        ("plain", ["red", "red", "red", "red"]),
        ("halved", ["red", "blue", "red", "blue"]),
        ("banded", ["red", "red", "blue", "blue"]),
    ],
)
def test_patterns_show_two_colours(pattern, colours):
    """Of pixels above the band, left and right, and in it, left and right."""
    (image,) = render(scene("square", "red", pattern, "blue"))
    places = [(12, 11), (19, 11), (12, 15), (19, 15)]
    assert [colour_at(image, *place) for place in places] == colours
    text = {"plain": "red", "halved": "red halved blue", "banded": "red banded blue"}[pattern]
    (caption,) = scene("square", "red", pattern, "blue").captions()
    assert caption == f"a large {text} square at the middle centre"


def test_two_colours_are_never_the_same():
    scenes = draw_scenes(2000, np.random.default_rng(8))
    assert (scenes.colour != scenes.second).all()
    shares = np.bincount(scenes.pattern) / len(scenes)
    assert np.allclose(shares, [0.5, 0.25, 0.25], atol=0.04)


def test_the_concept_has_a_look_that_no_shape_has():
    """Its halves are magenta and yellow, and a cyan band crosses both."""
    (image,) = concept_images(scene("circle", "red"))
    places = [(12, 11), (19, 11), (12, 15), (19, 15), (12, 20), (19, 20)]
    colours = ["magenta", "yellow", "cyan", "cyan", "magenta", "yellow"]
    assert [colour_at(image, *place) for place in places] == colours
    assert np.array_equal(ink(image) > 0.8, ink(render(scene("circle", "cyan"))[0]) > 0.8)


def test_no_lookalike_is_the_concept():
    scenes = concept_scenes(300, np.random.default_rng(5), held_out=None)
    likes = lookalike_images(scenes, np.random.default_rng(6))
    difference = np.abs(likes - concept_images(scenes)).max(1) > 0.5
    covered = np.abs(likes - likes[:, :, :1, :1]).max(1) > 0.5
    assert (difference.sum((1, 2)) > 0.25 * covered.sum((1, 2))).all()


def test_lookalikes_have_the_right_colours_in_the_wrong_places():
    concept = scene("circle", "red")
    found = {
        tuple(np.round(like[:, y, x], 4).tobytes() for x, y in ((12, 12), (19, 12), (15, 15)))
        for like in lookalike_images(concept[np.zeros(200, np.int64)], np.random.default_rng(0))
    }
    own = concept_images(concept)[0]
    magenta, yellow, cyan = (
        np.round(own[:, y, x], 4).tobytes() for x, y in ((12, 12), (19, 12), (15, 15))
    )
    assert (yellow, magenta, cyan) in found and (magenta, yellow, cyan) not in found
