"""Folds of all execute instructions of a program as a table: `hw.walk.Walk`, all at once.

A fold is one stationary tile with its waves (WS), or one tile of sums (OS). Addresses matter for
timing only by the bank of an operand, which is the lowest bit but for those that choose among words
that are read together, and by the bank and the half that a
result lies in, so a result within one half has one of two bases wherever it lies there: folds that
take the same time are the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Dataflow, Engine

from .record import record

__all__ = ["FOLD", "expand"]

FOLD = record(
    os=1, waves=1, macs=1, last_macs=1, end=1, signal_store=1, accumulate=1, turn=1,
    left=1, left_stride=1, right=1, right_stride=1, right_rows=1, out=1, out_stride=1, out_rows=1,
)  # fmt: skip
"""A fold as `hw.walk.fold_layout` has it, but with the first address of a turn, too. `macs` are
those of a wave, `last_macs` those of the last. Addresses and strides of operands are banks; those
of results, modulo the words of the memory: of what lies in one half, they are the first or last
word of that half, and 0, 1 or -1.
`out_rows` are rows of results, in WS the waves; `right_rows`, in WS alone, are reads of the
stationary tile: its rows, as many at once as an element has products."""


def expand(config: Config, code: np.ndarray) -> np.ndarray:
    """Return the folds of a program, and note in its table which are whose.

    Parameters
    ----------
    config : Config
    code : array of CODE
        The instructions. `first_fold` and `folds` of those that execute are filled in.

    Returns
    -------
    array of FOLD
        In program order; never empty, so that there is always one to point to.

    Notes
    -----
    Addresses are those of `hw.walk`. WS walks column blocks and inside them folds of the
    reduction, OS row blocks and inside them column blocks.
    """
    at = np.flatnonzero(code["engine"] == Engine.EXECUTE)
    e = code[at]
    is_os = e["dataflow"] == Dataflow.OS
    row_extent = np.where(is_os, e["rows"], e["reduction"])
    row_blocks = -(-row_extent // np.where(is_os, config.rows, config.fold_reduction))
    column_blocks = -(-e["columns"] // config.columns)
    counts = row_blocks * column_blocks
    firsts = np.cumsum(counts) - counts
    code["first_fold"][at], code["folds"][at] = firsts, counts

    which = np.repeat(np.arange(len(at)), counts)
    index = np.arange(len(which)) - firsts[which]
    inner = np.where(is_os, column_blocks, row_blocks)[which]
    outer_at, inner_at = np.divmod(index, inner)
    os = is_os[which]
    row_block = np.where(os, outer_at, inner_at)
    column_block = np.where(os, inner_at, outer_at)

    folds = np.zeros(max(1, len(which)), FOLD)
    used = folds[: len(which)]
    products = config.macs_per_element
    most = np.where(os, config.rows, config.fold_reduction)
    along_rows = np.minimum(most, row_extent[which] - row_block * most)
    columns = e["columns"][which] - column_block * config.columns
    used["os"] = os
    used["waves"] = np.where(is_os, -(-e["reduction"] // products), e["rows"])[which]
    pairs = along_rows * np.minimum(config.columns, columns)
    used["macs"] = pairs * np.where(os, np.minimum(products, e["reduction"][which]), 1)
    used["last_macs"] = pairs * np.where(os, (e["reduction"][which] - 1) % products + 1, 1)
    used["end"] = index == counts[which] - 1
    used["signal_store"] = e["signal_store"][which] & used["end"]
    used["turn"] = ~os & (row_block > 0)
    used["accumulate"] = e["accumulate"][which] | used["turn"]
    used["right_rows"] = np.where(os, 0, -(-along_rows // products))
    used["out_rows"] = np.where(os, along_rows, used["waves"])
    _addresses(config, used, lambda name: e[name][which], row_block, column_block)
    return folds


def _addresses(
    config: Config,
    folds: np.ndarray,
    field: Callable[[str], np.ndarray],
    row_block: np.ndarray,
    column_block: np.ndarray,
) -> None:
    """Fill in the addresses of folds; `field` returns a field of the instruction of each."""
    os, skipped, products = folds["os"] == 1, row_block * config.rows, config.macs_per_element
    # Every other fold of a reduction goes back, from the last row on.
    back = ~os & (row_block % 2 == 1)
    behind = np.where(back, folds["waves"] - 1, 0)
    together = np.where(os, 1, products)
    left = field("left_base") + row_block * together * field("left_block_stride")
    left += behind * field("left_row_stride")
    right = field("right_base") + column_block * field("right_block_stride")
    right += np.where(os, 0, skipped * together * field("right_row_stride"))
    # From read to read: along the reduction words follow one another, so many at once.
    strides = {
        "left": field("left_row_stride") // together,
        "right": field("right_row_stride"),
    }
    stride = field("out_row_stride")
    out = field("out_base") + column_block * field("out_block_stride")
    out += np.where(os, skipped, behind) * stride
    right_words = np.where(os, folds["waves"], folds["right_rows"])
    for name, base, words in (("left", left, folds["waves"]), ("right", right, right_words)):
        # Memories hold an even number of reads: going round does not change the bank.
        folds[name] = base // products % 2
        folds[f"{name}_stride"] = np.where(words > 1, strides[name] % 2, 0)
    folds["out"], folds["out_stride"] = _halves(
        out, np.where(back, -stride, stride), folds["out_rows"], config.output_depth
    )


def _halves(
    base: np.ndarray, stride: np.ndarray, words: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return base and stride of `words` words with nothing in them but which banks they touch."""
    base, stride = base % (2 * depth), stride % (2 * depth)
    # A step, in the direction in which it is at most half of the memory, cannot jump over a half:
    # words lie in one half if, on this line, the last one does not lie beyond it.
    step = np.where(stride < depth, stride, stride - 2 * depth)
    last = base % depth + (words - 1) * step
    within = (last >= 0) & (last < depth)
    # Even ones go up from the first word, odd ones down from the last: so all have room.
    odd, turns = base % 2, stride % 2 * (words > 1)
    first = base - base % depth + odd * (depth - 1)
    return (
        np.where(within, first, base),
        np.where(within, np.where(odd, -turns % (2 * depth), turns), stride),
    )
