"""Units of the hardware, mapped once for all tests of a process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hw.array import Array
from hw.emit import convert_all
from hw.isa.config import Config
from hw.pe import ProcessingElement
from hw.shared import Builder
from sim.synth.circuit import Circuit
from sim.synth.flat import flatten
from sim.synth.netlist import Netlist

from .powered import library, mapped

CONFIG = Config(rows=4, columns=4)


@pytest.fixture(scope="session")
def map_unit(tmp_path_factory) -> Callable[..., Netlist]:
    """Map a unit to the cells of `powered`."""

    def map_unit(make: Callable, *, adders: bool) -> Netlist:
        builder = Builder(emit=True)
        text = "\n".join(convert_all(make(builder), "unit", builder).values())
        folder, memories = tmp_path_factory.mktemp("unit"), tuple(builder.memories.values())
        return mapped(text, "unit", folder, adders=adders, memories=memories)

    return map_unit


@pytest.fixture(scope="session")
def element_netlist(map_unit) -> Netlist:
    """An element in full adders."""
    return map_unit(lambda builder: ProcessingElement(CONFIG, builder), adders=True)


@pytest.fixture(scope="session")
def overlap_netlist(map_unit) -> Netlist:
    """An element in full adders whose finished sum leaves under the next waves."""
    config = CONFIG.replace(drain_overlap=1)
    return map_unit(lambda builder: ProcessingElement(config, builder), adders=True)


@pytest.fixture(scope="session")
def element(element_netlist: Netlist) -> Circuit:
    """An element in full adders."""
    return opened(element_netlist)


@pytest.fixture(scope="session")
def array(map_unit) -> Circuit:
    """A 4x4 array without adder cells."""
    return opened(map_unit(lambda builder: Array(CONFIG, builder), adders=False))


def opened(netlist: Netlist) -> Circuit:
    """Return a netlist of `powered` as a circuit."""
    return Circuit(flatten(netlist), library())
