"""Elements of several products: words read at once must lie side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow, Execute
from sim.footprint import footprint
from sim.legality import misuse

CONFIG = Config(macs_per_element=2)
STRIDES = {"out_row_stride": 1, "out_block_stride": 8}
WS = Execute(
    dataflow=Dataflow.WS, rows=8, reduction=20, columns=8, left_row_stride=6, left_block_stride=1,
    right_row_stride=1, right_block_stride=20, **STRIDES,
)  # fmt: skip
OS = replace(WS, dataflow=Dataflow.OS, left_row_stride=1, left_block_stride=20)
WHY = "since the array reads 2 words along the reduction at once"
WRONG = {
    "blocks of WS apart": (
        replace(WS, left_block_stride=2), "left_block_stride 2, which must be 1"),
    "rows of WS at an odd word": (
        replace(WS, left_row_stride=5), "left_row_stride 5, which must be a multiple of 2"),
    "left of WS at an odd word": (
        replace(WS, left_base=3), "left_base 3, which must be a multiple of 2"),
    "rows of OS apart": (replace(OS, left_row_stride=2), "left_row_stride 2, which must be 1"),
    "blocks of OS at an odd word": (
        replace(OS, left_block_stride=21), "left_block_stride 21, which must be a multiple of 2"),
    "right rows apart": (replace(WS, right_row_stride=2), "right_row_stride 2, which must be 1"),
    "right at an odd word": (
        replace(OS, right_base=1), "right_base 1, which must be a multiple of 2"),
    "right blocks at an odd word": (
        replace(OS, right_block_stride=23), "right_block_stride 23, which must be a multiple of 2"),
}  # fmt: skip
SHORT = {
    "one word of the reduction": replace(WS, reduction=1, left_block_stride=7, right_row_stride=9),
    "one row": replace(WS, rows=1, left_row_stride=5),
    "one column block": replace(WS, columns=4, right_block_stride=3),
    "one block of OS": replace(OS, rows=4, left_block_stride=3),
}


@pytest.mark.parametrize("case", WRONG)
def test_words_apart(case: str) -> None:
    instruction, problem = WRONG[case]
    accesses = footprint(CONFIG, instruction)
    assert misuse(CONFIG, instruction, accesses) == f"has {problem} {WHY}"
    assert misuse(Config(), instruction, footprint(Config(), instruction)) is None


@pytest.mark.parametrize("instruction", [WS, OS, *SHORT.values()])
def test_words_side_by_side_or_by_themselves(instruction: Execute) -> None:
    assert misuse(CONFIG, instruction, footprint(CONFIG, instruction)) is None
