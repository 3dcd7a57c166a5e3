"""Emitted Verilog: the same every time, clean under lint, complete for synthesis."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.emit import CELLS, TOP, WAIVERS, Emission, emit
from hw.isa.config import Config
from hw.shared import Builder
from hw.sram import Macro, Sram, verilog
from sim.result import BackendError
from sim.toolchain import find_verilator, yosys_environment

from .bench import simulate

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {"tiny": Config.preset("tiny"), "3x5": Config(rows=3, columns=5)}


@pytest.fixture(autouse=True, scope="module")
def yosys():
    """Find Yosys also where the environment of this Python is not activated."""
    yosys_environment()


@cache
def emission(name: str, memories: str = "behavioural") -> Emission:
    return emit(CONFIGS[name], memories)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def bodies(text: str) -> dict[str, str]:
    """Return what is inside each module, of the plain form where there are two."""
    text = re.sub(rf"^`ifdef {CELLS}\n.*?^`else // {CELLS}\n", "", text, flags=re.M | re.S)
    found = re.findall(r"^module (\S+?) ?\(.*?;\n(.*?)^endmodule", text, re.M | re.S)
    assert len(dict(found)) == len(found), "two modules have one name"
    return dict(found)


def instances(text: str) -> Counter[str]:
    """Return how often each module occurs, counted by walking down from the top."""
    inside = {
        name: re.findall(r"^  (\S+) +\S+ +\($", body, re.M) for name, body in bodies(text).items()
    }
    found: Counter[str] = Counter()
    waiting = [TOP]
    while waiting:
        name = waiting.pop()
        found[name] += 1
        waiting += inside.get(name, [])
    return found


def stub(macro: Macro) -> str:
    """Return a module with the ports of a memory and nothing inside, as a foundry would give.

    From what memories.json says alone.
    """
    listed = json.loads(json.dumps(macro.listing()))
    ports = [f"{pin['direction']} [{pin['width'] - 1}:0] {pin['name']}" for pin in listed["pins"]]
    return f"module {listed['name']}({', '.join(ports)});\n  assign read_data = 0;\nendmodule\n"


CODE = """
import hashlib, sys
from hw.emit import emit
from hw.isa.config import Config
from sim.toolchain import yosys_environment
yosys_environment()
for config in (Config.preset("tiny"), Config(rows=3, columns=5)):
    print(hashlib.sha256(emit(config).verilog.encode()).hexdigest())
"""


def test_emission_is_the_same_in_every_run_and_under_every_hash_seed():
    other = subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "4242"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    here = [digest(emission(name).verilog) for name in CONFIGS]  # meanwhile
    out, err = other.communicate(timeout=120)
    assert other.returncode == 0, err
    assert out.split() == here


@pytest.mark.parametrize("name", CONFIGS)
def test_the_text_says_what_it_is_and_nothing_of_where_it_was_made(name):
    text, config = emission(name).verilog, CONFIGS[name]
    first = f"// CDM-QTA accelerator, {config.rows}x{config.columns}, configuration "
    assert text.startswith(first + config.digest() + "\n")
    assert str(ROOT) not in text and "Yosys" not in text
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", text)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_memory_list_is_what_the_text_uses(name):
    found = emission(name)
    listed = {memory.macro.name: memory.instances for memory in found.memories}
    counted = instances(found.verilog)
    used = {name: count for name, count in counted.items() if name.startswith("cdmqta_sram")}
    assert listed == used and min(listed.values()) >= 1
    assert list(listed) == sorted(listed)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_unit_is_used_and_none_is_missing(name):
    found = emission(name)
    text, config = found.verilog, CONFIGS[name]
    modules = set(bodies(text))
    counted = instances(text)
    assert modules == set(counted)
    assert set(found.hierarchical) <= modules
    assert counted["cdmqta_row"] == config.rows
    assert counted["cdmqta_pe"] == config.rows * config.columns
    assert counted["cdmqta_lane"] == config.columns


def pins(inputs: str, outputs: str) -> list[dict[str, str | int]]:
    """Return the ports of a memory's module, given as names and widths."""
    return [
        {"name": name, "direction": direction, "width": int(width)}
        for direction, text in (("input", inputs), ("output", outputs))
        for name, width in (pin.split() for pin in text.split(", "))
    ]


def test_the_memory_list_says_what_to_order():
    found = {memory.macro.name: memory.listing() for memory in emission("3x5").memories}
    assert found["cdmqta_sram_1rw_64x24"] == {
        "name": "cdmqta_sram_1rw_64x24", "depth": 64, "width": 24, "ports": "1rw",
        "read_ports": 0, "write_ports": 0, "read_write_ports": 1, "write_granularity": 24,
        "read_latency": 1, "read_data_held": True, "instances": 2,
        "pins": pins(
            "clk 1, rst 1, enable 1, write 1, address 6, write_data 24", "read_data 24"
        ),
    }  # fmt: skip
    # 32 words of 5 scale entries of 24 bits, each of which can be written alone.
    assert found["cdmqta_sram_1r1w_32x120_by24"] == {
        "name": "cdmqta_sram_1r1w_32x120_by24", "depth": 32, "width": 120, "ports": "1r1w",
        "read_ports": 1, "write_ports": 1, "read_write_ports": 0, "write_granularity": 24,
        "read_latency": 1, "read_data_held": True, "read_during_write": "old", "instances": 1,
        "pins": pins(
            "clk 1, rst 1, read_enable 1, read_address 5, write_enable 5, write_address 5, "
            "write_data 120", "read_data 120",
        ),
    }  # fmt: skip
    text = emission("3x5").verilog
    for name, listed in found.items():
        (body,) = re.findall(rf"^module {name} ?\((.*?)^endmodule", text, re.M | re.S)
        assert f"[{listed['width'] - 1}:0] store [0:{listed['depth'] - 1}]" in body
        assert ("input read_enable" in body) == bool(listed["read_ports"])
        assert ("input enable, input write" in body) == bool(listed["read_write_ports"])
        lanes = listed["width"] // listed["write_granularity"]
        if listed["write_ports"]:
            assert f"[{lanes - 1}:0] write_enable" in body


@pytest.mark.parametrize("name", CONFIGS)
def test_the_models_have_the_ports_that_the_memory_list_says(name):
    for memory in emission(name).memories:
        head = verilog(memory.macro).partition(");")[0]
        found = re.findall(r"(input|output)(?: reg)? (?:\[(\d+):0\] )?(\w+)", head)
        assert sorted((name, way, int(top or 0) + 1) for way, top, name in found) == sorted(
            (pin["name"], pin["direction"], pin["width"]) for pin in memory.listing()["pins"]
        )


class Collision(wiring.Component):
    """A memory that is written and read at once, in one place."""

    def __init__(self) -> None:
        super().__init__({"data": In(8), "seen": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = Sram(4, 8, Builder())
        m.d.comb += [store.write_enable.eq(1), store.read_enable.eq(1)]
        m.d.comb += [store.write_data.eq(self.data), self.seen.eq(store.read_data)]
        return m


def test_a_read_of_the_word_being_written_returns_the_old_one():
    """In the plain form; the Verilog model is written with assignments that do the same."""
    dut = Collision()

    async def bench(ctx):
        for value in range(1, 6):
            ctx.set(dut.data, value)
            await ctx.tick()
            assert ctx.get(dut.seen) == value - 1

    simulate(dut, bench)


def test_a_black_box_text_leaves_only_the_memories_out():
    behavioural, blackbox = emission("tiny"), emission("tiny", "blackbox")
    assert blackbox.memories == behavioural.memories
    models = [verilog(memory.macro) for memory in blackbox.memories]
    assert all(" store [" in model for model in models)
    text = behavioural.verilog
    for model in models:
        assert text.count(model) == 1
        text = text.replace(f"{model}\n", "")
    assert text == blackbox.verilog


def test_another_kind_of_memories():
    message = "^memories must be behavioural or blackbox, not 'magic'$"
    with pytest.raises(ValueError, match=message):
        emit(CONFIGS["tiny"], "magic")


def test_every_waiver_is_explained():
    assert all(len(reason.split()) > 3 for reason in WAIVERS.values())
    lines = re.findall(
        r"^/\* verilator lint_off (\w+) \*/ // (.+)$", emission("tiny").verilog, re.M
    )
    assert dict(lines) == WAIVERS


def lint(folder: Path, text: str) -> str:
    """Return what Verilator has to say about a text, with every warning on.

    Its summary of time and memory, in lines that begin with a dash, is left out.
    """
    try:
        tool = find_verilator()
    except BackendError as error:
        pytest.skip(str(error))
    (folder / "cdmqta.v").write_text(text)
    done = subprocess.run(
        [tool.executable, "--lint-only", "-Wall", "--top-module", TOP, "cdmqta.v"], cwd=folder,
        env=os.environ | dict(tool.environment), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    said = "".join(
        line for line in (done.stdout + done.stderr).splitlines(True) if not line.startswith("- ")
    )
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("name", CONFIGS)
def test_lint_has_nothing_to_say(tmp_path, name):
    assert lint(tmp_path, emission(name).verilog) == ""


def test_lint_has_nothing_to_say_of_black_boxes(tmp_path):
    found = emission("tiny", "blackbox")
    stubs = [stub(memory.macro) for memory in found.memories]
    assert lint(tmp_path, "\n".join([found.verilog, *stubs])) == ""


@pytest.mark.parametrize("damage,rule", [("module", "MODMISSING"), ("port", "PINMISSING")])
def test_lint_would_find_a_fault(tmp_path, damage, rule):
    found = emission("tiny", "blackbox")
    first, *rest = (stub(memory.macro) for memory in found.memories)
    first = "" if damage == "module" else first.replace(" write_data", " data")
    with pytest.raises(AssertionError, match=f"^%(Error|Warning)-{rule}: "):
        lint(tmp_path, "\n".join([found.verilog, first, *rest]))


def yosys_run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder; the packaged Yosys reaches no file outside it."""
    program = os.environ.get("YOSYS", "yosys")
    return subprocess.run(
        [program, "-q", "-p", script], cwd=folder, capture_output=True, text=True, timeout=120
    )


SYNTHESIS = "read_verilog cdmqta.v; hierarchy -check -top cdmqta; proc; check -assert"


@pytest.mark.parametrize("memories", ["behavioural", "blackbox"])
def test_yosys_reads_it_and_finds_nothing_loose(tmp_path, memories):
    """No module missing, no wire undriven, no loop, no conflict."""
    found = emission("tiny", memories)
    stubs = [] if memories == "behavioural" else [stub(each.macro) for each in found.memories]
    (tmp_path / "cdmqta.v").write_text("\n".join([found.verilog, *stubs]))
    done = yosys_run(tmp_path, SYNTHESIS)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, "", "")


def test_yosys_would_find_a_fault(tmp_path):
    (tmp_path / "cdmqta.v").write_text(emission("tiny", "blackbox").verilog)
    done = yosys_run(tmp_path, SYNTHESIS)
    assert done.returncode != 0
    assert "cdmqta_sram" in done.stdout + done.stderr
