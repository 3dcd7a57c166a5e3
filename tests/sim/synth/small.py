"""A library of a few cells whose times follow from formulas, and netlists of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sim.synth.liberty import Library
from sim.synth.liberty_reader import parse_liberty
from sim.synth.netlist import Macro, Netlist, parse_netlist

SLEWS, LOADS = (0.01, 0.1, 0.3), (1.0, 10.0, 40.0)


def delay(base: float, slew: float, load: float) -> float:
    """Return a delay as all tables of `LIBRARY` have it: bilinear, so exact between entries."""
    return base + 0.5 * slew + 0.01 * load + 0.1 * slew * load


def slew(base: float, slew: float, load: float) -> float:
    """Return a slew as all tables of `LIBRARY` have it."""
    return base / 2 + 0.1 * slew + 0.004 * load


def setup(base: float, data: float, clock: float = 0.0) -> float:
    """Return a setup as all tables of `LIBRARY` have it."""
    return base + 0.2 * data - 0.3 * clock


def _values(function, base: float, rows: Sequence[float], columns: Sequence[float]) -> str:
    lines = (", ".join(f"{function(base, r, c):.9f}" for c in columns) for r in rows)
    return "values (" + ", \\\n".join(f'"{line}"' for line in lines) + ");"


def timing(related: str, sense: str, rise: float, fall: float, more: str = "") -> str:
    """Return a ``timing`` group with delays of `delay`."""
    tables = "".join(
        f"{name} (grid) {{ {_values(function, base, SLEWS, LOADS)} }}\n"
        for name, function, base in (
            ("cell_rise", delay, rise),
            ("cell_fall", delay, fall),
            ("rise_transition", slew, rise),
            ("fall_transition", slew, fall),
        )
    )
    sense = f"timing_sense : {sense};" if sense else ""
    return f'timing () {{ related_pin : "{related}"; {sense} {more}\n{tables} }}\n'


def check(kind: str, rise: float, fall: float) -> str:
    """Return a ``timing`` group with constraints of `setup`."""
    tables = "".join(
        f"{name} (guard) {{ {_values(setup, base, SLEWS, SLEWS)} }}\n"
        for name, base in (("rise_constraint", rise), ("fall_constraint", fall))
    )
    return f'timing () {{ related_pin : "CK"; timing_type : {kind};\n{tables} }}\n'


def pin(name: str, ff: float, more: str = "") -> str:
    """Return an input pin; it is a tenth smaller for a fall."""
    sizes = f"capacitance : {ff}; rise_capacitance : {ff}; fall_capacitance : {0.9 * ff};"
    return f"pin ({name}) {{ direction : input; {sizes} {more} }}\n"


def output(name: str, function: str, timings: str) -> str:
    """Return an output pin."""
    about = f'direction : output; max_capacitance : 20; function : "{function}";'
    return f"pin ({name}) {{ {about}\n{timings} }}\n"


def _cells() -> str:
    positive, negative = "positive_unate", "negative_unate"
    either = output(
        "Z",
        "(A ^ B)",
        timing("A", positive, 0.30, 0.32, 'when : "!B";')
        + timing("A", negative, 0.34, 0.36, 'when : "B";')
        + timing("B", "", 0.38, 0.40),
    )
    edge = "timing_type : rising_edge;"
    gate = 'direction : output; state_function : "(CK & IQ)"; clock_gate_out_pin : true;'
    return "".join(
        [
            f"cell (INV) {{ area : 1; cell_leakage_power : 2; {pin('A', 2)}"
            f"{output('ZN', '!A', timing('A', '', 0.10, 0.08))} }}\n",
            f"cell (BUF) {{ area : 1.5; {pin('A', 2)}"
            f"{output('Z', 'A', timing('A', positive, 0.15, 0.16))} }}\n",
            f"cell (NAND) {{ area : 1.5; {pin('A', 2)} {pin('B', 3)}"
            f"{output('ZN', '!(A & B)', timing('A', negative, 0.2, 0.1))[:-3]}"
            f"{timing('B', negative, 0.25, 0.12)} }} }}\n",
            f"cell (XOR) {{ area : 3; {pin('A', 3)} {pin('B', 3)} {either} }}\n",
            f"cell (ONE) {{ area : 1; {output('Z', '1', '')} }}\n",
            'cell (DFF) { area : 5; ff ("IQ", "IQN") { next_state : "D"; clocked_on : "CK"; }\n'
            f"{pin('D', 1, check('setup_rising', 0.05, 0.07) + check('hold_rising', 9, 9))}"
            f"{pin('CK', 1, 'clock : true;')}"
            f"{output('Q', 'IQ', timing('CK', 'non_unate', 0.4, 0.5, edge))} }}\n",
            f"cell (LATCH) {{ area : 4; latch (IQ, IQN) {{ data_in : D; enable : G; }} "
            f"{pin('D', 1)} {pin('G', 1)} {output('Q', 'IQ', timing('D', positive, 1, 1))} }}\n",
            "cell (GATE) { area : 4; clock_gating_integrated_cell : latch_posedge;\n"
            f"{pin('E', 2, 'clock_gate_enable_pin : true;' + check('setup_rising', 0.6, 0.7))}"
            f"{pin('CK', 1, 'clock_gate_clock_pin : true;')}"
            f"pin (GCK) {{ {gate} {timing('CK', positive, 0.2, 0.2)} }} }}\n",
        ]
    )


def _template(name: str, first: str, second: str, columns: Sequence[float]) -> str:
    index = f'index_1 ("{str(SLEWS)[1:-1]}"); index_2 ("{str(tuple(columns))[1:-1]}");'
    about = f"variable_1 : {first}; variable_2 : {second}; {index}"
    return f"lu_table_template ({name}) {{ {about} }}\n"


TEXT = f"""/* Made up for tests. */
library (small) {{
  time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1nW";
  capacitive_load_unit (1, ff);  // as Nangate45
  pulling_resistance_unit : "1kohm"; nom_voltage : 1.1;
  slew_lower_threshold_pct_fall : 30; slew_lower_threshold_pct_rise : 30;
  slew_upper_threshold_pct_fall : 70; slew_upper_threshold_pct_rise : 70;
  wire_load ("long") {{
    capacitance : 0.5; resistance : 0.2; slope : 4;
    fanout_length (1, 2); fanout_length (2, 6);
  }}
  default_wire_load : "long";
  {_template("grid", "input_net_transition", "total_output_net_capacitance", LOADS)}
  {_template("guard", "constrained_pin_transition", "related_pin_transition", SLEWS)}
  {_cells()}
}}
"""
LIBRARY: Library = parse_liberty(TEXT.encode(), "small.lib")

Cells = Mapping[str, tuple[str, Mapping[str, object]]]


def module(
    inputs: Mapping[str, object],
    outputs: Mapping[str, object],
    cells: Cells,
    names: Mapping[str, object] | None = None,
) -> dict:
    """Return a module as yosys writes it; bits are numbers from 2, or a list of them.

    Cells whose names begin with ``$`` are hidden, as yosys has it.
    """

    def bits(value: object) -> list:
        return list(value) if isinstance(value, list) else [value]

    ports = {n: {"direction": "input", "bits": bits(b)} for n, b in inputs.items()}
    ports |= {n: {"direction": "output", "bits": bits(b)} for n, b in outputs.items()}
    named = {**inputs, **outputs, **(names or {})}
    return {
        "attributes": {},
        "ports": ports,
        "cells": {
            name: {
                "type": kind,
                "attributes": {},
                "connections": {pin: bits(bit) for pin, bit in pins.items()},
            }
            for name, (kind, pins) in cells.items()
        },
        "netnames": {n: {"hide_name": 0, "bits": bits(b)} for n, b in named.items()},
    }


def netlist(macros: Mapping[str, Macro] | None = None, **modules: dict) -> Netlist:
    """Return a netlist of modules, the first being the top."""
    next(iter(modules.values()))["attributes"]["top"] = "1"
    return parse_netlist(json.dumps({"modules": modules}), LIBRARY, macros)
