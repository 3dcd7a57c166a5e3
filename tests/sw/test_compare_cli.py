"""``cdmqta compare``: what it prints, writes and refuses, and what its figures show.

What our machine takes is made up here (`test_cost.Stopwatch`), so that nothing is simulated.
"""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hw.isa.config import Config
from sw.compare.plot import draw_bars
from sw.compare.roofline import draw_roofline, roofline_rows
from sw.compare.step import ALL_MODELS, PAPER, SCHEMES, compare
from sw.cost import Prices
from sw.models import load_step

from .test_cost import Stopwatch

SMALL = ("--reading", "kv", "--batch", "1", "--dram-gbps", "12.8", "--jobs", "1")


@pytest.fixture(autouse=True)
def made_up_times(monkeypatch):
    monkeypatch.setattr("sw.prices._run_timing_model", Stopwatch())


@pytest.fixture(scope="module")
def found():
    """The smallest step, at two bandwidths."""
    config = Config.preset("paper")
    steps = load_step("sd15", "kv", 1, None, full=True), load_step("sd15", "kv", 1, 4)
    return compare(
        config, *steps, bandwidths=(None, 12.8), prices=lambda at: Prices(at, timer=Stopwatch())
    )


def test_compare_prints_every_model_and_assumption(command):
    done = command("compare", *SMALL, "--dram-gbps", "unlimited", "--json", "rows.json")
    assert done.code == 0, done.err
    for words in (
        "sd15, reading kv, batch 1, rank 4; 64x64 array at 400 MHz",
        "operand swap", "WS partial sums", "16 bytes of DRAM traffic", "DRAM latency 60 cycles",
        "DRAM unlimited", "DRAM 12.8 GB/s",
    ):  # fmt: skip
        assert words in done.out
    for name in (*ALL_MODELS, "paper"):
        assert len(re.findall(rf"^{name} ", done.out, re.MULTILINE)) == 4, name
    assert "…" not in done.out, "a table is wider than 80 columns"
    figures = json.loads(Path("rows.json").read_text())
    rows = figures["rows"]
    assert [(row["model"], row["dram_gbps"]) for row in rows] == [
        (model, gbps) for gbps in (12.8, "unlimited") for model in ALL_MODELS
    ]
    for row in rows:
        assert {"full", "lora_os", "lora_ws", "lora_hybrid"} <= set(row)
        assert {f"edp_{name}" for name in SCHEMES} <= set(row)
    assert figures["paper"] == PAPER
    assert figures["products"]


def test_json_on_standard_output_is_alone_there(command):
    done = command("compare", *SMALL, "--json", "-")
    assert done.code == 0, done.err
    assert json.loads(done.out)["configuration"]["rows"] == 64


def test_the_optimiser_is_an_option(command):
    cycles = []
    for each in ("0", "28"):
        command("compare", *SMALL, "--optimizer-bytes", each, "--json", "rows.json")
        (row,) = [
            row for row in json.loads(Path("rows.json").read_text())["rows"]
            if (row["model"], row["dram_gbps"]) == ("ideal", 12.8)
        ]  # fmt: skip
        cycles.append(row["full"])
    trained = load_step("sd15", "kv", 1, None, full=True).trained
    assert cycles[1] - cycles[0] == 28 * trained / 32  # 32 bytes a cycle


def test_figures_are_written(command):
    done = command("compare", *SMALL, "--plot", "bars.svg", "--roofline", "roofline.png")
    assert done.code == 0, done.err
    assert ET.fromstring(Path("bars.svg").read_bytes()).tag.endswith("svg")
    assert Path("roofline.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert done.out.endswith("figure: bars.svg\nfigure: roofline.png\n")


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_figures_are_the_same_every_time(found, suffix):
    assert draw_bars(found, "title", suffix) == draw_bars(found, "title", suffix)
    own = found[-1:]
    assert draw_roofline(own, "title", suffix) == draw_roofline(own, "title", suffix)


def words_of(svg: bytes) -> list[str]:
    """Return the texts of a figure: matplotlib leaves each beside its outline."""
    return [text.strip() for text in re.findall(r"<!-- (.*?) -->", svg.decode())]


def test_bars_name_models_schemes_and_factors(found):
    words = words_of(draw_bars(found, "a title", ".svg"))
    assert {"a title", "DRAM unlimited", "DRAM 12.8 GB/s", "the paper's Figure 6"} <= set(words)
    assert {SCHEMES[name].label for name in ("full", "lora_os", "lora_ws", "lora_hybrid")} <= set(
        words
    )
    for each in found:
        assert f"{each.ratio('edp', 'full'):.2f}" in words
        assert each.model in words
    assert not any("date" in word.lower() for word in words)


def test_the_roofline_has_every_product(found):
    own = [each for each in found if each.model == "ours"]
    words = words_of(draw_roofline(own, "a title", ".svg"))
    assert "64x64 array: 4,096 MACs a cycle" in words
    assert "bus, 2 x 64 bytes a cycle" in words
    assert "DRAM, 32 bytes a cycle" in words
    for each in own:
        rows = roofline_rows(each.hybrid)
        assert sum(row["total_cycles"] for row in rows) == each.hybrid.cycles
        assert sum(row["runs"] for row in rows) == sum(r.product.count for r in each.hybrid.rows)
        for row in rows:
            assert 0 < row["macs_per_cycle"] <= 4096
            assert row["limit"] in ("compute", "dram", "fill")


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("--reading", "all"), "reading must be one of kv, xattn, transformer, unet, not 'all'"),
        (("--batch", "0"), "batch must be at least 1, not 0"),
        (("--dram-gbps", "-3"), "--dram-gbps must be a positive number or unlimited, not '-3'"),
        (("--dram-gbps", "nan"), "--dram-gbps must be a positive number or unlimited, not 'nan'"),
        (("--dram-latency", "0"), "--dram-latency: dram_latency must be at least 1, not 0"),
        (("--optimizer-bytes", "-1"), "--optimizer-bytes must be 0 or more, not -1"),
        (("--optimizer-bytes", "inf"), "--optimizer-bytes must be 0 or more, not inf"),
        (
            ("--plot", "x.pdf"),
            "Invalid value for '--plot': must end in .svg or .png, not 'x.pdf'",
        ),
        (
            ("--roofline", "x"),
            "Invalid value for '--roofline': must end in .svg or .png, not 'x'",
        ),
        (
            ("--plot", "no/x.svg"),
            "Invalid value for '--plot': cannot write no/x.svg: there is no folder no",
        ),
        (
            ("--plot", "x.svg", "--roofline", "x.svg"),
            "--plot x.svg and --roofline x.svg are one file",
        ),
        (("--plot", "x.svg", "--json", "x.svg"), "--plot x.svg and --json x.svg are one file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(command, arguments, message):
    done = command("compare", *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"cdmqta: {message}\n")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "arguments,named",
    [
        (("--model", "sd9"), ("model", "sd15", "'sd9'")),
        (("--rank", "0"), ("rank", "1 to 320", "not 0")),
        (("--rank", "321"), ("rank", "1 to 320", "not 321")),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_models_are_one_line_that_names_what_is_wrong(command, arguments, named):
    done = command("compare", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("cdmqta: ") and done.err.count("\n") == 1
    for words in named:
        assert words in done.err


def test_a_figure_without_matplotlib_is_refused_before_any_work(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = command("compare", "--plot", "x.svg")
    assert (done.code, done.out) == (2, "")
    assert done.err == "cdmqta: --plot needs matplotlib: pip install 'cdmqta[plot]'\n"
    assert list(Path().iterdir()) == []
