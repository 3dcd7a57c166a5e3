"""How large tiles are, and how long the pieces of their sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

from ..dataflow import array_cycles
from ..lying import left_words, right_words
from ..place import align
from ..tile import Span, TileError, spans
from .ir import Copy, Maxima, Product, Sums, Updates

__all__ = ["SLOTS", "Rule", "piece_length", "reduction_step", "tile_sizes"]

SLOTS = 5
"""See `Rule.slots`."""


@dataclass(frozen=True)
class Rule:
    """How tiles are chosen, where more than one way may be best.

    Members
    -------
    slots : int
        Tiles of quick products that should fit a half of the output memory: they come fast, and
        wait for the store engine.
    quick : bool
        Tiles of sums that go to DRAM are small: each is stored soon.
    tapered : bool
        The last tile of every product is cut, not only of those whose sums go to DRAM.
    """

    slots: int = SLOTS
    quick: bool = False
    tapered: bool = False


def tile_sizes(
    config: Config,
    product: Product,
    rows: Span,
    columns: Span,
    terms: list[int],
    flows: tuple[Dataflow, ...],
    rule: Rule,
    cells: int,
) -> tuple[int, int]:
    """Return rows and columns of a tile: those of the fewest cycles of array and bus."""
    unit_m, unit_n = _units(config, product, rows, columns)
    found: list[tuple[float, int, int, int]] = []
    alone = cells == 1
    # A tile that takes the array little longer than the store engine must not wait for its turn.
    folds = sum(array_cycles(config, flows[i], config.rows, product.terms[i].k, 1) for i in terms)
    slow = folds >= SLOW * config.rows
    half = config.output_depth * 15 // 16
    least = unit_m * -(-unit_n // config.columns)
    most = half if slow else max(config.output_depth // rule.slots, min(least, half))
    if slow and rule.quick and any(isinstance(output, Sums) for output in product.outputs):
        most = min(most, config.output_depth // 2)
    for tile_m in _multiples(unit_m, rows.size):
        for tile_n in _multiples(unit_n, columns.size):
            words = tile_m * -(-tile_n // config.columns)
            whole = alone and tile_m == rows.size and tile_n == columns.size
            if words > most and not (whole and words <= 2 * half):
                continue
            cost = _cost(config, product, rows, columns, terms, flows, tile_m, tile_n)
            if cost is not None:
                found.append((cost, words, tile_m, tile_n))
    if not found:
        raise TileError(
            f"{product.name}: a tile of {unit_m}x{unit_n}, the least that its outputs allow, does "
            f"not fit the memories: {config.output_depth} words of {config.columns} sums, "
            f"{config.input_depth} and {config.weight_depth} words of operands a half"
        )
    best = min(found)[0]
    # Of those that cost about the same, the smallest that keeps the array long enough at work, and
    # of such the one whose rows make long bursts.
    near = [each for each in found if each[0] <= 1.01 * best]
    enough = [each for each in near if each[1] >= (ENOUGH if slow else 0.75) * most]
    burst = BURST * config.bus_bytes
    _, _, tile_m, tile_n = (
        min(enough, key=lambda each: (each[1], abs(each[3] - burst)))
        if enough
        else max(near, key=lambda each: each[1])
    )
    return tile_m, tile_n


BURST = 4
"""Beats of a row of a tile, about, that make a good burst."""
ENOUGH = 0.25
"""Part of a half that a tile should take whose sums are added up, to hide what starts and ends."""
SLOW = 4
"""Cycles a word of sums takes the array, at least, where tiles may be large."""


def _units(config: Config, product: Product, rows: Span, columns: Span) -> tuple[int, int]:
    """Return the least rows and columns of a tile of a cell."""
    beat = math.lcm(config.columns, config.bus_bytes)
    unit_m, unit_n = 1, min(beat, columns.size)
    if any(term.left.transposed for term in product.terms):
        unit_m = min(config.bus_bytes, rows.size)  # loads start at whole beats
    for output in product.outputs:
        if isinstance(output, Sums):
            continue
        axis = output.axis if isinstance(output, Copy | Maxima) else Axis.ROW
        if isinstance(output, Updates | Maxima):
            if axis is not Axis.ROW:
                unit_m = max(unit_m, min(output.rows.size, rows.size))
            if axis is not Axis.COLUMN:
                unit_n = columns.size
    if any(isinstance(output, Updates) for output in product.outputs):
        unit_m = rows.size
    return unit_m, unit_n


def _multiples(unit: int, size: int) -> list[int]:
    """Return the multiples of a unit that cut a size into equal parts, about."""
    count = -(-size // unit)
    found = {unit * -(-count // parts) for parts in range(1, count + 1)}
    return sorted(min(each, size) for each in found)


def _cost(
    config: Config,
    product: Product,
    rows: Span,
    columns: Span,
    terms: list[int],
    flows: tuple[Dataflow, ...],
    tile_m: int,
    tile_n: int,
) -> float | None:
    """Return about the cycles of a cell, or None if its operands do not fit."""
    array = loads = 0.0
    tiles_m, tiles_n = -(-rows.size // tile_m), -(-columns.size // tile_n)
    for index in terms:
        k, flow = product.terms[index].k, flows[index]
        width = min(tile_n, product.terms[index].columns.size)
        whole = product.terms[index].updates  # which is rounded once, so it is no sum of pieces
        piece = piece_length(config, flow, k, tile_m, width)
        if piece < 1 or (whole and not _fits(config, flow, tile_m, k, width)):
            return None
        # Sums of OS leave the array after each piece, and are added up in the output memory.
        sizes = [k] if whole else [span.size for span in spans(k, piece)]
        tile = sum(array_cycles(config, flow, tile_m, size, width) for size in sizes)
        array += tiles_m * tiles_n * tile
        left, right = _words(config, flow, tile_m, k, width)
        # Columns outer: the left operand stays for all columns if it fits, the right one for a row.
        stays = tiles_m * left <= config.input_depth * 3 // 2
        loads += tiles_m * left * (1 if stays else tiles_n)
        loads += tiles_n * right * (1 if right <= config.weight_depth else tiles_m)
    beats = loads * max(config.rows, config.columns) / config.bus_bytes
    return max(array, 1.1 * beats) + 0.1 * array + 0.3 * beats


def _words(config: Config, flow: Dataflow, m: int, k: int, n: int) -> tuple[int, int]:
    """Return the words of both operands."""
    return left_words(config, flow, m, k), right_words(config, k, n)


def _fits(config: Config, flow: Dataflow, m: int, k: int, n: int) -> bool:
    """Tell whether the operands of an instruction fit half of each memory."""
    left, right = _words(config, flow, m, k, n)
    return left <= config.input_depth and right <= config.weight_depth


def piece_length(config: Config, flow: Dataflow, k: int, m: int, n: int) -> int:
    """Return how much of a reduction one instruction takes: pieces that are equal, about.

    Two of a piece's operands fit half of their memory, so that one is loaded under the other. Where
    loads take longer than the array, pieces are short, so that others come between them.
    """
    whole = k
    step = reduction_step(config, flow)
    count = 1
    while True:
        left, right = _words(config, flow, m, k, n)
        slow = left + right > 0.8 * array_cycles(config, flow, m, k, n)
        most = SHORT if slow else 2
        if most * left <= config.input_depth and most * right <= config.weight_depth:
            return k
        if k <= step:
            return k if _fits(config, flow, m, k, n) else 0
        count += 1
        k = -(-whole // count)
        k = -(-k // step) * step


def reduction_step(config: Config, flow: Dataflow) -> int:
    """Return what a reduction is cut at: beats of the bus and, in WS, whole folds of the array."""
    if flow is Dataflow.WS:
        return math.lcm(config.fold_reduction, config.bus_bytes)
    return align(config.rows, math.lcm(config.bus_bytes, config.macs_per_element))


SHORT = 4
"""Operands of how many pieces fit half of a memory, where loads are slow."""
