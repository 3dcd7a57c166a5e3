"""Compiled code of the timing model: kept by what it was made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import sim.compiled
from sim.compiled import folder

ROOT = Path(sim.compiled.__file__).parent.parent

RUN = """
import numpy as np
from sim.timing import fifo
queue = np.zeros(1, fifo.BUFFERED)[0]
print(fifo.has_room(queue, 4), fifo.has_room(queue, 1))
"""


def run(cache: Path) -> None:
    """Use a compiled function in a process of its own."""
    environment = os.environ | {"CDMQTA_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "False"]


def test_what_is_compiled_is_kept(tmp_path: Path) -> None:
    run(tmp_path)
    assert {file.name.partition("-")[0] for file in tmp_path.rglob("*.nbc")} == {"fifo.has_room"}


def test_a_place_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """The code is compiled for the process, and nothing is kept."""
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    run(blocked / "within")


def test_the_place_changes_with_the_sources(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CDMQTA_CACHE", str(tmp_path))
    before = folder()
    assert before.parent == tmp_path / "timing" and folder() == before
    copy = tmp_path / "sim"
    (copy / "timing").mkdir(parents=True)
    for source in (ROOT / "sim" / "timing").glob("*.py"):
        (copy / "timing" / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(sim.compiled, "__file__", str(copy / "compiled.py"))
    assert folder() == before
    (copy / "timing" / "bus.py").write_text("")
    assert folder() != before
