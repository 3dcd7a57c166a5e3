"""What docs/device.md shows works as it is written."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "device.md"


def test_the_code_of_the_page_runs():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # asserts are in the page
    first, again = names["result"], names["again"]
    changed = names["trained"].keys()
    assert changed == {"attn2.to_k.lora_A.weight"}
    assert (first.outputs["attn2"] != again.outputs["attn2"]).any()
