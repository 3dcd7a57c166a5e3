"""What an order of work is made of, and what it is made by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Policy", "Work"]


@dataclass(frozen=True)
class Policy:
    """What an order is made by. Times are in cycles of the array.

    Members
    -------
    even : bool
        Products that can go on advance together; otherwise the one comes next whose operands are
        there first.
    whole : bool
        Large tiles are not interrupted, so that what others store need not wait for them.
    chunk : int
        How long one stays at work before another takes over.
    ahead : int
        How long before it is needed what others wait for is made.
    run : int
        How far loads run ahead of the array, as the memories allow, about.
    lag : int
        How far those that read others keep behind, to have work left when these have ended.
    """

    even: bool = True
    whole: bool = True
    chunk: int = 2000
    ahead: int = 3000
    run: int = 4000
    lag: int = 3000


@dataclass(frozen=True)
class Work:
    """A piece of a tile, or an output of a tile.

    Members
    -------
    product, tile : int
        Place of the product in its segment, of the tile in its product.
    piece : int
        Place of the piece in its tile; -1 for an output.
    output : int
        Place of the output in its product; -1 for a piece.
    base : int
        First word of the tile in the output memory.
    """

    product: int
    tile: int
    piece: int
    output: int
    base: int
