"""`cdmqta workload`: the table, the files, and bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sw.models import load_step

LEAST = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k (768 x 320)"
MADE = """
import torch

class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 5)

    def forward(self, x):
        return self.layer(x)

def plain():
    return Plain(), torch.zeros(1, 2, 3)
"""


def test_table_and_totals(command):
    done = command("workload", "sd15", "--reading", "kv")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split() == ["M", "K", "N", "times", "MMAC", "share", "roles"]
    rows = [line.split() for line in lines[2:-3]]
    assert rows[0] == ["77", "768", "1,280", "12", "908.329", "0.303", "forward"]
    assert rows[-1] == ["320", "77", "4", "10", "0.986", "0.000", "db"]
    work = [float(row[4]) for row in rows]
    assert work == sorted(work, reverse=True) and sum(work) == pytest.approx(2997.84, abs=0.01)
    assert sum(int(row[3]) for row in rows) == 32 * 8
    assert lines[-3:] == [
        "sd15, reading kv, batch 1, LoRA of rank 4",
        "256 products: 3.00 GMAC, 1.49 of them forward",
        "model: 859,520,964 parameters, 859,077,120 of them weights of layers; "
        "trained: 198,144 in 32 layers",
    ]


def test_primary_benchmark_is_an_option_away(command):
    done = command("workload", "sd15", "--batch", "2", "--json", "-")
    figures = json.loads(done.out)
    assert {key: figures[key] for key in ("model", "reading", "batch", "rank", "full")} == {
        "model": "sd15", "reading": "xattn", "batch": 2, "rank": 4, "full": False,
    }  # fmt: skip
    assert "LoRA of rank 4" in done.err


@pytest.mark.parametrize("options", [["--rank", "8"], ["--full", "--batch", "3"]])
def test_files_hold_every_product(command, options):
    words = ("workload", "sd21", "--csv", "a.csv", "--json", "a.json", *options)
    done = command(*words)
    assert (done.code, done.err) == (0, "")
    full = "--full" in options
    step = load_step("sd21", "xattn", 3 if full else 1, None if full else 8, full)
    figures = json.loads(Path("a.json").read_text())
    rows = list(csv.DictReader(Path("a.csv").read_text().splitlines()))
    assert len(rows) == len(figures["products"]) == len(step.products)
    for row, item, product in zip(rows, figures["products"], step.products, strict=True):
        shape = [product.m, product.k, product.n]
        assert item == {
            "product": product.site, "role": str(product.role), "shape": shape,
            "count": product.count, "macs": product.macs, "gradient": product.gradient,
        }  # fmt: skip
        assert [int(row[key]) for key in ("m", "k", "n")] == shape
        assert (row["product"], row["role"]) == (product.site, product.role)
        numbers = product.count, product.macs, product.gradient
        assert tuple(int(row[key]) for key in ("count", "macs", "gradient")) == numbers
    names = ("parameters", "weights", "trained", "sites", "macs", "forward_macs", "rank")
    for name in names:
        assert figures[name] == getattr(step, name)
    assert figures["full"] is full
    assert f"a.csv: {len(step.products)} products" in done.out.splitlines()
    method = "all weights trained" if full else "LoRA of rank 8"
    assert f"sd21, reading xattn, batch {step.batch}, {method}" in done.out


def test_a_model_of_the_users(command):
    pytest.importorskip("torch")
    Path("made_plain.py").write_text(MADE)
    done = command("workload", "made_plain:plain", "--reading", "unet", "--full", "--json", "-")
    assert done.code == 0
    figures = json.loads(done.out)
    assert [(each["role"], each["shape"]) for each in figures["products"]] == [
        ("forward", [2, 3, 5]), ("dx", [2, 5, 3]), ("dw", [3, 2, 5]),
    ]  # fmt: skip
    assert (figures["parameters"], figures["weights"], figures["trained"]) == (20, 15, 15)
    done = command("workload", "made_plain:plain", "--reading", "kv")
    assert (done.code, done.out) == (2, "")
    assert done.err == "cdmqta: model made_plain:plain has no cross-attention for reading kv\n"


@pytest.mark.parametrize(
    "options,message",
    [
        ("", "Missing argument 'MODEL'."),
        ("sd16", "model must be one of sd15, sd21, sdxl, or module:function, not 'sd16'"),
        ("none:made", "none:made: cannot be imported: ModuleNotFoundError: No module named 'none'"),
        ("os:getcwd", "os:getcwd: must return a torch.nn.Module, (module, example inputs) or a "
                      "UNet, not str"),
        ("sd15 --reading all", "Invalid value for '--reading': 'all' is not one of 'kv', 'xattn', "
                               "'transformer', 'unet'."),
        ("sd15 --batch 0", "Invalid value for '--batch': 0 is not in the range x>=1."),
        ("sd15 --rank 0", f"rank must be 1 to 320, the smaller side of {LEAST}, not 0"),
        ("sd15 --rank 321", f"rank must be 1 to 320, the smaller side of {LEAST}, not 321"),
        ("sd15 --rank four", "Invalid value for '--rank': 'four' is not a valid integer."),
        ("sd15 --full --rank 4", "--rank 4 is of LoRA: it cannot go with --full"),
        ("sd15 --csv none/a.csv", "Invalid value for '--csv': cannot write none/a.csv: there is no "
                                  "folder none"),
        ("sd15 --csv a --json ./a", "--csv a and --json ./a are one file"),
    ],
)  # fmt: skip
def test_bad_input(command, tmp_path, options, message):
    done = command("workload", *options.split())
    assert (done.code, done.out) == (2, "")
    assert done.err == f"cdmqta: {message}\n"
    assert not any(tmp_path.iterdir())
