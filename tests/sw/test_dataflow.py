"""Choice of dataflow by the cycles of folds."""

from __future__ import annotations

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sw.dataflow import array_cycles, choose, choose_update, fold_cycles

PAPER = Config.preset("paper")
OVERLAPPED = PAPER.replace(drain_overlap=1)
ALONE = PAPER.replace(drain_overlap=0)
"""Sums of OS leave under the next fold, or before it."""


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
    assert array_cycles(OVERLAPPED, Dataflow.WS, m, k, n) == ws
    assert array_cycles(OVERLAPPED, Dataflow.OS, m, k, n) == os
    assert choose(OVERLAPPED, "auto", m, k, n) is (Dataflow.WS if ws <= os else Dataflow.OS)


@pytest.mark.parametrize(
    "m,k,n,ws,os",
    [
        (77, 768, 320, 12 * 5 * 77, 2 * 5 * (768 + 63)),
        (768, 77, 4, 2 * 768, 12 * (77 + 63)),
        (4096, 4096, 40, 64 * 4096, 64 * (4096 + 63)),
        (1, 1, 1, 64, 64),
    ],
)
def test_sums_that_leave_before_the_next_fold_take_rows_less_one(m, k, n, ws, os):
    assert array_cycles(ALONE, Dataflow.WS, m, k, n) == ws
    assert array_cycles(ALONE, Dataflow.OS, m, k, n) == os
    assert choose(ALONE, "auto", m, k, n) is (Dataflow.WS if ws <= os else Dataflow.OS)


def test_a_short_reduction_is_for_os_only_where_drains_are_hidden():
    """dA of a site: 77 waves hide 64 rows of sums, and 128 cycles of two WS folds are fewer
    than 77 and 63."""
    assert choose(OVERLAPPED, "auto", 768, 77, 4) is Dataflow.OS
    assert choose(ALONE, "auto", 768, 77, 4) is Dataflow.WS


@pytest.mark.parametrize("products", [1, 2, 4])
@pytest.mark.parametrize("dataflow", Dataflow)
@pytest.mark.parametrize("overlap", [0, 1])
def test_an_array_of_waves_is_counted_as_each_of_them(overlap, dataflow, products):
    config = Config(drain_overlap=overlap, macs_per_element=products)
    waves = np.arange(1, 20)
    each = [fold_cycles(config, dataflow, int(wave)) for wave in waves]
    assert fold_cycles(config, dataflow, waves).tolist() == each
    if dataflow is Dataflow.OS:
        whole = array_cycles(config, dataflow, 4, 7 * products, 4)
        assert whole == fold_cycles(config, dataflow, 7)


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
