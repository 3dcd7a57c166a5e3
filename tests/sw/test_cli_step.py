"""Whole training steps on the command line: compiled, timed, run, and refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sw import driver
from sw.graph.compile import PASSES
from sw.graph.session import shape_in
from sw.graph.tensors import frozen_shapes, lora_shapes, random_tensors
from sw.program_file import read_programs, write_programs

from .small_step import CONFIG, SHAPE, small_step

MODEL = """
from sw.models import UNet


def net():
    return UNet("net", 4, (8,), (1,), 0, (2,), 12, text_tokens=5, layers_per_block=1)
"""
COMPILE = (
    "compile", "nets:net", "-o", "s.cdmqta", "--rank", "2",
    "--preset", "tiny", "--set", "rows=8", "--set", "columns=8",
)  # fmt: skip


@pytest.fixture
def step(command, monkeypatch) -> Path:
    """A compiled step of a small U-Net, and the module `nets` that makes that."""
    Path("nets.py").write_text(MODEL)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    assert command(*COMPILE).code == 0
    return Path("s.cdmqta")


@pytest.fixture
def hand(command) -> str:
    """A file of the step that is made by hand."""
    write_programs("hand.cdmqta", small_step())
    return "hand.cdmqta"


def test_a_model_becomes_a_file(command, step):
    done = command(*COMPILE, "--json", "c.json", "--batch", "2", "--reading", "kv")
    assert done.code == 0, done.err
    figures = json.loads(Path("c.json").read_text())
    found = read_programs(step)
    assert figures["step"] == found.name == "net kv batch 2"
    assert figures["programs"] == len(list(found.programs)) == 2
    assert figures["instructions"] == sum(len(p.instructions) for p in found.programs)
    assert figures["dram_bytes"] == found.dram_bytes and figures["fusions"] == "all"
    assert shape_in(found).batch == 2 and found.config.rows == 8
    assert "2 programs, " in done.out and f"{figures['instructions']:,} instructions" in done.out


def test_a_stage_is_printed(command, step):
    done = command(*COMPILE, "--dump-after", "fuse")
    assert done.code == 0 and "\nsegment text.forward\n" in done.out
    assert "\nproduct text.Y: 5x" in done.out


def test_time_needs_no_data(command, step, monkeypatch):
    def none(*arguments, **options):
        raise AssertionError("data was run")

    monkeypatch.setattr("sim.functional.run", none)
    done = command("run", str(step), "--backend", "timing", "--json", "r.json")
    assert done.code == 0, done.err
    figures = json.loads(Path("r.json").read_text())
    for rows in ("kinds", "parts", "products"):
        assert sum(row["cycles"] for row in figures[rows]) == figures["cycles"], rows
        assert sum(row["macs"] for row in figures[rows]) == figures["macs"], rows
    assert figures["ideal_cycles"] == figures["macs"] / 64
    assert figures["utilisation"] == figures["ideal_cycles"] / figures["cycles"]
    gaps = sum(row["gap_cycles"] for row in figures["parts"])
    assert gaps == pytest.approx(figures["cycles"] - figures["ideal_cycles"])
    kinds = {row["program"]: row["times"] for row in figures["kinds"]}
    assert kinds == {"text.forward": 1, "scores": 3, "values": 3, "dscores": 3, "gradients": 3,
                     "text.backward": 1}  # fmt: skip
    assert figures["energy"]["chip_joules"] > 0 and figures["backend"] == "timing"
    for text in ("gap: cycles above", "energy: ", "DRAM: ", f"{figures['cycles']:,} cycles"):
        assert text in done.out


def test_time_depends_on_dram(command, step):
    cycles = []
    for options in ((), ("--dram-gbps", "0.8"), ("--dram-latency", "500")):
        command("run", str(step), "--backend", "timing", "--json", "r.json", *options)
        cycles.append(json.loads(Path("r.json").read_text())["cycles"])
    assert cycles[0] < min(cycles[1:])


def test_data_runs_on_the_functional_model(command, step):
    done = command("run", str(step), "--json", "r.json")
    assert done.code == 0, done.err
    assert "3 outputs and 16 gradients" in done.out
    figures = json.loads(Path("r.json").read_text())
    assert figures["exact"] is None and "cycles" not in figures
    checked = command("run", str(step), "--backend", "timing", "--check")
    assert checked.code == 0 and "3 outputs and 16 gradients" in checked.out


def test_timelines_of_all_programs(command, hand):
    assert command("run", hand, "--backend", "timing", "--trace", "t.json").code == 0
    assert sorted(p.name for p in Path().glob("t.*")) == ["t.0.json", "t.1.json"]


def test_weights_come_from_a_file(command, hand, monkeypatch):
    seen = []
    run = driver.Device.execute

    def record(device, program, dram, noise_seed=0):
        seen.append(program.layout["text.W"].window(dram).copy())
        return run(device, program, dram, noise_seed)

    monkeypatch.setattr(driver.Device, "execute", record)
    made = random_tensors(SHAPE, 9)
    save_file({name: made[name] for name in frozen_shapes(SHAPE)}, "w.safetensors")
    save_file({name: made[name] for name in lora_shapes(SHAPE)}, "l.safetensors")
    for options in ((), ("--weights", "l.safetensors"), ("--weights", "w.safetensors")):
        assert command("run", hand, *options).code == 0
    assert np.array_equal(seen[0], seen[2]) and not np.array_equal(seen[0], seen[4])


def rtl(change):
    """Return what stands in for the RTL: the functional model, and a change of DRAM."""

    def run(config, program, dram, *, progress=None, timeline=False, **options):
        from sim.timed import run as timed

        result = timed(config, program, dram, timeline=timeline, **options)
        change(dram)
        return result

    return lambda: run


def test_the_rtl_is_checked_bit_by_bit(command, hand, monkeypatch):
    monkeypatch.setitem(driver.BACKENDS, "rtl", rtl(lambda dram: None))
    done = command("run", hand, "--backend", "rtl", "--json", "r.json", "--trace", "t.json")
    assert done.code == 0, done.err
    assert json.loads(Path("r.json").read_text())["exact"] is True
    assert Path("t.1.json").exists()
    place = list(small_step().programs)[1].layout["text.dX"]

    def damage(dram):
        dram[place.address] ^= 1

    monkeypatch.setitem(driver.BACKENDS, "rtl", rtl(damage))
    done = command("run", hand, "--backend", "rtl")
    assert done.code == 1
    assert done.err == "cdmqta: what the RTL gives differs from the functional model\n"


def test_steps_are_text_and_back(command, hand):
    text = command("disassemble", hand).out
    Path("s.txt").write_text(text)
    assert command("assemble", "s.txt", "-o", "again.cdmqta").code == 0
    assert Path("again.cdmqta").read_bytes() == Path(hand).read_bytes()


@pytest.mark.parametrize(
    "options,message",
    [
        (["--reading", "all"],
         "Invalid value for '--reading': 'all' is not one of 'kv', 'xattn', 'transformer', "
         "'unet'."),
        (["--rank", "0"], "rank must be 1 to 8, the smaller side of "
         "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k (12 x 8), not 0"),
        (["--fusions", "steam"], "fusions must be all, none, or some of stream,low-rank,update,"
         "sum-dx,drain,heads, or such with - before each that is off, not 'steam'"),
        (["--dump-after", "lunch"],
         f"--dump-after must be one of {', '.join(PASSES)}, not 'lunch'"),
        (["--dataflow", "ws"],
         "--dataflow ws is of gemm: and lora:, a step has the best for each product"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_compiled(refused, command, options, message):
    Path("nets.py").write_text(MODEL)
    refused((*COMPILE, *options), message)


def test_options_of_a_model_for_another_workload(refused):
    for option, value in (("--batch", "2"), ("--fusions", "all"), ("--dump-after", "fuse")):
        refused(("compile", "gemm:4x4x4", "-o", "x.prog", option, value),
                f"{option} {value} is of a model, not of gemm:4x4x4")  # fmt: skip


@pytest.mark.parametrize(
    "options,message",
    [
        (["--backend", "rtl", "--waves", "w.vcd"],
         "--waves is of a single program, and hand.cdmqta holds a step of many"),
        (["--check"], "--check is of --backend timing: functional runs data anyway"),
        (["--weights", "w.st", "--backend", "timing"],
         "--weights needs data: --backend functional or rtl, or --check"),
        (["--weights", "none.st"], "cannot read none.st: No such file or directory"),
        (["--set", "rows=8"], "hand.cdmqta is compiled for rows = 4, not 8; a run may change "
         "clock_mhz, dram_latency, dram_gbps"),
    ],
)  # fmt: skip
def test_steps_that_cannot_be_run(refused, hand, options, message):
    refused(("run", hand, *options), message)


def test_options_of_a_step_for_another_file(refused, files):
    refused(("run", "g.prog", "--check"), "--check is of a step, and g.prog holds none")
    refused(("run", "g.prog", "--weights", "w"), "--weights is of a step, and g.prog holds none")


def test_damaged_steps(refused, hand):
    data = Path(hand).read_bytes()
    Path("cut").write_bytes(data[:-9])
    Path("bit").write_bytes(data[:99] + bytes([data[99] ^ 4]) + data[100:])
    refused(("run", "cut"), f"cut is truncated: it has {len(data) - 9} of {len(data)} bytes")
    refused(("run", "bit"), "bit is damaged: its checksum does not match its contents")
    write_programs("bare.cdmqta", replace(small_step(), meta={}))
    refused(("run", "bare.cdmqta"), "step small does not tell its sizes: 'reading'")


def test_a_step_whose_outcome_is_undefined(refused, command):
    step = small_step()
    program = next(step.programs)
    broken = tuple(
        replace(each, signal_execute=0) if hasattr(each, "memory") else each
        for each in program.instructions
    )
    steps = tuple(replace(s, instructions=broken) if s is program else s for s in step.steps)
    write_programs("broken.cdmqta", replace(step, steps=steps))
    done = command("run", "broken.cdmqta")
    assert done.code == 2 and done.out == ""
    assert done.err.startswith("cdmqta: broken.cdmqta: program text.Y: instruction ")


def test_the_configuration_of_a_run_may_differ_in_what_is_simulated(command, hand):
    slow = command("run", hand, "--backend", "timing", "--set", "dram_latency=900")
    assert slow.code == 0 and CONFIG.dram_latency != 900
