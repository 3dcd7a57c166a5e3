"""``cdmqta train --backend rtl`` as it stands: a site of Stable Diffusion on the 64x64 array."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TOKENS, D1, D2, RANK = 77, 768, 320, 4
COLUMNS = 64


@pytest.mark.nightly
@pytest.mark.parametrize(
    "method,programs,macs",
    [
        # Forward and backward; what `test_engines.test_functional_model` counts, in one step.
        ("lora", 2, TOKENS * (2 * D1 * D2 + 3 * RANK * (D1 + D2))),
        # P, U, G and V, and the dot products of 12 + 5 arrays of columns.
        ("tuneqdm", 4 + 17, TOKENS * (2 * D1 * D2 + 2 * COLUMNS * (D1 + D2))),
    ],
)
def test_a_step_on_the_rtl_is_that_of_torch(command, method, programs, macs):
    done = command("train", "--backend", "rtl", "--method", method, "--steps", "1",
                   "--rank", str(RANK), "--json", "figures.json")  # fmt: skip
    assert done.code == 0, done
    assert "on a 64x64 array" in done.out
    assert "every loss and every trained weight equals torch's, bit for bit" in done.out
    found = json.loads(Path("figures.json").read_text())
    assert found["exact"] and len(found["products"]) == 1
    assert found["programs"] == programs and found["macs"] == macs
    assert found["cycles"] > macs / COLUMNS**2
