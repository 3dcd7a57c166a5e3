"""The page's table of methods: every name is there, beside options that mean it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sw.train.precision import METHODS
from sw.train_command import train_command
from sw.train_options import Asked

PAGE = Path(__file__).parents[3] / "docs" / "training.md"
OPTIONS = {
    "fp32": "--precision fp32", "int8": "", "int8-stochastic": "--precision int8-stochastic",
    "int8-tensor": "--precision int8-tensor", "int6": "--precision int6",
    "int4": "--precision int4", "int4-weights": "--precision int4-weights",
    "int4-activations": "--precision int4-activations",
    "int4-gradients": "--precision int4-gradients", "int8-4bit": "--weight-bits 4",
    "fp32-full": "--method full --precision fp32", "int8-full": "--method full",
    "fp32-tuneqdm": "--method tuneqdm --precision fp32", "int8-tuneqdm": "--method tuneqdm",
    "int8-tuneqdm-8bit": "--method tuneqdm --weight-bits 8",
    "int8-tuneqdm-one": "--method tuneqdm --experts 1",
    "int8-tuneqdm-out": "--method tuneqdm --no-input-scales",
    "int8-low-noise": "--precision int8-low-noise",
    "int8-high-noise": "--precision int8-high-noise",
}  # fmt: skip
"""Options of the command line by the name of what they mean."""


def table() -> dict[str, str]:
    """Return the options of the page's table, as they stand there, by name of method."""
    page = PAGE.read_text(encoding="utf-8")
    rows = page.split("| `cdmqta train` |\n")[1].split("\n\n")[0].splitlines()[1:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {name: row[3] for row in cells for name in re.findall(r"`([^`]+)`", row[0])}


def test_every_method_is_on_the_page():
    assert table().keys() == METHODS.keys() == OPTIONS.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_options_mean_the_method(name):
    values = train_command.make_context("train", OPTIONS[name].split()).params
    asked = Asked(values["trains"], *(values[each] for each in Asked._fields[1:]))
    assert asked.method() == METHODS[name]
    told = table()[name]
    assert all(word in told or word == name for word in OPTIONS[name].split()), told
