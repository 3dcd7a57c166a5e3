"""The table of FPGAs is what is said of it, and, by night, what the code gives."""

from __future__ import annotations

from typing import Any

import pytest

from sim.synth.fpga import TARGETS


@pytest.fixture
def table(scripts: Any) -> Any:
    return scripts("fpga_table")


def test_the_table_holds_what_is_said_of_it(table: Any) -> None:
    rows = table.rows_of(table.PAGE.read_text())
    assert [(row["array"], row["target"]) for row in rows] == [
        (case, f"`{target}`") for case in table.CASES for target in TARGETS
    ]
    for row in rows:
        config = table.CASES[row["array"]]
        bits = 8 * config.input_depth * (config.rows + config.columns) * 2
        kbit = TARGETS[row["target"].strip("`")].bram_kbit
        assert row["DSPs"] > config.rows * config.columns, "a DSP an element"
        assert row["BRAMs"] * kbit * 1024 > bits, "operand memories are block memories"
        elements = 60 * config.rows * config.columns
        assert elements < row["flip-flops"] < 100_000, "not the memories"


def test_the_table_is_made_anew_in_place(table: Any) -> None:
    page = table.PAGE.read_text()
    rows = table.rows_of(page)
    assert table.with_table(page, rows) == page
    rows[0]["LUTs"] += 1
    assert table.rows_of(table.with_table(page, rows)) == rows


@pytest.mark.nightly
def test_the_table_is_current(table: Any) -> None:
    page = table.PAGE.read_text()
    assert page == table.with_table(page, table.measure()), "run: python docs/fpga_table.py"
