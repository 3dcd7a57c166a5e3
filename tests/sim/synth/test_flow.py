"""Mapping with yosys: what comes out, what is kept, and what is said of what cannot be mapped."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.adders import FULL_ADDER_VERILOG
from hw.isa.config import Config
from sim.synth import flow
from sim.synth.census import census
from sim.synth.design import design_of
from sim.synth.flow import FAST, MappingError, Recipe, map_design, netlist_verilog
from sim.synth.liberty_reader import parse_liberty
from sim.synth.netlist import NetlistError, read_netlist

from .powered import TEXT, library

PLAIN = "module top(input a, b, output c); assign c = ~(a & b); endmodule\n"
OTHER = "module top(input a, b, output c); assign c = ~(a | b); endmodule\n"


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """Return what yosys is told, as it is told."""
    told: list[str] = []
    run = flow.run_yosys

    def counted(folder: Path, script: str) -> None:
        told.append(script)
        run(folder, script)

    monkeypatch.setattr(flow, "run_yosys", counted)
    return told


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CDMQTA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "synth"


@pytest.fixture
def mapping(tmp_path, cache) -> Callable[..., Path]:
    file = tmp_path / "round.lib"
    file.write_text(TEXT)

    def mapping(verilog: str, recipe: Recipe | None = None, text: str = TEXT) -> Path:
        file.write_text(text)
        found = library() if text == TEXT else parse_liberty(text.encode(), "other.lib")
        return map_design(verilog, "top", found, file, recipe)

    return mapping


def kinds(folder: Path) -> dict[str, int]:
    """Return cells by kind."""
    return census(read_netlist(folder / "netlist.json", library())).kinds


def test_what_was_mapped_is_not_mapped_again(mapping, runs, cache) -> None:
    folder = mapping(PLAIN)
    assert folder.parent == cache and kinds(folder) == {"NAND2": 1}
    assert mapping(PLAIN) == folder and len(runs) == 1
    assert not list(cache.glob("part-*"))


def test_it_is_kept_by_all_it_depends_on(mapping, runs, monkeypatch) -> None:
    larger = TEXT.replace("area : 4", "area : 5")
    folders = {mapping(PLAIN), mapping(OTHER), mapping(PLAIN, FAST), mapping(PLAIN, text=larger)}
    monkeypatch.setattr(flow, "_makers_digest", lambda: "of sources that have changed")
    folders.add(mapping(PLAIN))
    assert len(folders) == len(runs) == 5


def changed(folder: Path) -> None:
    """Another netlist, which is one, too."""
    file = folder / "netlist.json"
    file.write_text(file.read_text().replace("NAND2", "NOR2"))


def truncated(folder: Path) -> None:
    file = folder / "netlist.json"
    file.write_bytes(file.read_bytes()[:-9])


def without_netlist(folder: Path) -> None:
    (folder / "netlist.json").unlink()


def without_digest(folder: Path) -> None:
    (folder / "sha256").unlink()


def with_no_digest(folder: Path) -> None:
    (folder / "sha256").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    "damage", [changed, truncated, without_netlist, without_digest, with_no_digest]
)
def test_what_is_damaged_is_mapped_again(mapping, runs, damage: Callable[[Path], None]) -> None:
    folder = mapping(PLAIN)
    before = (folder / "netlist.json").read_bytes()
    damage(folder)
    assert mapping(PLAIN) == folder and len(runs) == 2
    assert (folder / "netlist.json").read_bytes() == before
    assert mapping(PLAIN) == folder and len(runs) == 2


@pytest.mark.parametrize(
    "verilog, error, message",
    [
        (
            "module top(input a, output b); assign b = ; endmodule", MappingError,
            r"yosys cannot map the design: design\.v:1: ERROR: syntax error, unexpected ';'",
        ),
        (
            "module other; endmodule", MappingError,
            r"yosys cannot map the design: ERROR: Module `top' not found!",
        ),
        (
            "module top(input e, d, output reg q); always @* if (e) q = d; endmodule",
            MappingError, r"yosys cannot map the design: ERROR: FF top\..*\(type \$_DLATCH_P_\).*",
        ),
        (
            "module top(input a, output b); nothing x(a, b); endmodule", NetlistError,
            "unmappable cell: module top, cell x is of type nothing, which is neither in round nor "
            "a module of the design nor a declared macro",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped(mapping, cache, verilog, error, message) -> None:
    with pytest.raises(error) as raised:
        mapping(verilog)
    assert re.fullmatch(message, str(raised.value)), raised.value
    assert [each for each in cache.iterdir() if each.is_dir()] == [], "nothing is kept"


def test_all_modules_that_recipes_name_are_there() -> None:
    """A module that is renamed would lose its recipe, and nothing else would say so."""
    text = design_of(Config.preset("tiny"), "top").verilog
    names = {name.lstrip("\\") for name in re.findall(r"^module (\S+?) *\(", text, re.MULTILINE)}
    for recipe in (Recipe(), FAST):
        patterns = {each for _, modules in recipe.quick for each in modules}
        patterns |= {*recipe.whole, *(name for name, _ in recipe.periods_ns)}
        assert [each for each in patterns if not fnmatch.filter(names, each)] == []


ADDER = f"""`ifdef CDMQTA_CELLS
{FULL_ADDER_VERILOG}
module add(input a, b, c, output s, t); FULLADD f(.A(a), .B(b), .CI(c), .S(s), .CO(t)); endmodule
`else
module add(input a, b, c, output s, t); assign {{t, s}} = a + b + c; endmodule
`endif
module top(input a, b, c, output s, t, u); wire v;
  add one(a, b, c, s, v), two(s, v, c, t, u); endmodule
"""


def test_full_adders_are_cells(mapping) -> None:
    assert kinds(mapping(ADDER)) == {"FA": 2}
    none = re.sub(r"cell \(FA\).*?(?=cell \(DFF\))", "", TEXT, flags=re.DOTALL)
    assert "(FA)" not in none
    found = kinds(mapping(ADDER, text=none))
    assert "FA" not in found and sum(found.values()) > 4


def test_modules_keep_their_boundaries_but_those_that_dissolve(mapping) -> None:
    kept = read_netlist(mapping(ADDER) / "netlist.json", library())
    assert kept.instances() == {"top": 1, "add": 2}
    folder = mapping(ADDER, Recipe(whole=("top",)))
    assert read_netlist(folder / "netlist.json", library()).instances() == {"top": 1}
    text = netlist_verilog(folder)
    assert re.findall(r"^module (\w+)", text, re.MULTILINE) == ["top"]
    assert len(re.findall(r"^  FA ", text, re.MULTILINE)) == 2


GATED = """module top(input clk, e, input [3:0] d, output reg [3:0] q, output reg [1:0] r);
  always @(posedge clk) if (e) q <= d;
  always @(posedge clk) if (d[0]) r <= d[3:2];
endmodule
"""


def test_three_flip_flops_are_worth_a_clock_gate(mapping) -> None:
    found = kinds(mapping(GATED))
    assert found["CG"] == 1 and found["DFF"] == 6


def test_without_clock_gates_values_are_kept_by_logic(mapping) -> None:
    none = re.sub(r"cell \(CG\).*", "}", TEXT, flags=re.DOTALL)
    found = kinds(mapping(GATED, text=none))
    assert "CG" not in found and found["DFF"] == 6 and found["MUX2"] >= 1
