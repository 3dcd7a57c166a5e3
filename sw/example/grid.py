"""Images side by side: rows by method, columns by caption."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from ..plotting import figure_style, render

__all__ = ["image_grid"]

_INCHES = 0.9  # of a side of an image


def image_grid(rows: Mapping[str, np.ndarray], captions: Sequence[str]) -> bytes:
    """Return a PNG of images, the same bytes for the same images.

    Parameters
    ----------
    rows : mapping of str to ndarray
        Images of each method, float32 (captions, 3, height, width) in [-1, 1].
    captions : sequence of str
        One a column.

    Raises
    ------
    ValueError
        There is no row, or one has not an image for every caption.
    """
    if not rows or not captions:
        raise ValueError("a grid has at least one row and one column")
    for name, images in rows.items():
        if images.ndim != 4 or images.shape[:2] != (len(captions), 3):
            raise ValueError(
                f"{name} is of shape {images.shape}, not ({len(captions)}, 3, height, width)"
            )
    from matplotlib.figure import Figure

    with figure_style():
        across, down = _INCHES * len(captions) + 1.2, _INCHES * len(rows) + 0.7
        figure = Figure(figsize=(across, down), layout="constrained")
        axes = figure.subplots(len(rows), len(captions), squeeze=False)
        for row, (name, images) in zip(axes, rows.items(), strict=True):
            for axis, image in zip(row, images, strict=True):
                # Nearest: every pixel of the model is to be seen as it is.
                axis.imshow(_bytes(image), interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
            row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, caption in zip(axes[0], captions, strict=True):
            axis.set_title(textwrap.fill(caption, 14), fontsize=6)
        return render(figure, ".png")


def _bytes(image: np.ndarray) -> np.ndarray:
    """Return (height, width, 3) of bytes, as viewers want it."""
    scaled = np.clip((image + 1) * 127.5, 0, 255).round()
    return scaled.astype(np.uint8).transpose(1, 2, 0)
