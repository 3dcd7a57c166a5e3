"""``cdmqta explore`` as a user calls it: rows, files, resuming, bad input, a Dask cluster."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from hw.isa.config import Config
from sw.cli import main
from sw.explore.cluster import cluster
from sw.explore.evaluate import evaluate
from sw.explore.point import ExploreError, Status
from sw.explore.store import Store

from . import explore_work as work

ROOT = Path(__file__).resolve().parent.parent.parent
SWEPT = (
    *Config.names(), "input_bytes", "weight_bytes", "output_bytes", "workload", "reading", "batch",
    "rank", "dataflow", "objective",
)  # fmt: skip
TINY = ("explore", "gemm:9x10x11", "--preset", "tiny", "--jobs", "1")
POINT = work.candidates("rows=4")[0].point
SWEEP = ("--sweep", "rows=4,1,6", "--sweep", "dram_gbps=0.4,unlimited")


@pytest.fixture(scope="module")
def computed(tmp_path_factory) -> Path:
    """A folder with all files of a sweep, and what is printed in out.txt."""
    folder = tmp_path_factory.mktemp("sweep")
    files = {"--database": "explore.sqlite", "--json": "p.json", "--csv": "p.csv"}
    words = [word for option, name in files.items() for word in (option, str(folder / name))]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main([*TINY, *SWEEP, *words])
    (folder / "out.txt").write_text(printed.getvalue())
    return folder


@pytest.fixture
def points(computed) -> list[dict]:
    """The points of that sweep's JSON."""
    return json.loads((computed / "p.json").read_text())["points"]


def keys_of(path: Path) -> set[str]:
    """Return the keys in a database."""
    connection = sqlite3.connect(path)
    try:
        return {key for (key,) in connection.execute("SELECT key FROM points")}
    finally:
        connection.close()


def test_the_rows_are_what_the_points_cost(points):
    assert [row["swept"] for row in points] == [
        {"rows": rows, "dram_gbps": gbps} for rows in (4, 1, 6) for gbps in (0.4, 0.0)
    ]
    assert [row["status"] for row in points] == ["done"] * 2 + ["refused"] * 2 + ["done"] * 2
    config = Config(rows=6, dram_gbps=0.4)
    step = work.plan("gemm:9x10x11").workload.load()
    outcome = evaluate(replace(POINT, config=config, step=step))
    assert outcome.status is Status.DONE
    (row,) = (row for row in points if row["swept"] == {"rows": 6, "dram_gbps": 0.4})
    assert row["config"] == config.to_mapping()
    for name in ("cycles", "seconds", "energy_j", "dram_energy_j", "area_um2", "power_w", "macs"):
        assert row[name] == getattr(outcome, name), name
    assert row["macs"] == 9 * 10 * 11
    assert row["utilisation"] == row["macs"] / (row["cycles"] * 24)
    slow, fast = (row["cycles"] for row in points[4:])
    assert slow > fast


def test_csv_and_table_say_the_same(computed, points):
    with (computed / "p.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["cycles"] for row in read] == [str(row["cycles"] or "") for row in points]
    assert [row["pareto"] == "true" for row in read] == [row["pareto"] for row in points]
    printed = (computed / "out.txt").read_text()
    assert "refused: rows=1 dram_gbps=0.4: rows must be at least 2, not 1\n" in printed
    front = sum(row["pareto"] for row in points)
    assert f"4 points, {front} of them on the front of latency, energy and area\n" in printed
    assert all(f"{row['cycles']:,} " in printed for row in points if row["cycles"])


def test_a_sweep_again_computes_nothing_and_says_the_same(command, computed, points, monkeypatch):
    monkeypatch.setattr("sw.explore.command.evaluate", work.dying)
    shutil.copy(computed / "explore.sqlite", Path())
    for suffix in ("svg", "png"):
        done = command(*TINY, *SWEEP, "--plot", f"p.{suffix}", "--json", "p.json")
        assert (done.code, done.err) == (0, "")
        assert json.loads(Path("p.json").read_text())["points"] == points
    assert Path("explore.sqlite").read_bytes() == (computed / "explore.sqlite").read_bytes()
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    image = Path("p.svg").read_bytes()
    assert ET.fromstring(image).tag.endswith("svg")
    command(*TINY, *SWEEP, "--plot", "p.svg")
    assert Path("p.svg").read_bytes() == image


def test_points_that_the_compiler_refuses_are_listed_and_kept(command, computed):
    shutil.copy(computed / "explore.sqlite", Path())
    done = command(*TINY, "--sweep", "workload=gemm:9x10x11,gemm:4x200000x4")
    assert done.code == 0
    assert "1 points, 1 of them" in done.out
    reason = "a reduction of 200000 could leave int32: it must be at most 131071"
    assert done.out.endswith(f"refused: workload=gemm:4x200000x4: {reason}\n")
    done = command("explore", "gemm:4x200000x4", *TINY[2:])
    assert (done.code, done.out) == (2, "")
    assert done.err == f"cdmqta: the only point is refused: {reason}\n"
    assert len(keys_of(Path("explore.sqlite"))) == 5


def test_a_dask_cluster_gives_the_rows_of_local_processes(command, computed, points):
    from dask.distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as here:
        address = here.scheduler_address
        words = ("--scheduler", address, "--database", "far.sqlite", "--json", "far.json")
        done = command(*TINY[:-2], *SWEEP, *words)
        foreign = replace(POINT, version="0")
        for task, error, text in (
            (evaluate, ExploreError, "a worker has another version of cdmqta than this"),
            (work.failing, ZeroDivisionError, "bug"),
        ):
            with pytest.raises(error, match=text), cluster(task, address) as run:
                list(run([foreign]))
    assert (done.code, done.err) == (0, "")
    assert json.loads(Path("far.json").read_text())["points"] == points
    keys = keys_of(Path("far.sqlite"))
    assert keys == keys_of(computed / "explore.sqlite") and len(keys) == 4


def take_ctrl_c() -> None:
    """Take SIGINT as programs do: what a shell starts in the background ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_a_sweep_at_once_and_leaves_what_is_done(tmp_path):
    words = (sys.executable, "-m", "sw", *TINY, "--set", "input_depth=512")
    sweep = ("--sweep", "dram_latency=" + ",".join(map(str, range(1, 2001))))
    running = subprocess.Popen(
        [*words, *sweep], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=take_ctrl_c,
    )  # fmt: skip
    path = tmp_path / "explore.sqlite"
    end = time.monotonic() + 300  # the first run ever compiles the timing model
    while not (path.exists() and path.stat().st_size > 1 << 15):
        assert running.poll() is None and time.monotonic() < end, running.communicate()
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    try:
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    # Behind it may stand a warning of Python's, if the program had to be cut short.
    assert (running.returncode, out, err.strip().splitlines()[0]) == (
        130,
        "",
        "cdmqta: interrupted",
    )
    Store(path).close()
    assert 0 < len(keys_of(path)) < 2000


def refusals() -> list[tuple[list[str], str]]:
    """Return words after `TINY` and what is complained of."""
    keys = ", ".join(SWEPT)
    swept = {
        "rose=4": f"unknown key 'rose'; accepted: {keys}",
        "rows=rose=4": f"unknown key 'rose'; accepted: {keys}",
        "rows=4,x": "rows must be a whole number, not 'x'",
        "rows=": "rows must be a whole number, not ''",
        "rows=4.5": "rows must be a whole number, not '4.5'",
        "rows=4,8,4": "4 is given twice",
        "dram_gbps=12.8,-1": "dram_gbps must be a positive number or unlimited, not '-1'",
        "dram_gbps=nan": "dram_gbps must be a positive number or unlimited, not 'nan'",
        "dram_gbps=inf": "dram_gbps must be a positive number or unlimited, not 'inf'",
        "input_bytes=1KB": "input_bytes must be a number of bytes such as 65536, 64K or 1M, "
        "not '1KB'",
        "dataflow=is": "dataflow must be one of auto, ws, os, not 'is'",
        "objective=area": "objective must be one of latency, energy, edp, not 'area'",
    }
    found = [(["--sweep", text], f"--sweep {text}: {what}") for text, what in swept.items()]
    found += [
        (["--sweep", "rows"], "--sweep takes KEY=VALUE,VALUE,..., not 'rows'"),
        (
            ["--sweep", "rows=4", "--sweep", "columns=rows=8"],
            "rows is swept twice: one --sweep may hold all its values",
        ),
        (["--sweep", "rows=1"], "rows=1 is refused: rows must be at least 2, not 1"),
        (
            ["--sweep", "rows=1,0", "--sweep", "columns=4,8"],
            "all 4 points are refused; the first, rows=1 columns=4: rows must be at least 2, not 1",
        ),
        (
            ["--sweep", "rows=" + ",".join(map(str, range(2, 1000))),
             "--sweep", "columns=" + ",".join(map(str, range(2, 1000)))],
            "the sweeps span 996,004 points: at most 100,000 are accepted",
        ),
        (["--sweep", "workload=gemm"], "workload must be a model (sd15, sd21, sdxl, "
         "module:function), gemm:MxKxN or lora:NxD1xD2:rR, not 'gemm'"),
        (["--sweep", "workload=gemm:4x4"], "workload must be a model (sd15, sd21, sdxl, "
         "module:function), gemm:MxKxN or lora:NxD1xD2:rR, not 'gemm:4x4'"),
        (["--sweep", "workload=gemm:4x0x4"], "workload gemm:4x0x4: sizes must be at least 1"),
        (["--reading", "kv"], "reading is of a model, and gemm:9x10x11 is none"),
        (["--full"], "full is of a model, and gemm:9x10x11 is none"),
        (["--sweep", "rank=0"], "rank is of a model, and gemm:9x10x11 is none"),
        (["--dram-gbps", "-1"], "--dram-gbps must be a positive number or unlimited, not '-1'"),
        (["--jobs", "0"], "Invalid value for '--jobs': 0 is not in the range x>=1."),
        (["--scheduler", "tcp://127.0.0.1:8786"],
         "--jobs is for processes of this machine, not with --scheduler"),
        (["--plot", "p.pdf"], "Invalid value for '--plot': must end in .svg or .png, not 'p.pdf'"),
        (["--csv", "no/p.csv"],
         "Invalid value for '--csv': cannot write no/p.csv: there is no folder no"),
        (["--csv", "p", "--json", "p"], "--csv p and --json p are one file"),
        (["--csv", "explore.sqlite"], "--csv explore.sqlite and --database explore.sqlite are "
         "one file"),
        (["--database", "no/x"],
         "Invalid value for '--database': cannot write no/x: there is no folder no"),
        (["--database", "."], "Invalid value for '--database': cannot write .: it is a folder"),
        (["--database", "text"], "text is not a SQLite database"),
        (["--sweep-file", "none"], "--sweep-file: cannot read none: No such file or directory"),
        (["--sweep-file", "text", "--csv", "text"], "--csv text would overwrite the input text"),
        (["--sweep-file", "text"], "--sweep-file: text is not TOML: Expected '=' after a key in a "
         "key/value pair (at line 1, column 6)"),
        (["--sweep-file", "one.toml"],
         "--sweep-file one.toml: rows must be a list of values, not 4"),
        (["--sweep-file", "none.toml"], "--sweep-file none.toml: rows has no values"),
        (["--sweep-file", "truth.toml"],
         "--sweep-file truth.toml: rows must be a whole number, not 'True'"),
    ]  # fmt: skip
    return found


@pytest.mark.parametrize("words,message", refusals())
def test_bad_input(command, words, message):
    command("--version")  # goes to the folder
    Path("text").write_text("this is no database and no sweep\n" * 9)
    Path("one.toml").write_text("rows = 4\n")
    Path("none.toml").write_text("rows = []\n")
    Path("truth.toml").write_text("rows = [true]\n")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    done = command(*TINY, *words)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"cdmqta: {message}\n"
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("words", [["--reading", "all"], ["--batch", "0"], ["--rank", "0"]])
def test_bad_steps_of_models(command, words):
    done = command("explore", "sd15", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"cdmqta: {words[0][2:]}") and words[1] in done.err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "address,reason",
    [
        ("tcp://127.0.0.1:1", "no answer"),
        ("nowhere", "missing port number in address 'nowhere'"),
    ],
)
def test_a_scheduler_that_is_not_there(command, monkeypatch, address, reason):
    monkeypatch.setattr("sw.explore.cluster.CONNECT", 0.2)
    done = command(*TINY[:-2], "--scheduler", address)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"cdmqta: --scheduler {address}: {reason}; accepted is the address of a running "
        "Dask scheduler, such as tcp://127.0.0.1:8786\n"
    )
    assert not list(Path().iterdir())


def test_dask_that_is_not_installed_is_named(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    done = command(*TINY[:-2], "--scheduler", "tcp://127.0.0.1:1")
    message = "--scheduler needs dask.distributed: pip install 'cdmqta[cluster]'"
    assert (done.code, done.out, done.err) == (2, "", f"cdmqta: {message}\n")
    assert not list(Path().iterdir())
