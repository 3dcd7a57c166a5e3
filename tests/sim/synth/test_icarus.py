"""Toggles of every net, as Icarus Verilog counts them on the same netlists, with delays too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sim.synth.cells import verilog_models
from sim.synth.circuit import Circuit
from sim.synth.flat import Flat
from sim.synth.gates import Delays, simulate
from sim.synth.netlist import ONE, OPEN, ZERO

from .powered import flat, library

if shutil.which("iverilog") is None:
    pytest.skip("Icarus Verilog is not installed", allow_module_level=True)

CYCLES = 300
HALF = 5000
LOOK = """for (k = 0; k < {nets}; k = k + 1) if (n[k] !== last[k]) count[k] = count[k] + 1;
      last = n;"""


def random_netlist(seed: int, cells: int = 150, inputs: int = 12) -> Flat:
    """Gates, flip-flops and clock gates, each gate after what drives it, flip-flops anywhere."""
    rng = np.random.default_rng(seed)
    kinds = ["INV", "BUF", "NAND2", "SLOW2", "NOR2", "XOR2", "MUX2", "FA", "DFF", "DFF", "CG"]
    clock, known, clocks = 2, list(range(3, 3 + inputs)), [2]
    drawn = [kinds[k] for k in rng.integers(0, len(kinds), cells)]
    made: dict[str, tuple[str, dict[str, int | str]]] = {}
    net = 3 + inputs
    late = []  # flip-flops take their data from anywhere
    for number, kind in enumerate(drawn):
        cell = library().cells[kind]
        pins: dict[str, int | str] = {}
        for pin in cell.inputs:
            if pin.name == "CK":
                pins["CK"] = int(rng.choice(clocks)) if kind == "DFF" else clock
            elif kind == "DFF":
                late.append(pins)
            else:
                recent = known[-25:]
                pins[pin.name] = int(rng.choice(recent)) if rng.random() < 0.97 else "1"
        for pin in cell.outputs:
            pins[pin.name] = net
            (clocks if kind == "CG" else known).append(net)
            net += 1
        made[f"u{number}"] = (kind, pins)
    for pins in late:
        pins["D"] = int(rng.choice(known))
    return flat(made, clk=[clock], x=list(range(3, 3 + inputs)), out=known[-20:])


def bench(unit: Circuit, netlist: Flat, given: np.ndarray, delays: Delays | None) -> str:
    """Return a module that holds the netlist, drives it and prints toggles of all nets."""
    width, nets = given.shape[1], netlist.nets
    lines = [f"module bench; reg [{width - 1}:0] x, list [0:{len(given) - 1}]; reg clk;"]
    each = [f"n{net}" for net in range(nets)]
    lines += [f"wire {', '.join(each)}; integer count [0:{nets - 1}]; integer i, k;"]
    lines += [f"assign n{ZERO} = 1'b0; assign n{ONE} = 1'b1; assign n{unit.clock_net} = clk;"]
    for place, net in enumerate(netlist.ports["x"].nets.tolist()):
        late = f"#{delays.inputs[place]} " if delays else ""
        lines.append(f"assign {late}n{net} = x[{place}];")
    for cell, model in enumerate(unit.models):
        pins = netlist.kinds[netlist.kind[cell]].pins
        on = netlist.net[netlist.first[cell] : netlist.first[cell + 1]].tolist()
        ends = ", ".join(f".{p}(n{net})" for p, net in zip(pins, on, strict=True) if net != OPEN)
        chosen = []
        if delays and model.enable < 0:  # clock gates are ideal
            for number, pin in enumerate(model.outputs):
                arc = unit.arcs[unit.first_output[cell] + number]
                chosen += [f".{edge}_{pin}({delays.arcs[arc]})" for edge in ("rise", "fall")]
        head = f" #({', '.join(chosen)})" if chosen else ""
        lines.append(f"{model.cell.name}{head} u{cell} ({ends});")
    if delays:
        lines += [f"always @(n{net}) count[{net}] = count[{net}] + 1;" for net in range(2, nets)]
    else:
        # What happens on the way within no time at all is no toggle.
        lines.append(
            f"wire [{nets - 1}:0] n = {{{', '.join(reversed(each))}}}; reg [{nets - 1}:0] last;"
        )
    look = "" if delays else LOOK.format(nets=nets)
    lines.append(f"""initial begin
      $readmemb("given.txt", list); clk = 0; x = list[0]; #{20 * HALF}
      for (i = 0; i < {nets}; i = i + 1) count[i] = 0;
      {"" if delays else "last = n;"}
      for (i = 1; i < {len(given)}; i = i + 1) begin
        clk = 1; x <= list[i]; #{HALF} {look} clk = 0; #{19 * HALF} {look};
      end
      for (i = 0; i < {nets}; i = i + 1) $display("%0d", count[i]);
      $finish;
    end endmodule""")
    return "\n".join(lines)


def random_delays(unit: Circuit, seed: int) -> Delays:
    """Return delays of outputs, each the same for all its arcs, and all different."""
    rng = np.random.default_rng(seed)
    outputs = len(unit.driven)
    of_output = rng.permutation(np.arange(20, 20 + 5 * outputs))[:outputs]
    inputs = sum(len(port.nets) for port in unit.inputs.values())
    return Delays(
        np.repeat(of_output, np.diff(unit.arcs)).astype(np.int32),
        rng.integers(1, 400, inputs).astype(np.int32),
        HALF,
    )


def icarus(folder: Path, text: str, given: np.ndarray, timed: bool) -> list[int]:
    """Return what Icarus counts."""
    (folder / "cells.v").write_text(verilog_models(library(), timed=timed))
    (folder / "bench.v").write_text(text)
    words = "\n".join("".join(map(str, row[::-1])) for row in given)
    (folder / "given.txt").write_text(words)
    build = ["iverilog", "-g2012", "-o", "bench.vvp", "cells.v", "bench.v"]
    for command in (build, ["vvp", "-n", "bench.vvp"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_toggles_of_all_nets(seed: int, timed: bool, tmp_path: Path) -> None:
    netlist = random_netlist(seed)
    unit = Circuit(netlist, library())
    rng = np.random.default_rng(seed + 100)
    given = rng.integers(0, 2, (CYCLES, len(netlist.ports["x"].nets))).astype(np.uint8)
    delays = random_delays(unit, seed) if timed else None
    counted = icarus(tmp_path, bench(unit, netlist, given, delays), given, timed)
    activity = simulate(unit, {"x": given}, delays=delays)
    ours = activity.toggles[0, : netlist.nets].tolist()
    assert [n for n in range(2, netlist.nets) if ours[n] != counted[n]] == []
    if timed:
        plain = simulate(unit, {"x": given})
        assert sum(ours) > plain.toggles.sum() * 1.02, "some nets glitch"
