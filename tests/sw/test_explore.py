"""Parts of sweeps: the grid, keys, the Pareto front, the file of points, the runner."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hw.isa.config import Config
from sim.result import MachineError
from sw.explore.local import processes
from sw.explore.pareto import front
from sw.explore.point import ExploreError, Outcome, Status
from sw.explore.rows import csv_text, json_rows, readable, scale
from sw.explore.run import Result, explore, with_front
from sw.explore.store import SCHEMA, Store
from sw.explore.sweep import grid, parse_axis, read_axes
from sw.explore.workload import Workload

from . import explore_work as work

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_grid_is_the_product_of_the_axes_the_last_running_fastest():
    found = work.candidates("rows=4,8", "dram_gbps=12.8,unlimited", "dataflow=os,ws", input_depth=8)
    assert [tuple(each.values.values()) for each in found] == [
        (rows, gbps, flow) for rows in (4, 8) for gbps in (12.8, 0.0) for flow in ("os", "ws")
    ]
    for each in found:
        config, values = each.point.config, each.values
        assert (config.rows, config.dram_gbps) == (values["rows"], values["dram_gbps"])
        assert each.point.dataflow == values["dataflow"]
        assert config.input_depth == 8
    assert len({each.point.key for each in found}) == 8


def test_keys_that_are_set_alike():
    found = work.candidates("rows=columns=4,6")
    assert [each.values for each in found] == [{"rows": n, "columns": n} for n in (4, 6)]
    assert [(each.point.config.rows, each.point.config.columns) for each in found] == [
        (4, 4),
        (6, 6),
    ]


def test_capacities_follow_the_shape():
    sweeps = "input_bytes=1K", "weight_bytes=2048", "output_bytes=4K", "rows=columns=4,8"
    for each in work.candidates(*sweeps):
        config = each.point.config
        assert (config.input_bytes, config.weight_bytes, config.output_bytes) == (1024, 2048, 4096)


def test_configurations_that_cannot_be_are_refused_with_their_reason():
    found = work.candidates("rows=4,1,128", "input_bytes=512,100")
    reasons = [each.refused for each in found]
    assert [each.point is None for each in found] == [False, True, True, True, True, True]
    assert reasons[1] == "input_bytes 100 are not two halves of whole words of 4 bytes"
    assert reasons[2] == "rows must be at least 2, not 1"
    assert reasons[4] == "input_depth must be at least 4, not 2"
    (tall,) = work.candidates("rows=128", input_depth=64)
    assert (
        tall.refused.startswith("a stationary tile of rows 128 x columns 4 takes 128 cycles")
        is False
    )


def test_a_sweep_of_steps():
    found = work.candidates("workload=gemm:3x4x5,lora:6x5x4:r2")
    gemm, lora = (each.point.step for each in found)
    (product,) = gemm.products
    assert (product.m, product.k, product.n) == (3, 4, 5)
    assert lora.macs == sum(
        m * k * n
        for m, k, n in [
            (6, 5, 4), (6, 5, 2), (6, 2, 4),  # X.W, X.A, H.B^T
            (6, 4, 2), (4, 6, 2), (5, 6, 2),  # dY.B, dY^T.H, X^T.dH
            (6, 4, 5), (6, 2, 5),  # dY.W^T, dH.A^T
        ]
    )  # fmt: skip


def test_a_sweep_of_models():
    plan = dataclasses.replace(work.plan(), workload=Workload("sd15"))
    found = grid(map(parse_axis, ("reading=kv,xattn", "batch=1,2", "rank=4,8")), plan)
    steps = [each.point.step for each in found]
    assert [(step.reading, step.batch, step.rank) for step in steps] == [
        (reading, batch, rank) for reading in ("kv", "xattn") for batch in (1, 2) for rank in (4, 8)
    ]
    assert len({each.point.key for each in found}) == 8


def test_a_file_of_axes(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('"rows=columns" = [4, 8]\ndram_gbps = [12.8, "unlimited"]\nweight_bytes=["2K"]')
    texts = "rows=columns=4,8", "dram_gbps=12.8,unlimited", "weight_bytes=2K"
    assert read_axes(str(path)) == tuple(map(parse_axis, texts))


@pytest.mark.parametrize(
    "change",
    [
        {"config": Config(rows=8)},
        {"config": Config(clock_mhz=800)},
        {"config": Config(dram_gbps=1.0)},
        {"step": Workload("gemm:12x10x8").load()},
        {"dataflow": "ws"},
        {"objective": "edp"},
        {"version": "0"},
    ],
)
def test_the_key_depends_on_everything_that_the_outcome_does(change):
    (candidate,) = work.candidates("rows=4")
    other = dataclasses.replace(candidate.point, **change)
    assert other.key != candidate.point.key


def test_the_key_depends_on_nothing_else():
    (first,), (second,) = work.candidates("rows=4"), work.candidates("columns=4")
    step = dataclasses.replace(second.point.step, name="another")
    assert first.point.key == dataclasses.replace(second.point, step=step).key


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("values", [3, 1000])
def test_the_front_is_that_of_all_pairs(seed, values):
    """Few values make many equal ones."""
    costs = [
        tuple(map(float, row)) for row in np.random.default_rng(seed).integers(values, size=(60, 3))
    ]

    def beats(one, other):
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    assert front(costs) == [not any(beats(one, cost) for one in costs) for cost in costs]


def test_each_workload_has_a_front_of_its_own():
    found = work.candidates("workload=gemm:3x4x5,gemm:3x4x6")
    outcomes = [Outcome(Status.DONE, 1, s, 1.0, 0.0, 1.0, 1, 1, 1) for s in (1.0, 2.0)]
    assert [each.pareto for each in with_front(list(map(Result, found, outcomes)))] == [True, True]


@pytest.fixture
def kept(tmp_path):
    """A file with two points, and these."""
    found = work.candidates("rows=4,6")
    path = tmp_path / "points.sqlite"
    with Store(path) as store:
        for each in found:
            store.put(each.point, work.invented(each.point))
    return path, [each.point for each in found]


def test_what_is_kept_is_found_again(kept):
    path, points = kept
    refused = Outcome(Status.REFUSED, error="too large")
    (other,) = work.candidates("rows=8")
    with Store(path) as store:
        store.put(other.point, refused)
    with Store(path) as store:
        found = store.get([*(point.key for point in points), other.point.key, "none"])
    assert found == {point.key: work.invented(point) for point in points} | {
        other.point.key: refused
    }
    assert sorted(file.name for file in path.parent.iterdir()) == ["points.sqlite"]


def test_two_sweeps_share_a_file(kept):
    path, points = kept
    (other,) = work.candidates("rows=8")
    with Store(path) as first, Store(path) as second:
        second.put(other.point, work.invented(other.point))
        assert first.get([other.point.key]) == {other.point.key: work.invented(other.point)}


def test_an_empty_file_is_a_new_one(tmp_path):
    """A sweep killed before its first transaction leaves one."""
    path = tmp_path / "points.sqlite"
    path.touch()
    (each,) = work.candidates("rows=4")
    with Store(path) as store:
        store.put(each.point, work.invented(each.point))
    with Store(path) as store:
        assert store.get([each.point.key]) == {each.point.key: work.invented(each.point)}


def test_two_sweeps_that_start_at_once_share_a_new_file(tmp_path):
    code = (
        "import sys; from pathlib import Path; from sw.explore.store import Store\n"
        "sys.stdin.read()\nStore(Path(sys.argv[1])).close()"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "points.sqlite")]
    both = [
        subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    time.sleep(1)
    for each in both:
        each.stdin.close()
    assert [(each.wait(), each.stderr.read()) for each in both] == [(0, b"")] * 2
    for each in both:
        each.stderr.close()


def damage_page(path):
    data = bytearray(path.read_bytes())
    data[4096:4200] = bytes(104)
    path.write_bytes(data)


def change(statement):
    def act(path):
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()

    return act


def other_database(path):
    path.unlink()
    change("CREATE TABLE points (key TEXT)")(path)


@pytest.mark.parametrize(
    "act,message",
    [
        (lambda path: path.write_text("4,4\n"), "{} is not a SQLite database"),
        (lambda path: path.write_text("rows,columns\n4,4\n" * 9), "{} is not a SQLite database"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4096]), "{} is damaged: "),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "{} is damaged: "),
        (damage_page, "{} is damaged: "),
        (other_database, "{} is a SQLite database, but not of finished points"),
        (
            change(f"PRAGMA user_version = {SCHEMA + 1}"),
            f"{{}} has schema version {SCHEMA + 1}, and only {SCHEMA} can be read: "
            "name another file",
        ),
    ],
)
def test_a_file_that_is_something_else_is_refused_and_left_alone(kept, act, message):
    path, _ = kept
    act(path)
    before = path.read_bytes()
    with pytest.raises(ExploreError) as error:
        Store(path)
    assert str(error.value).startswith(message.format(path)) and "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_changed_figure_is_found(kept):
    path, points = kept
    change("UPDATE points SET cycles = cycles + 1")(path)
    with Store(path) as store, pytest.raises(ExploreError) as error:
        store.get([points[0].key])
    text = f"{path} is damaged: the checksum of point {points[0].key} does not match"
    assert str(error.value) == text


def test_only_missing_points_are_computed(tmp_path):
    computed = []

    def run(points):
        computed.append([point.config.rows for point in points])
        return ((point, work.invented(point)) for point in points)

    shown = []
    with Store(tmp_path / "points.sqlite") as store:
        explore(work.candidates("rows=4,6"), store, run)
        results = explore(
            work.candidates("rows=3,4,1,6,8"), store, run, lambda *at: shown.append(at)
        )
    assert computed == [[4, 6], [3, 8]]
    assert shown == [(2, 4), (3, 4), (4, 4)]
    assert [each.done for each in results] == [True, True, False, True, True]
    assert [each.outcome.area_um2 for each in results if each.done] == [1200, 1600, 2400, 3200]


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def rows_of(database):
    """Return the keys in the file, which may be in use."""
    if not database.exists():
        return set()
    with sqlite3.connect(database, timeout=10) as connection:
        try:
            keys = {key for (key,) in connection.execute("SELECT key FROM points")}
        except sqlite3.OperationalError:  # not made yet
            keys = set()
    connection.close()
    return keys


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_a_killed_sweep_loses_at_most_the_points_in_flight(tmp_path):
    database, log = tmp_path / "points.sqlite", tmp_path / "log"
    words = [sys.executable, "-m", "tests.sw.explore_work", str(database)]
    environment = os.environ | {"EXPLORE_LOG": str(log), "PYTHONPATH": str(ROOT)}
    killed = subprocess.Popen(words, cwd=ROOT, env=environment)
    try:
        wait_for(lambda: len(rows_of(database)) >= 6)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    lines = log.read_text().split("\n")[:-1]
    wait_for(lambda: not any(alive(int(line.split()[0])) for line in lines))
    started = [line.split()[1] for line in log.read_text().splitlines()]
    finished = rows_of(database)
    assert 6 <= len(finished) < 30
    assert finished <= set(started) and len(started) - len(finished) <= 2 * work.JOBS

    log.unlink()
    subprocess.run(words, cwd=ROOT, env=environment, check=True, timeout=60)
    again = [line.split()[1] for line in log.read_text().splitlines()]
    keys = {
        each.point.key
        for each in work.candidates("dram_latency=" + ",".join(map(str, range(1, 31))))
    }
    assert Counter(again) == Counter(keys - finished)
    assert rows_of(database) == keys
    assert list(tmp_path.glob("points*")) == [database]


def test_a_process_that_dies_is_told_in_a_line():
    (candidate,) = work.candidates("rows=4")
    with pytest.raises(ExploreError) as error, processes(work.dying, 1) as run:
        list(run([candidate.point]))
    assert str(error.value) == (
        "a process that computed a point died, perhaps for want of memory: fewer --jobs need less"
    )


@pytest.mark.parametrize(
    "task,error,message",
    [
        (work.failing, ZeroDivisionError, "^bug$"),
        (work.stopping, MachineError, "the machine stopped with TOKEN_DEADLOCK .*waits for"),
    ],
)
def test_what_fails_in_a_process_is_not_hidden(task, error, message):
    (candidate,) = work.candidates("rows=4")
    with pytest.raises(error, match=message), processes(task, 1) as run:
        list(run([candidate.point]))


def test_rows_have_figures_in_base_units():
    found = work.candidates("rows=4,1")
    no = Outcome(Status.REFUSED, error=found[1].refused)
    results = with_front([Result(found[0], work.invented(found[0].point)), Result(found[1], no)])
    done, refused = json_rows(results)
    outcome = results[0].outcome
    assert done["swept"] == {"rows": 4} and done["config"] == found[0].point.config.to_mapping()
    assert (done["cycles"], done["area_um2"], done["pareto"]) == (60, 1600.0, True)
    assert math.isclose(done["power_w"], outcome.energy_j / outcome.seconds)
    assert (refused["status"], refused["cycles"], refused["config"]) == ("refused", None, None)
    assert refused["error"] == "rows must be at least 2, not 1"
    lines = csv_text(results).splitlines()
    assert lines[0].startswith(
        "rows,workload,reading,batch,rank,dataflow,objective,status,pareto,cycles"
    )
    assert lines[1].startswith("4,gemm:12x10x9,gemm,1,,auto,latency,done,true,60,")
    assert lines[2].startswith("1,,,,,,,refused,false,,") and "at least 2" in lines[2]


@pytest.mark.parametrize(
    "largest,unit,size",
    [
        (0.0123, "ms", 1e-3),
        (1.0, "s", 1.0),
        (999e-6, "us", 1e-6),
        (1e-30, "pJ", 1e-12),
        (0, "s", 1),
    ],
)
def test_units_suit_the_largest_value(largest, unit, size):
    found, by = scale([0.0, largest], unit[-1])
    assert (found, by) == (unit, pytest.approx(size))


def test_swept_values_read_as_written():
    pairs = {("dram_gbps", 0.0): "unlimited", ("dram_gbps", 12.8): "12.8", ("bus_bytes", 64): "64",
             ("input_bytes", 1 << 19): "512K", ("output_bytes", 1 << 20): "1M"}  # fmt: skip
    assert {pair: readable(*pair) for pair in pairs} == pairs
