"""The language of the captions: a fixed vocabulary, and captions as token ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = [
    "COLOURS",
    "COLUMNS",
    "MODIFIER",
    "MODIFIER_ID",
    "PATTERNS",
    "ROWS",
    "SHAPES",
    "SIZES",
    "TOKENS",
    "WORDS",
    "caption",
    "tokenise",
]

SHAPES = ("circle", "square", "triangle", "ring", "cross")
COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan")
PATTERNS = ("plain", "halved", "banded")
SIZES = ("small", "large")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "centre", "right")

MODIFIER = "<new1>"
"""The word without a meaning, which fine-tuning binds to the concept."""

_START, _END = "<start>", "<end>"
WORDS = (_START, _END, "a", "at", "the", *SIZES, *COLOURS, *PATTERNS, *SHAPES, *ROWS,
         *COLUMNS, MODIFIER)  # fmt: skip
"""The vocabulary, by token id."""

MODIFIER_ID = WORDS.index(MODIFIER)
"""Token id of the modifier: the last one."""

TOKENS = 12
"""Tokens of every caption: the longest has start, ten words and one end; shorter ones more."""

_IDS = {word: index for index, word in enumerate(WORDS)}


def caption(
    shape: str, look: str, size: str | None = None, place: tuple[str, str] | None = None
) -> str:
    """Return a caption such as ``a small red halved blue circle at the top left``.

    Parameters
    ----------
    shape : str
        A word of `SHAPES`.
    look : str
        A word of `COLOURS`, or two about a pattern, as in ``red halved blue``, or the modifier.
    size : str, optional
        A word of `SIZES`.
    place : (str, str), optional
        Words of `ROWS` and `COLUMNS`.
    """
    words = ["a", *([size] if size else []), look, shape]
    return " ".join([*words, *(["at", "the", *place] if place else [])])


def tokenise(captions: Sequence[str]) -> np.ndarray:
    """Return captions as token ids, int64 of shape (captions, `TOKENS`).

    Each begins with the start token and is filled up with end tokens; the empty caption, which
    the sampler guides away from, has nothing between.

    Raises
    ------
    ValueError
        A word is not in the vocabulary, or a caption is too long.
    """
    ids = np.full((len(captions), TOKENS), _IDS[_END], np.int64)
    ids[:, 0] = _IDS[_START]
    for row, text in zip(ids, captions, strict=True):
        words = text.split()
        for word in words:
            if word not in _IDS:
                raise ValueError(f"no word {word!r} in the vocabulary: {' '.join(WORDS)}")
        if len(words) > TOKENS - 2:
            raise ValueError(
                f"a caption has at most {TOKENS - 2} words, not {len(words)}: {text!r}"
            )
        row[1 : 1 + len(words)] = [_IDS[word] for word in words]
    return ids
