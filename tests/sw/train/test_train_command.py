"""The command line of training: tasks of a user, devices, times, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hw.isa.config import PRESETS
from sw.train import one_site

TASKS = "tests.sw.train.tasks_of_a_user"


def test_a_task_of_a_user_is_trained_and_goes_on(command):
    words = ("train", f"{TASKS}:small", "--rank", "2", "-o", "run", "--json", "figures.json")
    done = command(*words, "--steps", "12")
    assert done.code == 0, done
    losses = read_losses()
    assert len(losses) == 12
    assert f"loss {losses[0]:.6g} at first, {losses[-1]:.6g} at last" in done.out
    names = {path.name for path in Path("run").iterdir()}
    assert names >= {"checkpoint.pt", "losses.csv", "quantisation.csv", "adapter"}
    again = command(*words, "--steps", "15")
    assert "run: goes on from step 12" in again.out
    assert read_losses()[:12] == losses and len(read_losses()) == 15


def read_losses():
    return [row["loss"] for row in json.loads(Path("figures.json").read_text())["losses"]]


UNKNOWN = (
    "--precision must be one of fp32, int8, int8-tensor, int8-stochastic, int6, int4, "
    "int4-weights, int4-activations, int4-gradients, not 'int3'"
)
BAD = {
    (f"{TASKS}:nothing",): f"{TASKS}:nothing: must return a sw.train.task.Task, not int",
    (f"{TASKS}:unmatched",):
        f"{TASKS}:unmatched: no linear layer matches *.to_k; the model has 0, 1",
    (f"{TASKS}:small", "--backend", "rtl"): "a task of your own is for --backend torch, not rtl",
    (f"{TASKS}:small", "--precision", "int3"):
        UNKNOWN,
    (f"{TASKS}:small", "--method", "full", "--experts", "2"):
        "--method full: experts and input_scales are of tuneqdm, not of full",
    ("--method", "tuneqdm", "--precision", "int8-tensor"):
        "--method tuneqdm: tuneqdm needs scales by channel: it trains them",
    ("--policies", "--precision", "int8"):
        "--policies are a set of methods: no other is taken",
    (f"{TASKS}:small", "--policies"): "--policies are for the built-in example",
    ("--backend", "timing", "--no-input-scales"): "--no-input-scales is not for --backend timing",
    ("--precision", "int3"):
        UNKNOWN,
    ("--backend", "timing", "--precision", "int8"):
        "--precision is not for --backend timing",
    ("--backend", "timing", "--method", "lora"): "--method is not for --backend timing",
    ("--backend", "timing", "--steps", "2"): "--steps is not for --backend timing",
    ("--backend", "rtl", "--seeds", "2"): "--seeds is not for --backend rtl",
    ("--backend", "functional", "--policies"): "--policies is not for --backend functional",
    ("--learning-rate", "1"): "--learning-rate is not for the built-in example",
    (f"{TASKS}:small", "--samples", "9"): "--samples is not for a task of your own",
    ("--backend", "functional", "--precision", "fp32"):
        "--precision fp32 has no integer products for a device to compute",
}  # fmt: skip


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_input_is_one_line(refused, words):
    refused(("train", *words), BAD[words])


def test_a_function_that_is_not_there(command):
    done = command("train", f"{TASKS}:missing")
    assert done.code == 2 and done.err.count("\n") == 1
    assert done.err.startswith(f"cdmqta: {TASKS}:missing: cannot be imported: ")


def test_a_checkpoint_of_another_run_is_refused(command, refused):
    words = ("train", f"{TASKS}:small", "--steps", "2", "-o", "run")
    assert command(*words).code == 0
    refused(
        (*words, "--rank", "3"),
        "--output: run/checkpoint.pt is of another run: its rank is 4, not 3; another folder "
        "starts anew",
    )


def test_a_task_without_a_loss(command):
    done = command("train", f"{TASKS}:lossless", "-o", "run")
    assert done.code == 2 and done.err == (
        f"cdmqta: {TASKS}:lossless: small: losses must be tensors by name, 'loss' among them\n"
    )


def test_a_step_that_is_refused_ends_the_run(command):
    done = command("train", f"{TASKS}:not_finite", "-o", "run")
    assert done.code == 1
    assert done.err == (
        "cdmqta: step 0 is refused: loss is not finite: it holds NaN or an infinity\n"
    )
    assert Path("run/checkpoint.pt").exists()


@pytest.mark.parametrize(
    "words,programs",
    [
        (("--precision", "int8"), 6),
        (("--precision", "int8-stochastic"), 6),
        (("--method", "tuneqdm", "--experts", "1"), 3 * (2 + 2 + 4 + 3)),
        (("--method", "full"), 6),
    ],
)
def test_a_device_trains_a_site(command, monkeypatch, words, programs):
    monkeypatch.setattr("sw.train_command._SITE", (9, 13, 11))
    done = command("train", "--backend", "functional", "--preset", "tiny", "--rank", "2",
                   *words, "--json", "figures.json")  # fmt: skip
    assert done.code == 0, done
    found = json.loads(Path("figures.json").read_text())
    assert found["exact"] and len(found["products"]) == 3 and found["programs"] == programs
    assert "every loss and every trained weight equals torch's, bit for bit" in done.out


def test_a_device_that_differs_fails(command, monkeypatch):
    monkeypatch.setattr("sw.train_command._SITE", (9, 13, 11))
    honest = one_site.compare

    def lying(*arguments, **options):
        found = honest(*arguments, **options)
        return one_site.Compared(found.losses, [0.0, *found.expected[1:]], False)

    monkeypatch.setattr(one_site, "compare", lying)
    done = command("train", "--backend", "functional", "--preset", "tiny", "--rank", "2")
    assert done.code == 1
    assert done.err == ("cdmqta: not exact: the losses or weights of functional and torch differ\n")
    assert "NO" in done.out


def test_times_of_steps(command, monkeypatch):
    monkeypatch.setattr("sw.train_command._TIMED", (("sw.example.traced:example", "kv", 2),))
    words = ("train", "--backend", "timing", "--preset", "small", "--json", "figures.json")
    done = command(*words)
    assert done.code == 0, done
    (row,) = json.loads(Path("figures.json").read_text())["steps"]
    assert row["model"] == "example" and row["cycles"] > row["macs"] / 256
    seconds = row["cycles"] / (PRESETS["small"].clock_mhz * 1e6)
    assert row["ms"] == pytest.approx(seconds * 1e3) and row["chip_mj"] > 0
