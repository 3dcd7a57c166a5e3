"""What a tile of a step's products is held to cost."""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sw.graph.ir import Product, Sums, Term, View
from sw.graph.tile_size import _cost, piece_length
from sw.tile import Span

SIZE = 16
ARRAY = Config(bus_bytes=64, input_depth=512, weight_depth=512)
"""4x4; half of a memory holds 512 words, and the bus brings them faster than they are used."""


def product(k: int) -> Product:
    """Return a product of `SIZE` rows and columns whose sums go to DRAM."""
    side, reduction = Span(0, SIZE), Span(0, k)
    term = Term(side, side, View("A", side, reduction), View("B", reduction, side))
    return Product("C", "", SIZE, SIZE, (term,), (Sums(side, side, View("C", side, side)),))


def cost(config: Config, dataflow: Dataflow, k: int, tile: tuple[int, int]) -> float:
    """Return about the cycles of a product in tiles of a size."""
    side = Span(0, SIZE)
    found = _cost(config, product(k), side, side, [0], (dataflow,), *tile)
    assert found is not None
    return found


@pytest.mark.parametrize("tile", [(16, 16), (8, 16), (16, 4)])
@pytest.mark.parametrize("k,pieces", [(64, 1), (640, 10), (600, 10)])
def test_each_piece_of_os_lets_its_sums_out(k: int, pieces: int, tile: tuple[int, int]) -> None:
    """A drain that nothing hides takes R - 1 cycles for each fold of each piece."""
    overlapped, alone = (ARRAY.replace(drain_overlap=each) for each in (1, 0))
    assert piece_length(alone, Dataflow.OS, k, *tile) * pieces >= k > 64 * (pieces - 1)
    folds = (SIZE // ARRAY.rows) * (SIZE // ARRAY.columns) * pieces
    more = cost(alone, Dataflow.OS, k, tile) - cost(overlapped, Dataflow.OS, k, tile)
    assert more == pytest.approx(1.1 * folds * (ARRAY.rows - 1))
    assert cost(alone, Dataflow.WS, k, tile) == cost(overlapped, Dataflow.WS, k, tile)
