"""How an operand lies in its memory: words that the array reads at once are side by side.

An element multiplies `Config.macs_per_element` pairs along the reduction in a cycle, so that many
words along it follow one another, from a multiple of their number on. In WS the left operand's
reduction is along its blocks; else it is along the rows of an operand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hw.isa.config import Config
from hw.isa.instructions import Dataflow

__all__ = ["Lying", "left_words", "lying", "right_words", "up"]


class Lying(NamedTuple):
    """Strides of an operand on the chip, and the words that it takes there."""

    row_stride: int
    block_stride: int
    words: int


def up(extent: Any, granule: int) -> Any:
    """Return the least multiple of a granule that is not below `extent`; it may be an array."""
    return -(-extent // granule) * granule


def lying(
    config: Config, rows: int, blocks: int, *, by_row: bool = False, spread: bool = False
) -> Lying:
    """Return how an operand of so many rows and blocks lies.

    Parameters
    ----------
    by_row : bool
        The reduction is along its blocks: if the array reads several words at once, they are those
        of a row.
    spread : bool
        Blocks of a row, which a load writes one after the other, lie in the banks by turns.
    """
    together = config.macs_per_element
    if by_row and together > 1:
        row = up(blocks, together)
        return Lying(row, 1, rows * row)
    reads = -(-rows // together)
    stride = (reads | 1 if spread else reads) * together
    return Lying(1, stride, reads * together + (blocks - 1) * stride)


def left_words(config: Config, dataflow: Dataflow, m: Any, k: Any) -> Any:
    """Return the words of a left operand without gaps between blocks; sizes may be arrays."""
    together = config.macs_per_element
    if dataflow is Dataflow.WS:
        return m * up(-(-k // config.rows), together)
    return up(k, together) * -(-m // config.rows)


def right_words(config: Config, k: Any, n: Any) -> Any:
    """Return the words of a right operand without gaps between blocks; sizes may be arrays."""
    return up(k, config.macs_per_element) * -(-n // config.columns)
