"""Tables of update scales: more than there is room for are made one after the other."""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from sw.driver import Device
from sw.graph.compile import compile_step
from sw.graph.fusions import Fusions
from sw.graph.session import shape_in
from sw.graph.tensors import random_tensors

from .golden_step import assert_bits, loss, modules_model

SITES = modules_model([(4, size, 1) for size in (128, 96, 160, 64)], text_tokens=8, text_width=12)
ROOM = 2
"""Tables that fit; the step has one for each of its eight sites."""


@pytest.mark.parametrize("stream", [True, False])
def test_tables_wait_for_room(stream: bool) -> None:
    config = Config(
        rows=4, columns=4, bus_bytes=4, input_depth=256, weight_depth=256, output_depth=512,
        accumulate_scale_depth=8 * ROOM,
    )  # fmt: skip
    step = compile_step(config, SITES, reading="kv", rank=2, fusions=Fusions(stream=stream))
    shape = shape_in(step)
    assert len(shape.sites) == 8
    result = Device(config, "functional").session(step, loss=loss).run(random_tensors(shape, 3))
    assert_bits(shape, result, f"stream {stream}")
