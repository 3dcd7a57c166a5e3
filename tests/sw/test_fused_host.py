"""The host does its part with every combination of fusions, and no result changes by a bit."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hw.isa.config import Config
from sw.graph.build import build
from sw.graph.fuse import fuse
from sw.graph.fusions import Fusions
from sw.graph.host import HostState, QuadraticLoss
from sw.graph.ir import Graph
from sw.graph.quantise import quantise
from sw.graph.shape import Shape, module_model
from sw.graph.tensors import check_tensors, random_tensors

from .fused_numpy import run_fused

CONFIG = Config()
MODEL = module_model(8, 8, 2, text_tokens=5, text_width=12)


def results(graph: Graph, fusions: Fusions) -> dict[str, np.ndarray]:
    fused = fuse(graph, CONFIG, fusions)
    shape = Shape.of(fused.meta)
    state = HostState(shape, QuadraticLoss(), scaling=2)
    state.tensors |= check_tensors(shape, random_tensors(shape))
    run_fused(fused, state)
    return state.outputs | state.gradients


@pytest.mark.parametrize("reading,count", [("kv", 7), ("xattn", 7)])
def test_every_combination_gives_the_same_results(reading, count):
    graph = quantise(build(MODEL, reading, 2, 2), CONFIG)
    wanted = results(graph, Fusions())
    assert len(wanted) == count and all(array.any() for array in wanted.values())
    for switches in product([True, False], repeat=6):
        fusions = Fusions(*switches)
        found = results(graph, fusions)
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            assert np.array_equal(found[name], array), f"{name} differs with fusions {fusions}"
