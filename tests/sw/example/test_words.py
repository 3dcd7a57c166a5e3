"""Captions as tokens."""

import numpy as np
import pytest

from sw.example.shapes import concept_scenes, draw_scenes
from sw.example.words import (
    COLOURS,
    MODIFIER,
    MODIFIER_ID,
    SHAPES,
    SIZES,
    TOKENS,
    WORDS,
    caption,
    tokenise,
)


def test_a_caption_reads_as_a_sentence_and_its_tokens_as_its_words():
    text = caption("circle", "red", "small", ("top", "left"))
    assert text == "a small red circle at the top left"
    (ids,) = tokenise([text])
    assert ids.dtype == np.int64
    assert [WORDS[index] for index in ids] == ["<start>", *text.split(), *["<end>"] * 3]


def test_the_longest_caption_fits():
    text = caption("circle", "red halved blue", "small", ("top", "left"))
    assert text == "a small red halved blue circle at the top left"
    (ids,) = tokenise([text])
    assert [WORDS[index] for index in ids] == ["<start>", *text.split(), "<end>"]


@pytest.mark.parametrize(
    "size,place,text",
    [
        (None, None, "a red circle"),
        ("large", None, "a large red circle"),
        (None, ("middle", "right"), "a red circle at the middle right"),
    ],
)
def test_size_and_place_may_be_left_out(size, place, text):
    assert caption("circle", "red", size, place) == text
    (ids,) = tokenise([text])
    assert [WORDS[index] for index in ids[len(text.split()) + 1 :]] == ["<end>"] * (
        TOKENS - 1 - len(text.split())
    )


def test_the_empty_caption_is_start_and_ends():
    (ids,) = tokenise([""])
    assert [WORDS[index] for index in ids] == ["<start>"] + ["<end>"] * (TOKENS - 1)


def test_words_are_distinct_and_the_modifier_is_the_last():
    assert len(set(WORDS)) == len(WORDS)
    assert WORDS[MODIFIER_ID] == MODIFIER == WORDS[-1]


def test_unknown_words_and_long_captions_are_refused():
    with pytest.raises(ValueError, match="no word 'purple' in the vocabulary: <start> <end> a "):
        tokenise(["a red circle", "a purple circle"])
    with pytest.raises(ValueError, match="at most 10 words, not 11: 'a a a a a a a a a a a'"):
        tokenise(["a " * 10 + "a"])


def test_only_captions_of_the_concept_have_the_modifier():
    rng = np.random.default_rng(0)
    ordinary = draw_scenes(200, rng)
    ids = tokenise(ordinary.captions(varied=rng))
    assert MODIFIER_ID not in ids
    assert {WORDS[index] for index in ids.ravel()} >= {*SHAPES, *COLOURS}
    ids = tokenise(concept_scenes(50, rng).captions(modifier=True))
    assert (ids == MODIFIER_ID).sum(1).tolist() == [1] * 50
    assert not np.isin(ids, [WORDS.index(colour) for colour in COLOURS]).any()


def test_varied_captions_leave_out_some_of_everything():
    rng = np.random.default_rng(1)
    texts = draw_scenes(400, rng).captions(varied=rng)
    assert 15 < texts.count("") < 80
    told = [text.split() for text in texts if text]
    assert 0.1 < np.mean(["at" not in words for words in told]) < 0.3
    assert 0.1 < np.mean([words[1] not in SIZES for words in told]) < 0.3
    assert 0.3 < np.mean(["halved" in words or "banded" in words for words in told]) < 0.7
