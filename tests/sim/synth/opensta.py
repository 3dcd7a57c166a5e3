"""Asks OpenSTA, which others have checked, how fast a module is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from hw.emit import emit
from hw.isa.config import Config
from hw.yosys import find_yosys
from sim.synth.library import LibraryError, library_file
from sim.synth.netlist import Kind, Macro

MACRO = Macro(outputs=("read_data",), access_ns=0.4, setup_ns=0.12, input_ff=3.0)
"""What is said of every memory, to both."""
PERIOD = 100.0
"""Of the clock that OpenSTA is given; its times are of single precision."""

needs_opensta = pytest.mark.skipif(
    shutil.which("sta") is None, reason="OpenSTA (sta) is not installed"
)

_THRESHOLDS = "".join(
    f"{kind}_threshold_pct_{edge} : {value};\n"
    for kind, value in (("slew_lower", 30), ("slew_upper", 70), ("input", 50), ("output", 50))
    for edge in ("rise", "fall")
)
_MAPPING = (
    "proc", "opt", "wreduce", "peepopt", "opt_clean", "alumacc", "share", "opt", "booth",
    "memory -nomap", "memory_map", "opt -full", "techmap", "opt -fast",
    "clockgate -liberty cells.lib -min_net_size 3", "dfflibmap -liberty cells.lib", "opt",
    "abc -liberty cells.lib", "opt_clean",
)  # fmt: skip


def cell_library() -> Path:
    """Return the file of the default library, or skip."""
    try:
        return library_file()
    except LibraryError as error:
        pytest.skip(f"no library: {error}")


def yosys(folder: Path, commands: Iterable[str]) -> None:
    """Run Yosys in a folder; paths are relative to it."""
    find_yosys()
    (folder / "script.ys").write_text("\n".join(commands) + "\n")
    done = subprocess.run(
        [os.environ.get("YOSYS", "yosys"), "-q", "script.ys"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def mapped(folder: Path, top: str) -> dict[str, Macro]:
    """Map one unit of the smallest preset with what is in it, to ``mapped.json``.

    Returns its memories.
    """
    shutil.copy(cell_library(), folder / "cells.lib")
    emission = emit(Config.preset("tiny"), memories="blackbox")
    (folder / "design.v").write_text(emission.verilog)
    commands = ["read_verilog -sv design.v", f"hierarchy -top {top}", *_MAPPING]
    yosys(folder, [*commands, "write_json mapped.json"])
    return {memory.macro.name: MACRO for memory in emission.memories}


def write_units(folder: Path, units: Iterable[str], source: str = "mapped.json") -> None:
    """Write each module of a netlist in JSON or Verilog, without hierarchy, as ``unit_N.v``."""
    reader = "read_verilog" if source.endswith(".v") else "read_json"
    commands = [f"{reader} {source}", "design -save all"]
    for number, unit in enumerate(units):
        commands += ["design -load all", f"hierarchy -top {unit}", "flatten -noscopeinfo"]
        # It reads neither names of bits of a port nor concatenations that are assigned to.
        commands += ["splitnets -ports", "opt_clean -purge"]
        commands += [f"write_verilog -noattr -noexpr -simple-lhs unit_{number}.v"]
    yosys(folder, commands)


def macro_library(kinds: Iterable[Kind]) -> str:
    """Return a Liberty file of the macros among kinds."""
    ports: dict[str, dict[str, int]] = {}
    macros = {kind.name: kind.macro for kind in kinds if kind.macro}
    for kind in kinds:
        if kind.macro:
            buses = ports[kind.name] = {}
            for pin in kind.pins:
                name = pin.partition("[")[0]
                buses[name] = buses.get(name, 0) + 1
    widths = sorted({width for buses in ports.values() for width in buses.values()})
    types = "".join(
        f"type (w{width}) {{ base_type : array; data_type : bit; bit_width : {width}; "
        f"bit_from : {width - 1}; bit_to : 0; downto : true; }}\n"
        for width in widths
    )
    cells = "".join(_macro_cell(name, macros[name], buses) for name, buses in ports.items())
    return (
        f"library (macros) {{\ndelay_model : table_lookup;\n{_THRESHOLDS}"
        'time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA";\n'
        'pulling_resistance_unit : "1kohm"; leakage_power_unit : "1nW";\n'
        "capacitive_load_unit (1, ff); nom_voltage : 1.1; nom_temperature : 25;\n"
        f"slew_derate_from_library : 1; nom_process : 1;\n{types}{cells}}}\n"
    )


def _macro_cell(name: str, macro: Macro, buses: Mapping[str, int]) -> str:
    def group(port: str, width: int) -> str:
        head = f"bus ({port}) {{ bus_type : w{width};" if width > 1 else f"pin ({port}) {{"
        if port == macro.clock:
            return f"{head} direction : input; clock : true; capacitance : 1; }}\n"
        if port in macro.outputs:
            kind, names = "rising_edge", ("cell_rise", "cell_fall")
            about, value = "direction : output;", macro.access_ns
            tables = "".join(
                f'{edge}_transition (scalar) {{ values ("0"); }}' for edge in ("rise", "fall")
            )
        else:
            kind, names = "setup_rising", ("rise_constraint", "fall_constraint")
            about, value = f"direction : input; capacitance : {macro.input_ff};", macro.setup_ns
            tables = ""
        tables += "".join(f'{each} (scalar) {{ values ("{value}"); }}' for each in names)
        timing = f'related_pin : "{macro.clock}"; timing_type : {kind}; {tables}'
        return f"{head} {about} timing () {{ {timing} }} }}\n"

    inside = "".join(group(port, width) for port, width in buses.items())
    return f"cell ({name}) {{ area : 1;\n{inside} }}\n"


def period(
    folder: Path, number: int, cells: str, *, lumped: bool = False, to: str = ""
) -> float | None:
    """Return the period that OpenSTA finds for ``unit_N.v``; None if there is no path.

    Parameters
    ----------
    cells : str
        File of the library, in `folder`; its default wire load is taken.
    lumped : bool
        Take loads as capacitance alone, instead of fitting a driver to a wire with resistance.
    to : str
        End there, as in ``report_checks``.
    """
    text = (folder / f"unit_{number}.v").read_text()
    top = re.search(r"^module (?:\\(\S+)|([^\s(]+))", text, re.MULTILINE)
    # Without registers there is no port of the clock; inputs and outputs keep to it all the same.
    clock = "{clk}" if re.search(r"^  input clk ?;", text, re.MULTILINE) else ""
    script = f"""
        read_liberty {cells}
        read_liberty macros.lib
        read_verilog unit_{number}.v
        link_design {{{top[1] or top[2]}}}
        {"set_delay_calculator lumped_cap" if lumped else ""}
        create_clock -name clk -period {PERIOD} {clock}
        set_input_delay 0 -clock clk [all_inputs]
        set_output_delay 0 -clock clk [all_outputs]
        report_checks -path_delay max -digits 6 {f"-to {to}" if to else ""}
    """
    (folder / "unit.tcl").write_text(script)
    done = subprocess.run(
        ["sta", "-exit", "unit.tcl"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    slack = re.search(r"(-?[\d.]+)\s+slack", done.stdout)
    if slack is None:
        assert "No paths found" in done.stdout, done.stdout + done.stderr
        return None
    return PERIOD - float(slack[1])
