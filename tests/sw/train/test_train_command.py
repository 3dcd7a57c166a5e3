"""The command line of training: tasks of a user, devices, times, and what is refused."""

from __future__ import annotations

import json
import sys
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


def test_seeds_of_a_task_of_a_user(command):
    def losses(folder, *words):
        words = ("train", f"{TASKS}:small", "--steps", "4", *words, "-o", folder)
        done = command(*words, "--json", "figures.json")
        assert done.code == 0, done
        return read_losses()

    first, again, other = losses("a"), losses("b", "--seed", "0"), losses("c", "--seed", "1")
    assert first == again and first[0] != other[0]
    done = command("train", f"{TASKS}:small", "--steps", "4", "--seed", "2", "-o", "c")
    assert done.code == 2 and "is of another run: its settings is " in done.err


def test_a_task_of_a_user_with_attention_alpha_and_a_schedule(command):
    words = ("train", f"{TASKS}:denoiser", "--precision", "int8-low-noise", "--json", "f.json")
    losses = {}
    for folder, counts in (("whole", "8"), ("parts", "38")):
        for steps in counts:
            done = command(*words, "--steps", steps, "-o", folder)
            assert done.code == 0, done
        losses[folder] = [row["loss"] for row in json.loads(Path("f.json").read_text())["losses"]]
    assert losses["whole"] == losses["parts"] and len(set(losses["whole"])) == 8
    assert json.loads(Path("whole/adapter/adapter_config.json").read_text())["lora_alpha"] == 8
    layers = {row.split(",")[1] for row in Path("whole/quantisation.csv").read_text().split()}
    assert {"to_k", ".QK", ".PV"} <= layers
    # The share of the noise decides: other precisions give other losses.
    assert (
        command(*words[:3], "int8-high-noise", *words[4:], "--steps", "8", "-o", "high").code == 0
    )
    high = [row["loss"] for row in json.loads(Path("f.json").read_text())["losses"]]
    assert high != losses["whole"]


def test_a_run_that_has_done_as_many_steps_and_more(command, refused):
    words = ("train", f"{TASKS}:small", "-o", "run")
    assert command(*words, "--steps", "6").code == 0
    again = command(*words, "--steps", "6")
    assert again.code == 0 and "run: has done all: it is at step 6" in again.out
    refused(
        (*words, "--steps", "5"),
        "--steps must be at least 6, which run has done already, not 5; another folder starts anew",
    )


def read_losses():
    return [row["loss"] for row in json.loads(Path("figures.json").read_text())["losses"]]


UNKNOWN = (
    "--precision must be one of fp32, int8, int8-tensor, int8-stochastic, int6, int4, "
    "int4-weights, int4-activations, int4-gradients, int8-low-noise, int8-high-noise, not 'int3'"
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
    ("--preset", "paper"): "--preset is not for the built-in example",
    ("--set", "rows=8"): "--set is not for the built-in example",
    ("--dram-gbps", "unlimited"): "--dram-gbps is not for the built-in example",
    (f"{TASKS}:small", "--set", "rows=8"): "--set is not for a task of your own",
    (f"{TASKS}:small", "--dram-latency", "9"): "--dram-latency is not for a task of your own",
    ("--backend", "functional", "--dram-latency", "9"):
        "--dram-latency is not for --backend functional",
    (f"{TASKS}:small", "--method", "full", "--rank", "2"): "--rank is for --method lora, not full",
    ("--seed", "1"): "--seed is not for the built-in example",
    ("--backend", "functional", "--seed", "1"): "--seed is not for --backend functional",
    (f"{TASKS}:small", "--samples", "9"): "--samples is not for a task of your own",
    (f"{TASKS}:small", "--learning-rate", "inf"):
        "Invalid value for '--learning-rate': 'inf' is not a finite number.",
    ("--backend", "functional", "--precision", "fp32"):
        "--precision fp32 has no integer products for a device to compute",
}  # fmt: skip


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_input_is_one_line(refused, words):
    refused(("train", *words), BAD[words])


@pytest.mark.parametrize(
    "missing,words,named",
    [
        (("tensorboardX",), (f"{TASKS}:small",), "tensorboardX"),
        (("tensorboardX", "matplotlib"), (), "tensorboardX and matplotlib"),
        (("torch",), ("--backend", "rtl"), "torch"),
    ],
)
def test_packages_that_are_missing_are_told_before_any_work(
    refused, monkeypatch, missing, words, named
):
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    refused(
        ("train", *words, "-o", "run"),
        f"train needs {named}: in the checkout, pip install -e '.[train]'",
    )


def test_plots_are_of_the_example_only(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command("train", f"{TASKS}:small", "--steps", "1", "-o", "run").code == 0


def test_a_configuration_has_no_effect_on_a_task(refused):
    Path("c.toml").write_text("rows = 8\n")
    words = ("train", f"{TASKS}:small", "--config", "c.toml")
    refused(words, "--config is not for a task of your own")


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


@pytest.mark.parametrize(
    "task,message",
    [
        ("failing", "its losses fail: KeyError: 'los'"),
        ("plain", "small: half must be a tensor of a real number, not float"),
        ("once", "its losses cannot be trained on: RuntimeError: Trying to "),
    ],
)
def test_tasks_with_mistakes_in_them(command, task, message):
    done = command("train", f"{TASKS}:{task}", "--steps", "3", "-o", "run")
    assert done.code == 2 and done.err.count("\n") == 1
    assert done.err.startswith(f"cdmqta: {TASKS}:{task}: {message}")


def test_a_time_that_is_none(command):
    done = command("train", f"{TASKS}:late", "--method", "tuneqdm", "-o", "run")
    assert done.code == 2 and "to_k: times must be whole numbers from 0 to 49, not 50; " in done.err
    assert done.err.count("\n") == 1


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
        (("--precision", "int8-low-noise"), 6),
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
