"""A small cell library whose delays and energies are round numbers, and netlists of its cells."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from hw.adders import FULL_ADDER
from hw.emit import CELLS
from hw.sram import Macro as Memory
from hw.yosys import find_yosys
from sim.synth.circuit import Circuit
from sim.synth.flat import Flat, flatten
from sim.synth.liberty import Library
from sim.synth.liberty_reader import parse_liberty
from sim.synth.netlist import Macro, Netlist, parse_netlist

VOLTAGE = 2.0
PIN_FF = 3.0
"""Capacitance of every input."""


def _arc(related: str, rise: float, fall: float, more: str) -> str:
    return f"""timing () {{ related_pin : "{related}"; {more}
        cell_rise (scalar) {{ values ("{rise}"); }} cell_fall (scalar) {{ values ("{fall}"); }}
        rise_transition (scalar) {{ values ("0.01"); }}
        fall_transition (scalar) {{ values ("0.01"); }} }}
      """


def _power(related: str, rise: float, fall: float, when: str = "") -> str:
    condition = f'when : "{when}";' if when else ""
    cause = f'related_pin : "{related}";' if related else ""
    return f"""internal_power () {{ {cause} {condition}
        rise_power (scalar) {{ values ("{rise}"); }} fall_power (scalar) {{ values ("{fall}"); }} }}
      """


def _gate(name: str, inputs: str, rise: float, fall: float, energy: float, **outputs: str) -> str:
    """Return a cell whose outputs all have the same delays; a rise takes twice a fall's energy."""
    pins = "".join(
        f"pin ({pin}) {{ direction : input; capacitance : {PIN_FF}; }}\n    " for pin in inputs
    )
    for pin, function in outputs.items():
        arcs = "".join(_arc(each, rise, fall, "timing_sense : non_unate;") for each in inputs)
        powers = "".join(_power(each, 2 * energy, energy) for each in inputs)
        pins += f'pin ({pin}) {{ direction : output; function : "{function}";\n{arcs}{powers}}}\n'
    leaks = 'leakage_power () { when : "A"; value : 5; }' if name == "INV" else ""
    return f"cell ({name}) {{ area : 1; cell_leakage_power : 7; {leaks}\n    {pins} }}\n"


_SETUP = """timing () { related_pin : "CK"; timing_type : setup_rising;
        rise_constraint (scalar) { values ("0"); } fall_constraint (scalar) { values ("0"); } }"""


def _clocked(name: str, head: str, data: str, out: str, related: str) -> str:
    role = {
        "CG": ("clock_gate_clock_pin : true;", "clock_gate_enable_pin : true;"),
        "DFF": ("clock : true;", ""),
    }[name]
    stored = {"CG": "GCK", "DFF": "Q"}[name]
    return f"""cell ({name}) {{ area : 4; cell_leakage_power : 11; {head}
      pin (CK) {{ direction : input; capacitance : 1; {role[0]}
        {_power("", 10, 20, f"!{stored}")} {_power("", 30, 40, stored)} }}
      pin ({data}) {{ direction : input; capacitance : 2; {role[1]} {_SETUP}
        {_power("", 100, 200, "!CK")} {_power("", 300, 400, "CK")} }}
      {out}
        {_arc("CK", 0.1, 0.15, related)} {_power("CK", 50, 60)} }} }}
    """


TEXT = f"""library (round) {{
  time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA"; leakage_power_unit : "1nW";
  capacitive_load_unit (1, ff); nom_voltage : {VOLTAGE}; nom_temperature : 25;
  {_gate("INV", ["A"], 0.05, 0.05, 1, ZN="!A")}
  {_gate("BUF", ["A"], 0.02, 0.02, 1, Z="A")}
  {_gate("NAND2", ["A", "B"], 0.02, 0.02, 2, ZN="!(A & B)")}
  {_gate("SLOW2", ["A", "B"], 0.09, 0.09, 2, ZN="!(A & B)")}
  {_gate("NOR2", ["A", "B"], 0.03, 0.03, 2, ZN="!(A | B)")}
  {_gate("XOR2", ["A", "B"], 0.04, 0.04, 3, Z="A ^ B")}
  {_gate("MUX2", ["A", "B", "S"], 0.06, 0.06, 3, Z="(S & B) | (A & !S)")}
  {_gate("FA", ["A", "B", "CI"], 0.07, 0.07, 4, CO="(A & B) | (CI & (A | B))", S="A ^ B ^ CI")}
  {
    _clocked(
        "DFF",
        'ff ("IQ", "IQN") { next_state : "D"; clocked_on : "CK"; }',
        "D",
        'pin (Q) { direction : output; function : "IQ";',
        "timing_type : rising_edge;",
    )
}
  {
    _clocked(
        "CG",
        "clock_gating_integrated_cell : latch_posedge;",
        "E",
        'pin (IQ) { direction : internal; internal_node : "IQ"; } '
        "pin (GCK) { direction : output; clock_gate_out_pin : true; "
        'state_function : "CK & IQ";',
        "timing_sense : positive_unate;",
    )
}
}}
"""


@cache
def library() -> Library:
    """Return the library."""
    return parse_liberty(TEXT.encode(), "round.lib")


def flat(cells: Mapping[str, tuple[str, dict[str, int | str]]], **ports: list[int]) -> Flat:
    """Return a netlist; ports whose names begin with ``out`` are outputs, nets count from 2."""
    module = {
        "ports": {
            name: {"direction": "output" if name.startswith("out") else "input", "bits": nets}
            for name, nets in ports.items()
        },
        "cells": {
            name: {"type": kind, "connections": {pin: [net] for pin, net in pins.items()}}
            for name, (kind, pins) in cells.items()
        },
    }
    return flatten(parse_netlist(json.dumps({"modules": {"unit": module}}), library()))


def circuit(cells: Mapping[str, tuple[str, dict[str, int | str]]], **ports: list[int]) -> Circuit:
    """Return a circuit, as `flat`."""
    return Circuit(flat(cells, **ports), library())


FULL_ADDER_MAP = f"""module {FULL_ADDER}(input A, input B, input CI, output CO, output S);
  FA _TECHMAP_REPLACE_ (.A(A), .B(B), .CI(CI), .CO(CO), .S(S));
endmodule
"""


def mapped(
    verilog: str, top: str, folder: Path, *, adders: bool, memories: tuple[Memory, ...] = ()
) -> Netlist:
    """Return a module of some Verilog, mapped by yosys to the library, clock gates included.

    Parameters
    ----------
    adders : bool
        Take the forms in adder cells, where there are any.
    memories : tuple of hw.sram.Macro
        Black boxes that the Verilog uses.
    """
    (folder / "unit.v").write_text(verilog + "".join(map(_black_box, memories)))
    (folder / "cells.lib").write_text(TEXT)
    (folder / "adders.v").write_text(FULL_ADDER_MAP)
    read = f"read_verilog -sv {f'-D {CELLS}' if adders else ''} unit.v"
    script = f"""{read}; hierarchy -top {top}; techmap -map adders.v
        read_liberty -lib cells.lib; proc; flatten -noscopeinfo
        opt; booth; alumacc; opt; memory; opt -full; techmap; opt -fast
        setattr -unset init w:*; clockgate -liberty cells.lib -min_net_size 3
        dfflibmap -liberty cells.lib; opt; abc -liberty cells.lib; opt_clean
        write_json mapped.json"""
    (folder / "map.ys").write_text(script)
    find_yosys()
    program = os.environ.get("YOSYS", "yosys")
    done = subprocess.run(
        [program, "-q", "map.ys"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    macros = {memory.name: Macro(input_ff=PIN_FF) for memory in memories}
    return parse_netlist((folder / "mapped.json").read_bytes(), library(), macros)


def _black_box(memory: Memory) -> str:
    ports = ["input clk", "input rst"]
    for name, (direction, width) in memory.pins().items():
        if name not in ("clk", "rst"):
            ports.append(f"{direction} [{width - 1}:0] {name}")
    return f"(* blackbox *) module {memory.name}({', '.join(ports)}); endmodule\n"
