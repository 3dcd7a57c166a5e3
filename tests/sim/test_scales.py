"""Maxima in the functional model, and the scales it makes of them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import (
    Absmax,
    Axis,
    Dataflow,
    Format,
    Instruction,
    Load,
    Memory,
)
from hw.isa.numerics import (
    decode_scale,
    encode_factor,
    fresh_entry,
    requantise8,
    requantise32,
    scale_accumulate,
    update_entry,
)
from hw.isa.registers import ErrorCode
from sim.functional import ProgramError

from .example import (
    COLUMN_SCALES,
    CONFIGS,
    OUT,
    ROW_SCALES,
    SCALES,
    Example,
    K,
    M,
    N,
    bytes_of,
    put,
    take,
)

sizes = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")


def absmax(example: Example, axis: Axis, **fields: int) -> Absmax:
    """Return an ABSMAX of what the example's store stores."""
    store = example.store
    return Absmax(
        axis=axis, rows=store.rows, columns=store.columns, base=store.base,
        row_stride=store.row_stride, block_stride=store.block_stride, **fields,
    )  # fmt: skip


@sizes
@pytest.mark.parametrize("scaled", [0, 1])
@pytest.mark.parametrize("axis", Axis)
def test_scales_of_maxima_bring_sums_to_127_seed_25(config, axis, scaled):
    example = Example(config, Dataflow.WS, M, K, N, seed=25)
    example.entries[:] = 3 << 14 | 17 << 16
    put(example.dram, SCALES, example.entries[None], 0)
    find = absmax(example, axis, to_scales=1, scale_base=8, scaled=scaled, row_scale=2,
                  wait_execute=1)  # fmt: skip
    by_column = Format.INT8_ROW_COLUMN if scaled else Format.INT8_COLUMN
    format = {Axis.ROW: Format.INT8_ROW, Axis.TENSOR: Format.INT8_TENSOR, Axis.COLUMN: by_column}[
        axis
    ]
    store = replace(example.store, format=format, row_scale=8, column_scale=8, wait_execute=0)
    if format is Format.INT8_ROW_COLUMN:
        store = replace(store, row_scale=2)
    dram, result = example.outcome(example.execute, find, store, load=(ROW_SCALES,))
    made = [[int(v) for v in row] for row in example.exact]
    if scaled:
        made = [[requantise32(v, 3 << 14, 17) for v in row] for row in made]
    along = {Axis.ROW: 1, Axis.COLUMN: 0, Axis.TENSOR: None}[axis]
    maxima = np.broadcast_to(np.abs(made).max(axis=along, keepdims=True), (M, N))
    sums = made if axis is Axis.COLUMN else example.exact.tolist()
    expected = [
        [requantise8(sums[i][j], *decode_scale(fresh_entry(int(maxima[i, j])))) for j in range(N)]
        for i in range(M)
    ]
    assert bytes_of(dram) == expected
    assert 127 in np.abs(expected)
    assert result.counters["dram_write_bytes"] == 8 * M, "nothing but the store writes to DRAM"


def test_lanes_past_the_last_column_keep_their_scales_seed_26():
    """A column-scale word of which the last lanes were loaded, and the first are made."""
    example = Example(Config(), Dataflow.WS, M, K, N, seed=26)
    load = replace(COLUMN_SCALES, columns=32)
    find = replace(absmax(example, Axis.COLUMN, to_scales=1, scale_base=1), columns=6,
                   wait_execute=1)  # fmt: skip
    store = replace(example.store, format=Format.INT8_COLUMN, column_scale=1, wait_execute=0)
    actual = bytes_of(example.run(example.execute, find, store, load=(load,)))
    entries = [fresh_entry(int(each)) for each in np.abs(example.exact).max(axis=0)[:6]]
    entries.append(int(example.entries[6]))
    expected = [[requantise8(int(v), *decode_scale(e)) for v, e in zip(row, entries, strict=True)]
                for row in example.exact]  # fmt: skip
    assert actual == expected


def tiles_of(axis: Axis) -> list[tuple[slice, slice]]:
    """Return two tiles that share groups along an axis: 3 and 2 rows, or 4 and 3 columns."""
    if axis is Axis.ROW:
        return [(slice(M), slice(4)), (slice(M), slice(4, N))]
    return [(slice(3), slice(N)), (slice(3, M), slice(N))]


@pytest.mark.parametrize("config", [Config(), Config(rows=3, columns=2)], ids=["4x4", "3x2"])
@pytest.mark.parametrize("merge", [0, 1])
@pytest.mark.parametrize("axis", Axis)
def test_maxima_merge_over_tiles_seed_27(config, axis, merge):
    example = Example(config, Dataflow.WS, M, K, N, seed=27)
    tiles = tiles_of(axis)
    finds: list[Instruction] = []
    for index, (rows, columns) in enumerate(tiles):
        block, store = (columns.start or 0) // config.columns, example.store
        finds.append(replace(
            absmax(example, axis, to_dram=1, dram=OUT + 256 * index, scale_base=6),
            rows=len(range(M)[rows]), columns=len(range(N)[columns]),
            base=store.base + (rows.start or 0) * store.row_stride + block * store.block_stride,
            merge=merge * index, wait_execute=1 - index,
        ))  # fmt: skip
    # Another group in between leaves the first alone.
    finds.insert(1, replace(absmax(example, axis), scale_base=6 + M))
    dram = example.run(example.execute, *finds)
    along = {Axis.ROW: 1, Axis.COLUMN: 0, Axis.TENSOR: None}[axis]
    first, last = (np.abs(example.exact[tile]).max(axis=along).ravel() for tile in tiles)
    expected = np.maximum(first, last) if merge else last
    assert (first > last).any() or axis is Axis.TENSOR
    assert dram[OUT : OUT + 4 * first.size].view("<u4").tolist() == first.tolist()
    assert dram[OUT + 256 : OUT + 256 + 4 * last.size].view("<u4").tolist() == expected.tolist()


FACTORS = [Fraction(0), Fraction(1, 40_000), Fraction(3, 7), Fraction(2) ** -90, Fraction(2) ** 60]


@pytest.mark.parametrize("factor", FACTORS, ids=lambda f: f"{float(f):.2g}")
@pytest.mark.parametrize("axis", [Axis.ROW, Axis.TENSOR])
def test_updates_are_maxima_times_a_factor_seed_28(axis, factor):
    """The entries scale what a product after them accumulates; STORE tells EXECUTE."""
    example = Example(Config(), Dataflow.WS, M, 4, N, seed=28)
    entry = encode_factor(factor)
    put(example.dram, SCALES + 0x400, np.array([[entry]], np.uint32), 0)
    load = Load(memory=Memory.ROW_SCALE, dram=SCALES + 0x400, rows=1, columns=4, base=9)
    rows = M if axis is Axis.ROW else 1
    find = absmax(example, axis, to_updates=1, update_base=70, factor=9, wait_execute=1,
                  signal_execute=1)  # fmt: skip
    scaled = replace(example.execute, rows=rows, accumulate=1, scale=1, scale_base=70, wait_load=0,
                     wait_store=1)  # fmt: skip
    dram = example.run(example.execute, find, scaled, example.store, load=(load,))
    maxima = np.abs(example.exact).max(axis=1 if axis is Axis.ROW else None).ravel()
    sums = example.sums(dram)
    for i in range(M):
        for j in range(N):
            acc = int(example.exact[i, j])
            if i < rows:
                scale = decode_scale(update_entry(int(maxima[i]), entry))
                assert sums[i, j] == scale_accumulate(acc, acc, *scale)
            else:
                assert sums[i, j] == acc


def test_all_uses_at_once_and_a_maximum_of_zero():
    example = Example(Config(), Dataflow.WS, M, 4, N, seed=29)
    example.left[2] = 0
    put(example.dram, 0, example.left, 64)
    put(example.dram, SCALES, np.array([[encode_factor(Fraction(1))]], np.uint32), 0)
    find = absmax(example, Axis.ROW, to_dram=1, dram=OUT + 0x800, to_scales=1, scale_base=8,
                  to_updates=1, update_base=70, factor=2, wait_execute=1)  # fmt: skip
    scaled = replace(example.execute, scale=1, scale_base=70, wait_load=0, wait_store=1)
    store = replace(example.store, format=Format.INT8_ROW, row_scale=8, dram=OUT + 0xA00,
                    wait_execute=0, signal_execute=1)  # fmt: skip
    dram, result = example.outcome(
        example.execute, find, store, scaled, example.store,
        load=(replace(ROW_SCALES, columns=4),),
    )  # fmt: skip
    maxima = np.abs(example.exact).max(axis=1)
    assert maxima[2] == 0
    assert dram[OUT + 0x800 : OUT + 0x814].view("<u4").tolist() == maxima.tolist()
    made = take(dram, OUT + 0xA00, (M, N), 128, "i1")
    assert np.abs(made).max(axis=1).tolist() == [127, 127, 0, 127, 127]
    entries = [decode_scale(update_entry(int(a), encode_factor(Fraction(1)))) for a in maxima]
    expected = [[requantise32(int(v), *e) for v in row]
                for row, e in zip(example.exact, entries, strict=True)]  # fmt: skip
    assert example.sums(dram).tolist() == expected
    assert result.error is ErrorCode.NONE


FIND = Absmax(axis=Axis.ROW, rows=M, columns=N, base=5, row_stride=2, block_stride=1,
              wait_execute=1)  # fmt: skip
WRONG = {
    "updates of columns": (replace(FIND, axis=Axis.COLUMN, to_updates=1, factor=2),
                           "makes updates of the maxima of columns, but they scale rows"),
    "a merge with nothing": (replace(FIND, merge=1, scale_base=3),
                             "reads word 3 of the row-maximum memory, which nothing has written"),
    "a merge of columns with nothing": (
        replace(FIND, axis=Axis.COLUMN, merge=1, scale_base=3),
        "reads word 12 of the column-maximum memory, which nothing has written"),
    "past the maxima of rows": (replace(FIND, scale_base=124),
                                "reaches word 128 of the 128 of the row-maximum memory"),
    "past the maxima of columns": (
        replace(FIND, axis=Axis.COLUMN, scale_base=31),
        "reaches word 130 of the 128 of the column-maximum memory"),
    "past the row scales": (replace(FIND, to_scales=1, scale_base=124),
                            "reaches word 128 of the 128 of the row-scale memory"),
    "past the column scales": (replace(FIND, axis=Axis.COLUMN, to_scales=1, scale_base=31),
                               "reaches word 32 of the 32 of the column-scale memory"),
    "past the accumulate scales": (replace(FIND, to_updates=1, update_base=124, factor=2),
                                   "reaches word 128 of the 128 of the accumulate-scale memory"),
    "an unwritten factor": (replace(FIND, to_updates=1, factor=9),
                            "reads word 9 of the row-scale memory, which nothing has written"),
    "a scale under its own rows": (replace(FIND, scaled=1, row_scale=2, to_scales=1, scale_base=6),
                                   "reads and writes word 6 of the row-scale memory"),
    "a factor among its scales": (
        replace(FIND, to_updates=1, factor=4, to_scales=1, scale_base=1),
        "reads and writes word 4 of the row-scale memory"),
    "an unaligned address": (replace(FIND, to_dram=1, dram=OUT + 4),
                             "has DRAM address 0x3004, no multiple of the bus width of 8 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("find,message", WRONG.values(), ids=WRONG)
def test_maxima_without_a_defined_outcome_are_refused(find, message):
    example = Example(Config(), Dataflow.WS, M, K, N, seed=30)
    with pytest.raises(ProgramError) as error:
        example.run(example.execute, find, load=(ROW_SCALES,))
    assert str(error.value).startswith("instruction 5 (absmax")
    assert str(error.value).endswith(message)


def test_an_address_that_is_not_used_may_be_anything():
    example = Example(Config(), Dataflow.WS, M, K, N, seed=31)
    example.run(example.execute, replace(FIND, dram=3, factor=999, update_base=999, row_scale=999))
