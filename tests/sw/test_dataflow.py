"""Choice of dataflow by the overlap model."""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sw.dataflow import array_cycles, choose, choose_update

PAPER = Config.preset("paper")


@pytest.mark.parametrize(
    "m,k,n,ws,os",
    [
        (77, 768, 320, 12 * 5 * 77, 2 * 5 * 768),
        (77, 768, 4, 12 * 77, 2 * 768),
        (768, 77, 4, 2 * 768, 12 * 77),
        (4096, 4096, 40, 64 * 4096, 64 * 4096),
        (1, 1, 1, 64, 64),
    ],
)
def test_cycles_are_those_of_the_workloads_page(m, k, n, ws, os):
    assert array_cycles(PAPER, Dataflow.WS, m, k, n) == ws
    assert array_cycles(PAPER, Dataflow.OS, m, k, n) == os
    assert choose(PAPER, "auto", m, k, n) is (Dataflow.WS if ws <= os else Dataflow.OS)


def test_a_dataflow_may_be_asked_for():
    assert choose(PAPER, "os", 77, 768, 320) is Dataflow.OS
    assert choose(PAPER, "ws", 768, 77, 4) is Dataflow.WS
    with pytest.raises(ValueError, match=r"^dataflow must be one of auto\|ws\|os, not 'is'$"):
        choose(PAPER, "is", 1, 1, 1)


@pytest.mark.parametrize("choice", ["auto", "ws"])
def test_an_update_in_ws_fits_the_rows(choice):
    config = Config(rows=3, columns=2)
    assert choose_update(config, choice, 3) is Dataflow.WS
    assert choose_update(config, choice, 4) is Dataflow.OS
    assert choose_update(config, "os", 3) is Dataflow.OS
