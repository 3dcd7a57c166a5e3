"""The command line on good input: files, figures, tables and exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hw import emit
from hw.isa.config import PRESETS, Config
from hw.isa.numerics import INT8_MAX, multiplier, requantise8
from hw.isa.registers import COUNTERS
from sim import functional
from sim.result import Interval
from sw import arrays, cli, console, demo, driver, runner
from sw.program_file import read_programs

ROOT = Path(__file__).resolve().parents[2]
M, K, N = 5, 19, 7
OBLONG = ["--preset", "tiny", "--set", "rows=3", "--set", "columns=5"]


@pytest.fixture
def operands(tmp_path) -> tuple[np.ndarray, np.ndarray]:
    """A and B as they multiply, and the files a.npy, at.npy, b.npy and bt.npy."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, shape, dtype=np.int8) for shape in ((M, K), (K, N)))
    for name, array in {"a": a, "at": a.T, "b": b, "bt": b.T}.items():
        np.save(tmp_path / f"{name}.npy", array)
    return a, b


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a.astype(np.int64) @ b.astype(np.int64)


@pytest.mark.parametrize("dataflow", ["ws", "os", "auto"])
@pytest.mark.parametrize("left", ["a", "at"])
@pytest.mark.parametrize("right", ["b", "bt"])
def test_gemm_gives_the_exact_product(command, operands, dataflow, left, right):
    flags = ["--transpose-a"] * (left == "at") + ["--transpose-b"] * (right == "bt")
    done = command(
        "gemm", f"{left}.npy", f"{right}.npy", "-o", "c.npy", "--preset", "tiny",
        "--dataflow", dataflow, "--json", "c.json", *flags,
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    c = np.load("c.npy")
    assert c.dtype == np.int32 and np.array_equal(c, product(*operands))
    figures = json.loads(Path("c.json").read_text())
    assert figures["exact"] is True and figures["backend"] == "functional"
    assert figures["macs"] == M * K * N
    assert figures["seconds"] > 0
    assert {"instructions", "dram_read_bytes", "dram_write_bytes"} <= figures.keys()
    (row,) = figures["products"]
    assert row["shape"] == [M, K, N] and row["macs"] == M * K * N
    assert row["dataflow"] == dataflow if dataflow != "auto" else row["dataflow"] in ("ws", "os")
    assert {"program", "product", "instructions"} <= row.keys()


@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("group,axis", [("row", 1), ("column", 0), ("tensor", None)])
def test_gemm_requantises(command, operands, dataflow, group, axis):
    done = command(
        "gemm", "a.npy", "b.npy", "-o", "c.npy", "--preset", "tiny", "--requantise", group,
        "--dataflow", dataflow,
    )  # fmt: skip
    assert done.code == 0
    sums = product(*operands)
    most = np.broadcast_to(np.abs(sums).max(axis=axis, keepdims=True), sums.shape)
    pairs = zip(sums.ravel().tolist(), most.ravel().tolist(), strict=True)
    expected = [requantise8(acc, *multiplier(Fraction(127, top))) for acc, top in pairs]
    c = np.load("c.npy")
    assert c.dtype == np.int8 and c.ravel().tolist() == expected
    scales = np.load("c.scales.npy")
    assert np.array_equal(scales, np.atleast_1d(np.abs(sums).max(axis=axis)) / INT8_MAX)
    maxima = np.load("c.maxima.npy")
    assert maxima.dtype == np.uint32
    assert np.array_equal(maxima, np.atleast_1d(np.abs(sums).max(axis=axis)))
    assert "\n0 INT8 values were limited to 127\n" in done.out
    assert len(json.loads(command(*done.arguments, "--json", "-").out)["products"]) == 1


def test_gemm_with_scales_of_the_step_before(command, operands):
    words = ("gemm", "a.npy", "b.npy", "--preset", "tiny", "--requantise", "row")
    assert command(*words, "-o", "c.npy").code == 0
    first = np.load("c.maxima.npy")
    delayed = ("--scaling", "delayed", "--maxima", "c.maxima.npy", "--margin", "3/2")
    done = command(*words, *delayed, "-o", "d.npy", "--json", "d.json")
    assert (done.code, json.loads(Path("d.json").read_text())["exact"]) == (0, True)
    assert np.array_equal(np.load("d.maxima.npy"), first)
    tight = command(*words, *delayed[:-1], "1/2", "-o", "e.npy")
    limited = np.abs(product(*operands)) > first[:, None] / 2 * 127.5 / 127
    assert f"\n{limited.sum()} INT8 values were limited to 127\n" in tight.out
    assert limited.any() and (np.abs(np.load("e.npy"))[limited] == 127).all()
    assert np.array_equal(np.load("d.scales.npy"), first * 1.5 / INT8_MAX)
    scaled = np.abs(np.load("d.npy").astype(int)).max(axis=1)
    assert (scaled[first > 0] == 85).all(), "127 / 1.5, rounded"


def test_gemm_rounds_stochastically(command, operands):
    words = ("gemm", "a.npy", "b.npy", "--preset", "tiny", "--requantise", "tensor")
    for name, options in {
        "near": (), "zero": ("--rounding", "stochastic"),
        "one": ("--rounding", "stochastic", "--noise-seed", "1"),
        "same": ("--rounding", "stochastic", "--noise-seed", "1", "--dataflow", "os"),
    }.items():  # fmt: skip
        assert command(*words, *options, "-o", f"{name}.npy").code == 0
    near, zero, one, same = (np.load(f"{n}.npy") for n in ("near", "zero", "one", "same"))
    assert np.array_equal(one, same)
    assert (one != zero).any() and (one != near).any()
    assert (np.abs(one.astype(int) - near) <= 1).all()


def test_json_on_standard_output_is_nothing_else(command, operands):
    done = command("gemm", "a.npy", "b.npy", "-o", "c.npy", "--json", "-")
    assert json.loads(done.out)["exact"] is True
    assert "MxKxN" in done.err
    plain = command("gemm", "a.npy", "b.npy", "-o", "c.npy")
    assert "MxKxN" in plain.out and plain.err == ""


def config_of(command: Callable, *options: str) -> Config:
    """Return the configuration that options give, as it is in a compiled program."""
    assert command("compile", "gemm:4x4x4", "-o", "x.prog", *options).code == 0
    return read_programs("x.prog")[0].config


def test_values_are_laid_over_the_file_over_the_preset(command):
    Path("over.toml").write_text("rows = 8\ncolumns = 8\nclock_mhz = 500\ndram_gbps = 1\n")
    config = config_of(
        command, "--config", "over.toml", "--preset", "tiny", "--set", "columns=6",
        "--set", "dram_gbps=12.8",
    )  # fmt: skip
    assert config == Config(rows=8, columns=6, clock_mhz=500, dram_gbps=12.8)


@pytest.mark.parametrize("reverse", [False, True])
def test_values_may_be_given_in_any_order(command, reverse):
    """On the way from one valid configuration to another, a third need not be valid."""
    values = ["burst_beats=256", "bus_bytes=16", "rows=256", "input_depth=32768"]
    options = [word for value in values for word in ("--set", value)]
    if reverse:
        options = [word for value in values[::-1] for word in ("--set", value)]
    config = config_of(command, "--preset", "paper", *options)
    assert (config.burst_beats, config.bus_bytes, config.rows) == (256, 16, 256)


def test_a_file_and_values_are_checked_together(command):
    Path("long.toml").write_text("burst_beats = 256\n")
    config = config_of(
        command, "--preset", "paper", "--config", "long.toml", "--set", "bus_bytes=16"
    )
    assert (config.burst_beats, config.bus_bytes) == (256, 16)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(command, preset):
    assert config_of(command, "--preset", preset) == Config.preset(preset)


@pytest.mark.parametrize("workload", ["gemm:9x33x5", "lora:7x19x13:r2"])
@pytest.mark.parametrize("dataflow", ["ws", "os", "auto"])
def test_compiled_programs_are_text_and_back_the_same_bytes(command, workload, dataflow):
    done = command(
        "compile", workload, "-o", "x.prog", "--preset", "tiny", "--dataflow", dataflow,
        "--json", "x.json",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    figures = json.loads(Path("x.json").read_text())
    instructions = sum(len(program.instructions) for program in read_programs("x.prog"))
    assert f"x.prog: {instructions} instructions" in done.out
    assert figures["macs"] == sum(row["macs"] for row in figures["products"])
    if dataflow != "auto":
        assert {row["dataflow"] for row in figures["products"]} == {dataflow}
    text = command("disassemble", "x.prog").out
    Path("x.txt").write_text(text)
    done = command("assemble", "x.txt", "-o", "y.prog")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert Path("y.prog").read_bytes() == Path("x.prog").read_bytes()
    run = command("run", "y.prog", "--json", "-")
    figures = json.loads(run.out)
    assert run.code == 0
    assert figures["instructions"] == instructions and figures["backend"] == "functional"
    assert figures["exact"] is None, "the functional model is not checked against itself"


def test_the_seed_changes_the_data(command, monkeypatch):
    seen = []

    def record(*arguments):
        outputs, results = run_programs(*arguments)
        seen.append(outputs["C"].tolist())
        return outputs, results

    run_programs = runner.run_programs
    monkeypatch.setattr(runner, "run_programs", record)
    command("compile", "gemm:4x4x4", "-o", "x.prog", "--preset", "tiny")
    for seed in ("1", "1", "2"):
        assert command("run", "x.prog", "--seed", seed).code == 0
    assert seen[0] == seen[1] != seen[2]


def rtl(change=lambda dram: None, seen: list | None = None):
    """Return a backend that stands for the RTL: the functional model, and counters."""

    def run(config, program, dram, *, program_address, timing, progress, noise_seed, waves=None):
        if seen is not None:
            seen.append((timing.latency, timing.bytes_per_cycle))
        result = functional.run(config, program, dram, program_address=program_address)
        change(dram)
        result.counters.update({counter.name: 10**9 for counter in COUNTERS})
        return result

    return lambda: run


@pytest.mark.parametrize(
    "options,expected",
    [
        ([], (7, 8.0)),
        (["--dram-latency", "9"], (9, 8.0)),
        (["--dram-gbps", "6.4"], (7, 16.0)),
        (["--dram-gbps", "unlimited"], (7, None)),
        (["--set", "clock_mhz=200"], (7, 16.0)),
        (["--set", "dram_latency=11", "--dram-gbps", "0.4"], (11, 1.0)),
        (["--preset", "tiny"], (60, None)),
    ],
)
def test_runs_take_their_dram_from_the_program(command, monkeypatch, options, expected):
    """Its own timing is the default, and options change it."""
    seen = []
    monkeypatch.setitem(driver.BACKENDS, "rtl", rtl(seen=seen))
    command(
        "compile", "gemm:4x4x4", "-o", "x.prog", "--preset", "tiny", "--set", "dram_latency=7",
        "--set", "dram_gbps=3.2",
    )  # fmt: skip
    done = command("run", "x.prog", "--backend", "rtl", *options)
    assert (done.code, seen) == (0, [expected])


def test_a_trace_asks_for_activity_and_shows_it(command, monkeypatch):
    """Only a run that writes a timeline is slowed down by recording one."""
    asked = []
    activity = (Interval("axi_r", 3, 2), Interval("input_write_1", 6, 2))

    def run(*arguments, timeline=False, **options):
        asked.append(timeline)
        result = rtl()()(*arguments, **options)
        return replace(result, activity=activity if timeline else ())

    monkeypatch.setitem(driver.BACKENDS, "rtl", lambda: run)
    command("compile", "gemm:4x4x4", "-o", "x.prog", "--preset", "tiny")
    assert command("run", "x.prog", "--backend", "rtl").code == 0
    done = command("run", "x.prog", "--backend", "rtl", "--trace", "t.json")
    assert (done.code, asked) == (0, [False, True])
    assert "timeline: t.json" in done.out
    entries = json.loads(Path("t.json").read_text())["traceEvents"]
    shown = {entry["args"]["name"] for entry in entries if entry.get("name") == "process_name"}
    assert shown == {"memories", "AXI"}


def test_a_run_on_the_rtl_is_checked(command, monkeypatch):
    monkeypatch.setitem(driver.BACKENDS, "rtl", rtl())
    command("compile", "gemm:4x4x4", "-o", "x.prog", "--preset", "tiny")
    done = command("run", "x.prog", "--backend", "rtl", "--json", "-")
    figures = json.loads(done.out)
    assert (done.code, figures["exact"]) == (0, True)
    assert figures["utilisation"] == figures["macs"] / (figures["cycles"] * 16)
    assert {counter.name for counter in COUNTERS} <= figures.keys()


def test_a_wrong_run_ends_with_1(command, monkeypatch):
    def damage(dram: np.ndarray) -> None:
        dram[:] ^= 1

    monkeypatch.setitem(driver.BACKENDS, "rtl", rtl(damage))
    command("compile", "gemm:4x4x4", "-o", "x.prog", "--preset", "tiny")
    done = command("run", "x.prog", "--backend", "rtl", "--json", "x.json")
    assert done.code == 1
    assert done.err == "cdmqta: the outputs differ from those of the functional model\n"
    assert json.loads(Path("x.json").read_text())["exact"] is False


def test_a_wrong_product_ends_with_1(command, operands, monkeypatch):
    monkeypatch.setattr(arrays, "expected_gemm", lambda *_, **__: {"C": np.zeros((M, N), np.int32)})
    done = command("gemm", "a.npy", "b.npy", "-o", "c.npy", "--json", "c.json")
    assert (done.code, done.err) == (1, "cdmqta: c.npy differs from the exact product\n")
    assert json.loads(Path("c.json").read_text())["exact"] is False


def test_a_machine_that_stops_ends_with_1(command):
    command("compile", "gemm:4x4x4", "-o", "x.prog", "--preset", "tiny")
    text = command("disassemble", "x.prog").out
    Path("x.txt").write_text(text.replace("halt\n", ""))
    command("assemble", "x.txt", "-o", "y.prog")
    done = command("run", "y.prog")
    assert done.code == 1
    assert re.fullmatch(
        r"cdmqta: the machine stopped with PROGRAM_END \(code 2\) after \d+ instructions\n",
        done.err,
    )


def test_the_demo_is_exact_and_says_so(command):
    done = command("demo", "--backend", "functional", "--preset", "small", "--json", "demo.json")
    assert (done.code, done.err) == (0, "")
    assert "every output equals the torch golden model, bit for bit" in done.out
    figures = json.loads(Path("demo.json").read_text())
    assert figures["exact"] is True and figures["differences"] == {}
    names = ["H", "dH", "Y", "dX", "dA", "dB"]
    assert [row["product"] for row in figures["products"]] == names
    assert all(row["exact"] for row in figures["products"])
    assert {row["dataflow"] for row in figures["products"]} == {"ws", "os"}


def test_the_demo_rounds_stochastically(command):
    done = command(
        "demo", "--backend", "functional", "--preset", "small", "--rounding", "stochastic",
        "--noise-seed", "4294967295",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert "every output equals the torch golden model, bit for bit" in done.out


def test_a_demo_that_is_wrong_ends_with_1(command, monkeypatch):
    monkeypatch.setattr(demo, "golden", lambda *_, **__: {"dA": np.zeros((768, 4), np.int32)})
    done = command("demo", "--backend", "functional", "--preset", "small")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith("cdmqta: not exact: {'dA': '[0, 0]: ")
    assert re.search(r"^dA +768x77x4 .* NO$", done.out, re.M)
    assert re.search(r"^dA differs first at \[0, 0\]: -?\d+, not 0$", done.out, re.M)


def test_tables_fit_80_columns(capsys, monkeypatch):
    """Counters of hours, and the largest products of Stable Diffusion, in one line each."""
    monkeypatch.setenv("COLUMNS", "80")
    row = {
        "program": "requantise", "product": "dX", "shape": [4096, 23040, 1280],
        "dataflow": "ws+os", "cycles": 99_999_999, "macs": 99_999_999_999,
        "utilisation": 0.987, "exact": True,
    }  # fmt: skip
    report = console.Report(None)
    runner.print_products(report, [row | {"program": "maxima"}, row])
    counters = {counter.name: 10**9 for counter in COUNTERS}
    figures = counters | {"utilisation": 0.987, "backend": "rtl-verilator", "seconds": 86400.0}
    runner.print_totals(report, figures)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    shown = [line.split() for line in lines if line.startswith("dX")]
    cells = ["dX", "4096x23040x1280", "ws+os", "99,999,999", "99,999,999,999", "0.987", "yes"]
    assert shown == [cells, cells]
    heads = [line.strip() for line in lines if line.rstrip().endswith(":")]
    assert heads == ["maxima:", "requantise:"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals_only(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with console.progress() as show:
        assert show is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with console.progress() as show:
        show("emit", 0)
        show("run", 1200)
    assert "simulate, cycle 1,200" in sys.stderr.getvalue()


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    """What generate writes for an oblong array: folders `behavioural` and `blackbox`.

    The second as ``python -m sw``, where the environment of this Python is not activated: Yosys
    is not on PATH.
    """
    folder = tmp_path_factory.mktemp("generated")
    cli.main(["generate", "-o", str(folder / "behavioural"), *OBLONG,
              "--json", str(folder / "behavioural.json")])  # fmt: skip
    path = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "sw", "generate", "-o", "blackbox", *OBLONG, "--json",
         "blackbox.json", "--memories", "blackbox"],
        cwd=folder, env={"HOME": os.environ.get("HOME", "/")} | path, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    *_, last = done.stdout.splitlines()
    assert last.startswith("a stationary tile is loaded in 3 cycles at best: ")
    return folder


def test_generate_writes_three_files(generated):
    for memories in ("behavioural", "blackbox"):
        files = {path.name for path in (generated / memories).iterdir()}
        assert files == {"cdmqta.v", "memories.json", "config.toml"}
        figures = json.loads((generated / f"{memories}.json").read_text())
        assert {Path(file).name for file in figures["files"]} == files
        listed = json.loads((generated / memories / "memories.json").read_text())
        assert figures["memories"] == listed
        assert figures["tile_cycles"] == figures["break_even_rows"] == 3
        assert figures["dram_bound"] is False


def test_generate_warns_where_dram_is_too_slow(command, monkeypatch):
    monkeypatch.setattr(emit, "emit", lambda *_: emit.Emission("", "cdmqta", (), ()))
    for gbps, all_wait in ((2.4, False), (0.01, True)):
        slow = ("--set", f"dram_gbps={gbps}", "--json", "g.json")
        done = command("generate", "-o", "out", *OBLONG, *slow)
        config = Config(rows=3, columns=5, dram_gbps=gbps)
        rows = config.break_even_rows
        assert (done.code, done.err) == (0, f"cdmqta: warning: {config.dram_bound}\n")
        assert f"(24 bytes in beats) in {rows} cycles" in done.err and rows > 3
        assert ("; all do, " in done.err) is all_wait
        figures = json.loads(Path("g.json").read_text())
        assert (figures["break_even_rows"], figures["dram_bound"]) == (rows, True)
        assert f"a stationary tile is loaded in {rows} cycles at best: " in done.out


def test_the_memory_list_adds_up(generated):
    """Banks of the input and the weight memory, both banks of both halves of the output memory, the
    three scale memories, maxima of rows and columns; the transposing load has registers."""
    listed = json.loads((generated / "behavioural" / "memories.json").read_text())
    sizes = {
        (each["ports"], each["depth"], each["width"], each["write_granularity"]): each["instances"]
        for each in listed
    }
    assert sizes == {
        ("1rw", 64, 3 * 8, 3 * 8): 2,
        ("1rw", 64, 5 * 8, 5 * 8): 2,
        ("1rw", 32, 32, 32): 2 * 2 * 5,
        ("1r1w", 128, 24, 24): 2,
        ("1r1w", 32, 5 * 24, 24): 1,
        ("1r1w", 128, 32, 32): 1,
        ("1r1w", 32 * 5, 32, 32): 1,
    }


def test_only_the_memory_models_differ(generated):
    behavioural, blackbox = (
        (generated / name / "cdmqta.v").read_text() for name in ("behavioural", "blackbox")
    )
    models = re.findall(r"^module cdmqta_sram.*?^endmodule\n\n?", behavioural, re.M | re.S)
    assert len(models) == 7 and all(" store [0:" in model for model in models)
    for model in models:
        behavioural = behavioural.replace(model, "")
    assert behavioural == blackbox
    assert "module cdmqta_sram" not in blackbox


def test_the_written_configuration_gives_the_same_again(generated, command):
    toml = generated / "behavioural" / "config.toml"
    expected = Config(rows=3, columns=5)
    assert Config.from_mapping(tomllib.loads(toml.read_text())) == expected
    assert config_of(command, "--preset", "paper", "--config", str(toml)) == expected
    assert expected.digest() in (generated / "blackbox" / "cdmqta.v").read_text()


def test_help_and_version(command):
    for arguments in (["--help"], ["-h"], *([name, "-h"] for name in cli.cli.commands)):
        done = command(*arguments)
        assert (done.code, done.err) == (0, "") and done.out.startswith("Usage: cdmqta")
    assert re.fullmatch(r"cdmqta, version \d+\.\d+\.\d+\n", command("--version").out)


def test_who_reads_the_output_may_stop(command, tmp_path):
    """A pipe that is closed early is no reason for a traceback."""
    command("compile", "gemm:400x40x400", "-o", "x.prog", "--preset", "tiny")
    process = subprocess.Popen(
        [sys.executable, "-m", "sw", "disassemble", str(tmp_path / "x.prog")], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1
