"""What a design is made of, module by module and unit by unit."""

from __future__ import annotations

import pytest

from sim.synth.census import census
from sim.synth.netlist import Macro, Netlist

from .small import module, netlist

MACROS = {"ram": Macro(outputs=("q",))}
INV = ("INV", {"A": 2, "ZN": 3})
DFF = ("DFF", {"CK": 2, "D": 3, "Q": 4})
RAM = ("ram", {"clk": 2, "q": 3})


def holds(**cells: tuple[str, dict[str, object]]) -> dict:
    """Return a module of these cells and modules; how they are connected does not count."""
    return module({"clk": 2}, {"out": 3}, cells)


def accelerator() -> Netlist:
    """Return a top with an array of two rows of two elements, a buffer and a load engine."""
    return netlist(
        MACROS,
        **{
            "cdmqta": holds(x=("cdmqta.execute", {}), y=("cdmqta.load", {}), i=INV),
            "cdmqta.execute": holds(
                a=("cdmqta.execute.array", {}), b=("cdmqta.execute.left", {}), i=INV, j=INV
            ),
            "cdmqta.execute.array": holds(r=("cdmqta_row", {}), s=("cdmqta_row", {})),
            "cdmqta.execute.left": holds(m=RAM, n=RAM, i=INV),
            "cdmqta.load": holds(f=DFF, s=("shared", {})),
            "cdmqta_row": holds(p=("cdmqta_pe", {}), q=("cdmqta_pe", {})),
            "cdmqta_pe": holds(f=DFF, i=INV, j=INV, s=("shared", {})),
            "shared": holds(x=("XOR", {"A": 2, "B": 3, "Z": 4})),
        },
    )


def test_modules_are_counted_as_often_as_they_stand_there() -> None:
    found = census(accelerator())
    assert list(found.instances)[0] == "cdmqta"
    shares = {share.name: share for share in found.modules}
    element = shares["cdmqta_pe"]
    assert (element.instances, element.cells, element.registers) == (4, 12, 4)
    assert element.area_um2 == 4 * (5 + 2 * 1), "a flip-flop of 5, inverters of 1"
    assert (shares["shared"].instances, shares["shared"].area_um2) == (5, 5 * 3)
    assert shares["cdmqta_row"].cells == 0, "without what is in modules inside"
    assert found.cells == sum(share.cells for share in found.modules) == 22
    assert found.area_um2 == pytest.approx(12 + 5 * 5 + 5 * 3)


def test_cells_and_macros_by_kind() -> None:
    found = census(accelerator())
    assert found.kinds == {"INV": 12, "DFF": 5, "XOR": 5}
    assert found.macros == {"ram": 2}


def test_units_are_all_there_is() -> None:
    design = accelerator()
    found = census(design)
    units = {unit.name: unit for unit in found.units(design)}
    assert {name: unit.area_um2 for name, unit in units.items()} == {
        "elements": 4 * (7 + 3),
        "load": 5 + 3,
        "feed": 2,
        "operand buffers": 1,
        "controller": 1,
        "array foot": 0,
    }
    assert units["elements"].registers == 4 and units["elements"].cells == 16
    assert sum(unit.cells for unit in units.values()) == found.cells
    assert sum(unit.area_um2 for unit in units.values()) == pytest.approx(found.area_um2)
    areas = [unit.area_um2 for unit in found.units(design)]
    assert areas == sorted(areas, reverse=True)


def test_a_part_of_a_design() -> None:
    found = census(accelerator(), "cdmqta_row")
    assert found.instances == {"cdmqta_row": 1, "cdmqta_pe": 2, "shared": 2}
    assert found.area_um2 == 2 * (7 + 3) and found.macros == {}


def test_less_than_an_accelerator_has_no_units() -> None:
    design = netlist(cdmqta_array=holds(i=INV))
    with pytest.raises(ValueError, match="cdmqta_array is no accelerator: it belongs to no unit"):
        census(design).units(design)
