"""The command line on bad input: one line that says what, exit code 2, and nothing written."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.numerics import MAX_REDUCTION

from .command import COMPILE, GEMM, snapshot

KEYS = ", ".join(Config.names())
COMMANDS = (
    "demo, generate, gemm, compile, disassemble, assemble, run, compare, explore, firmware, "
    "synth, train, workload"
)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((), f"a command is missing; accepted: {COMMANDS}"),
        (("gem",), f"no command 'gem'; accepted: {COMMANDS}"),
        (("gemm",), "Missing argument 'A.npy'."),
        (("gemm", "a.npy"), "Missing argument 'B.npy'."),
        (("gemm", "a.npy", "b.npy"), "Missing option '-o' / '--output'."),
        (("compile", "gemm:4x4x4"), "Missing option '-o' / '--output'."),
        (("run",), "Missing argument 'FILE'."),
        (("run", "g.prog", "more"), "Got unexpected extra argument (more)"),
        (("disassemble", "--seed", "1", "g.prog"), "no option --seed; accepted: --help"),
        (
            ("--fast",),
            "no option --fast; accepted: --version, --help",
        ),
        (
            (*COMPILE, "--goal", "edp"),
            "no option --goal; accepted: --preset, --config, --set, --json, --output, "
            "--dataflow, --objective, --reading, --batch, --rank, --fusions, --dump-after, --help",
        ),
        (
            (*COMPILE, "--objective", "area"),
            "Invalid value for '--objective': 'area' is not one of 'latency', 'energy', 'edp'.",
        ),
        (
            (*COMPILE, "--dataflow", "is"),
            "Invalid value for '--dataflow': 'is' is not one of 'ws', 'os', 'auto'.",
        ),
        (
            (*GEMM, "--requantise", "all"),
            "Invalid value for '--requantise': 'all' is not one of 'row', 'column', 'tensor'.",
        ),
        (
            ("generate", "-o", "out", "--memories", "none"),
            "Invalid value for '--memories': 'none' is not one of 'behavioural', 'blackbox'.",
        ),
        (
            ("run", "g.prog", "--seed", "-1"),
            "Invalid value for '--seed': -1 is not in the range x>=0.",
        ),
        (
            ("run", "g.prog", "--seed", "x"),
            "Invalid value for '--seed': 'x' is not a valid integer range.",
        ),
    ],
)
def test_words(refused, files, arguments, message):
    refused(arguments, message)


@pytest.mark.parametrize(
    "options,message",
    [
        (["--preset", "huge"], "--preset: unknown preset 'huge'; accepted: tiny, small, paper"),
        (["--set", "rows"], "--set takes KEY=VALUE, not 'rows'"),
        (
            ["--set", "rose=4"],
            f"--set rose=4: unknown configuration key 'rose'; accepted: {KEYS}",
        ),
        (["--set", "rows=four"], "--set rows=four: rows must be a whole number, not 'four'"),
        (["--set", "rows=4.0"], "--set rows=4.0: rows must be a whole number, not '4.0'"),
        (["--set", "dram_gbps=x"], "--set dram_gbps=x: dram_gbps must be a number, not 'x'"),
        (["--set", "rows=1"], "--set rows=1: rows must be at least 2, not 1"),
        (["--set", "rows=257"], "--set rows=257: rows must be at most 256, not 257"),
        (["--set", "bus_bytes=12"], "--set bus_bytes=12: bus_bytes must be a power of two, not 12"),
        (
            ["--set", "bus_bytes=128", "--set", "burst_beats=33"],
            "--set bus_bytes=128 --set burst_beats=33: burst_beats 33 of bus_bytes 128 cross the "
            "4096-byte AXI boundary: burst_beats must be at most 32",
        ),
        (["--config", "none.toml"], "--config: cannot read none.toml: No such file or directory"),
        (["--config", "."], "--config: cannot read .: Is a directory"),
        (
            ["--config", "bytes.toml"],
            "--config: bytes.toml is not TOML: 'utf-8' codec can't decode byte 0xff in position "
            "0: invalid start byte",
        ),
        (
            ["--config", "broken.toml"],
            "--config: broken.toml is not TOML: Invalid value (at line 2, column 11)",
        ),
        (
            ["--config", "unknown.toml"],
            f"--config unknown.toml: unknown configuration key 'rose'; accepted: {KEYS}",
        ),
        (
            ["--config", "text.toml"],
            "--config text.toml: rows must be a whole number, not '4'",
        ),
        (
            ["--config", "table.toml"],
            "--config table.toml: rows must be a whole number, not {'of': 4}",
        ),
        (
            ["--config", "truth.toml"],
            "--config truth.toml: rows must be a whole number, not True",
        ),
        (
            ["--config", "range.toml", "--set", "columns=8"],
            "--config range.toml --set columns=8: rows must be at least 2, not 0",
        ),
    ],
)
def test_configurations(refused, options, message):
    Path("bytes.toml").write_bytes(b"\xff\xfe")
    Path("broken.toml").write_text("rows = 4\ncolumns = \n")
    Path("unknown.toml").write_text("rows = 4\nrose = 4\n")
    Path("text.toml").write_text("rows = '4'\n")
    Path("table.toml").write_text("[rows]\nof = 4\n")
    Path("truth.toml").write_text("rows = true\n")
    Path("range.toml").write_text("rows = 0\n")
    for arguments in (COMPILE, ("generate", "-o", "out")):
        refused((*arguments, *options), message)


def test_a_key_that_is_called_like_an_argument(refused):
    refused(
        (*COMPILE, "--set", "self=4"),
        f"--set self=4: unknown configuration key 'self'; accepted: {KEYS}",
    )


@pytest.mark.parametrize(
    "options,message",
    [
        (["--backend", "fpga"], "--backend must be one of functional, timing, rtl, not 'fpga'"),
        *(
            (
                ["--dram-gbps", text],
                f"--dram-gbps must be a positive number or unlimited, not {text!r}",
            )
            for text in ("0", "-1", "nan", "fast", "")
        ),
        (
            ["--dram-gbps", "inf"],
            "--dram-gbps: dram_gbps must be at most 1000000.0, not inf",
        ),
        (["--dram-latency", "0"], "--dram-latency: dram_latency must be at least 1, not 0"),
        (
            ["--dram-latency", "100001"],
            "--dram-latency: dram_latency must be at most 100000, not 100001",
        ),
        (
            ["--dram-latency", "1.5"],
            "Invalid value for '--dram-latency': '1.5' is not a valid integer.",
        ),
    ],
)
def test_backends_and_dram(refused, files, options, message):
    for arguments in (GEMM, ("run", "g.prog"), ("demo",)):
        refused((*arguments, *options), message)


def save_bad_matrices() -> None:
    np.save("float.npy", np.ones((5, 7), np.float32))
    np.save("unsigned.npy", np.ones((5, 7), np.uint8))
    np.save("line.npy", np.ones(7, np.int8))
    np.save("cube.npy", np.ones((5, 7, 1), np.int8))
    np.save("empty.npy", np.ones((0, 7), np.int8))
    np.save("objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save("other.npy", np.ones((5, 8), np.int8))
    Path("short.npy").write_bytes(Path("a.npy").read_bytes()[:-1])
    Path("head.npy").write_bytes(Path("a.npy").read_bytes()[:20])
    Path("text.npy").write_text("1 2 3\n")
    Path("nothing.npy").write_bytes(b"")
    Path("cut.npy").write_bytes(b"PK\x03\x04 and no more")
    with zipfile.ZipFile("pair.npz", "w") as archive:
        archive.write("a.npy")
    Path("folder").mkdir()


@pytest.mark.parametrize(
    "name,message",
    [
        ("float.npy", "must be int8, not float32"),
        ("unsigned.npy", "must be int8, not uint8"),
        ("line.npy", r"must hold a matrix, not an array of shape \(7,\)"),
        ("cube.npy", r"must hold a matrix, not an array of shape \(5, 7, 1\)"),
        ("empty.npy", r"must hold a matrix, not an array of shape \(0, 7\)"),
        ("none.npy", "cannot be read: No such file or directory"),
        ("folder", "cannot be read: Is a directory"),
        *(
            (name, r"is not a \.npy file of numbers: [^\n]+")
            for name in (
                "objects.npy", "short.npy", "head.npy", "text.npy", "nothing.npy", "cut.npy",
                "pair.npz",
            )
        ),
    ],
)  # fmt: skip
def test_matrices(command, files, name, message):
    save_bad_matrices()
    before = snapshot()
    for operands in ((name, "b.npy"), ("a.npy", name)):
        done = command("gemm", *operands, "-o", "c.npy", "--json", "-")
        assert (done.code, done.out) == (2, "")
        assert re.fullmatch(f"cdmqta: {re.escape(name)}: {message}\n", done.err), done.err
    assert snapshot() == before


@pytest.mark.parametrize(
    "operands,left,right",
    [
        (("other.npy", "b.npy"), 8, 7),
        (("a.npy", "a.npy"), 7, 5),
        (("a.npy", "b.npy", "--transpose-a"), 5, 7),
        (("a.npy", "b.npy", "--transpose-b"), 7, 3),
    ],
)
def test_reductions_that_differ(refused, files, operands, left, right):
    save_bad_matrices()
    message = f"{operands[0]} has K = {left} and {operands[1]} has K = {right}: they must be equal"
    refused(("gemm", *operands, "-o", "c.npy"), message)


LONG = f"a reduction of 131072 could leave int32: it must be at most {MAX_REDUCTION}"


def test_a_product_whose_sums_could_overflow(refused, command):
    np.save("a.npy", np.ones((2, MAX_REDUCTION + 1), np.int8))
    np.save("b.npy", np.ones((MAX_REDUCTION + 1, 2), np.int8))
    refused(GEMM, f"a.npy, b.npy: {LONG}")
    np.save("a.npy", np.ones((2, MAX_REDUCTION), np.int8))
    np.save("b.npy", np.ones((MAX_REDUCTION, 2), np.int8))
    assert command(*GEMM).code == 0


@pytest.mark.parametrize(
    "workload,message",
    [
        ("gemm:4x131072x4", LONG),
        ("lora:4x131072x4:r2", LONG),
        ("lora:131072x4x4:r2", LONG),
        ("gemm:0x4x4", "sizes must be at least 1"),
        ("lora:4x4x4:r0", "sizes must be at least 1"),
    ],
)
def test_workloads_that_cannot_be(refused, workload, message):
    refused(("compile", workload, "-o", "x.prog"), f"workload {workload}: {message}")


@pytest.mark.parametrize("workload", ["gemm:4x4", "gemm:4x4x-4", "lora:4x4x4", "sd16", ":f", ""])
def test_workloads_that_have_no_meaning(refused, workload):
    message = (
        "workload must be a model (sd15, sd21, sdxl, module:function), gemm:MxKxN or "
        f"lora:NxD1xD2:rR, not {workload!r}"
    )
    refused(("compile", workload, "-o", "x.prog"), message)


def test_sizes_that_cannot_be_tiled(refused, files):
    narrow = [
        "--set", "bus_bytes=128", "--set", "accumulate_scale_depth=4", "--set", "row_scale_depth=4",
        "--set", "column_scale_depth=2",
    ]  # fmt: skip
    np.save("long.npy", np.ones((9, 7), np.int8))
    np.save("wide.npy", np.ones((7, 11), np.int8))
    refused(
        ("gemm", "long.npy", "wide.npy", "-o", "c.npy", *narrow, "--preset", "tiny",
         "--requantise", "row", "--dataflow", "ws"),
        "long.npy, wide.npy: the WS product 9x7x11 does not fit: its smallest tile 9x7x11 takes 9 "
        "words of the row-scale memory, which has 4",
    )  # fmt: skip
    refused(
        ("compile", "lora:9x9x9:r2", "-o", "x.prog", "--preset", "tiny", *narrow),
        "workload lora:9x9x9:r2: the scales of 9 tokens do not fit: there is room for 1 at a "
        "time, and they are cut at multiples of 128",
    )


@pytest.mark.parametrize(
    "sizes, complaint",
    [
        ("1000x100x1000", "the matrices of C take 4200000 bytes"),
        # Rows start at multiples of 8 bytes, so narrow matrices take more than their elements.
        ("6000x1x1", "the buffers take 72064 bytes"),
    ],
)
def test_more_than_dram_holds(refused, sizes, complaint):
    workload = f"gemm:{sizes}"
    refused(
        ("compile", workload, "-o", "x.prog", "--preset", "tiny", "--set", "address_bits=16"),
        f"workload {workload}: {complaint} of DRAM, but address_bits 16 reach 65536",
    )


OUTPUTS = [
    ("file/x", "cannot write file/x: there is no folder file"),
    ("none/x", "cannot write none/x: there is no folder none"),
    ("folder", "cannot write folder: it is a folder"),
]


@pytest.mark.parametrize("name,message", OUTPUTS)
def test_outputs_that_cannot_be_written(refused, files, name, message):
    Path("file").write_text("kept")
    Path("folder").mkdir()
    for arguments in (
        ("gemm", "a.npy", "b.npy"),
        ("compile", "gemm:4x4x4"),
        ("assemble", "g.txt"),
    ):
        refused((*arguments, "-o", name), f"Invalid value for '-o' / '--output': {message}")
    for option in ("--json", "--trace", "--waves"):
        refused(("run", "g.prog", option, name), f"Invalid value for '{option}': {message}")
    refused((*GEMM, "--json", name), f"Invalid value for '--json': {message}")


def test_folders_that_cannot_be_made(refused):
    Path("file").write_text("kept")
    refused(("generate", "-o", "file/x"), "--output: cannot make file/x: Not a directory")
    refused(("generate", "-o", "file"), "--output: cannot make file: File exists")


def test_scales_that_cannot_be_written(command, files):
    """What is found out late is one line, too."""
    Path("c.scales.npy").mkdir()
    done = command(*GEMM, "--requantise", "row")
    assert (done.code, done.err) == (2, "cdmqta: cannot write c.scales.npy: Is a directory\n")
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "options,message",
    [
        (["--scaling", "delayed"], "--scaling needs --requantise: int32 sums are exact"),
        (["--rounding", "stochastic"], "--rounding needs --requantise: int32 sums are exact"),
        (["--requantise", "row", "--scaling", "delayed"],
         "--scaling delayed needs --maxima, C.maxima.npy of an earlier step"),
        (["--requantise", "row", "--maxima", "a.npy"],
         "--maxima needs --scaling delayed, not fresh"),
        (["--requantise", "row", "--scaling", "delayed", "--maxima", "a.npy"],
         "a.npy: must be uint32 of shape (5,), not int8 (5, 7)"),
        (["--requantise", "row", "--scaling", "delayed", "--maxima", "none.npy"],
         "none.npy: cannot be read: No such file or directory"),
        (["--requantise", "row", "--margin", "1.25"],
         "--margin needs --scaling delayed, not fresh"),
        (["--margin", "2"], "--margin needs --scaling delayed, not fresh"),
        (["--requantise", "row", "--noise-seed", "0"],
         "--noise-seed needs --rounding stochastic, not nearest"),
        (["--noise-seed", "7"], "--noise-seed needs --rounding stochastic, not nearest"),
        (["--requantise", "row", "--margin", "0"],
         "Invalid value for '--margin': must be a number above 0, such as 1.25 or 5/4, not '0'"),
        (["--requantise", "row", "--margin", "1/0"],
         "Invalid value for '--margin': must be a number above 0, such as 1.25 or 5/4, not '1/0'"),
    ],
)  # fmt: skip
def test_scaling_and_rounding(refused, files, options, message):
    refused((*GEMM, *options), message)


def test_a_noise_seed_of_a_demo_that_rounds_to_nearest(refused):
    refused(("demo", "--noise-seed", "7"), "--noise-seed needs --rounding stochastic, not nearest")
