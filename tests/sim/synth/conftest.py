"""Units of the hardware, mapped once for all tests of a process."""

from __future__ import annotations

import pytest

from hw.array import Array
from hw.emit import convert_all
from hw.isa.config import Config
from hw.pe import ProcessingElement
from hw.shared import Builder
from sim.synth.circuit import Circuit

from .powered import TEXT, library, mapped

CONFIG = Config(rows=4, columns=4)


@pytest.fixture(scope="session")
def element(tmp_path_factory) -> Circuit:
    """An element in the cells of `powered`."""
    return _mapped("pe", lambda builder: ProcessingElement(), tmp_path_factory)


@pytest.fixture(scope="session")
def array(tmp_path_factory) -> Circuit:
    """A 4x4 array in the cells of `powered`."""
    return _mapped("array", lambda builder: Array(CONFIG, builder), tmp_path_factory)


def _mapped(name: str, make, folders) -> Circuit:
    builder = Builder(emit=True)
    text = "\n".join(convert_all(make(builder), name, builder).values())
    return Circuit(mapped(text, name, TEXT, folders.mktemp(name)), library())
