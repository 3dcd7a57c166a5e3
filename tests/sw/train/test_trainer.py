"""Runs that stop and go on, checkpoints that are not theirs, steps that are refused, and logs."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from sw.train import checkpoint
from sw.train.checkpoint import CheckpointError
from sw.train.precision import METHODS
from sw.train.trainer import Settings, StepRefused

from .small_task import make_task, make_trainer

ROOT = Path(__file__).parents[3]


def parameters(trainer):
    return {name: value.detach().clone() for name, value in trainer._parameters.items()}


def assert_same(one, other):
    assert one.step == other.step
    assert one.history.state_dict() == other.history.state_dict()
    for name, value in parameters(one).items():
        assert torch.equal(value, parameters(other)[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path, method):
    whole = make_trainer(method=method)
    whole.run(40)
    first = make_trainer(tmp_path, method)
    assert not first.resume()
    first.run(6)
    second = make_trainer(tmp_path, method)
    assert second.resume() and second.step == 6
    second.run(40)
    assert_same(whole, second)
    losses = [row["loss"] for row in whole.history.losses]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_learning_rate_may_fall(tmp_path):
    settings = Settings(learning_rate=0.5, decay_steps=4)
    assert [settings.rate(step) for step in range(6)] == [0.5, 0.375, 0.25, 0.125, 0, 0]
    whole, first = make_trainer(decay_steps=12), make_trainer(tmp_path, decay_steps=12)
    whole.run(12)
    first.run(5)
    second = make_trainer(tmp_path, decay_steps=12)
    assert second.resume()
    second.run(12)
    assert_same(whole, second)
    weights = [value.clone() for value in whole.adapted.parameters()]
    whole.run(14)  # beyond its end nothing moves any more
    assert all(map(torch.equal, weights, whole.adapted.parameters()))


def test_another_seed_is_another_run():
    one, other = make_trainer(), make_trainer(seed=1)
    one.run(3)
    other.run(3)
    assert one.history.losses != other.history.losses


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    work = (
        "import os, signal, sys; from pathlib import Path;"
        "from tests.sw.train.small_task import make_trainer;"
        "trainer = make_trainer(Path(sys.argv[1]));"
        "trainer.run(20, lambda step, _: step == 10 and os.kill(os.getpid(), signal.SIGKILL))"
    )
    done = subprocess.run([sys.executable, "-c", work, tmp_path], cwd=ROOT, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert_goes_on_from(8, tmp_path)


def test_a_checkpoint_is_never_half_written(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path)
    trainer.run(4)
    before, rename = (tmp_path / "checkpoint.pt").read_bytes(), os.replace

    def full(source, target):
        if Path(target).name == "checkpoint.pt":  # the logs are written before it
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(
        ValueError, match=f"^cannot write {tmp_path}/checkpoint.pt: No space left on device$"
    ):
        trainer.run(8)
    monkeypatch.undo()
    assert len(table(tmp_path / "losses.csv")) == 8
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".checkpoint.pt.*"))
    assert_goes_on_from(4, tmp_path)


@pytest.mark.parametrize("place,count,step", [("data", 2, 4), ("rename", 1, None)])
def test_a_run_that_is_killed_while_it_writes(tmp_path, place, count, step):
    words = "tests.sw.train.killed_run", tmp_path, place, str(count)
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, timeout=120)
    assert done.returncode == -signal.SIGKILL
    (unfinished,) = tmp_path.glob(".checkpoint.pt.*")
    assert unfinished.stat().st_size > 0
    assert (tmp_path / "checkpoint.pt").exists() == (step is not None)
    assert_goes_on_from(step, tmp_path)


def assert_goes_on_from(step, folder):
    """Check that a run goes on from a step, or starts anew, and ends as one that never stopped."""
    resumed, whole = make_trainer(folder), make_trainer()
    assert resumed.resume() == (step is not None) and resumed.step == (step or 0)
    resumed.run(10)
    whole.run(10)
    assert_same(whole, resumed)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"rank": 3}, "its rank is 2, not 3$"),
        ({"method": "int8"}, "its precision is .*stochastic.*, not .*nearest"),
        ({"method": "fp32-full"}, "its trains is lora, not full$"),
        ({"method": "int8-4bit"}, "its precision is "),
        ({"width": 7}, "its model is [0-9a-f]{16}, not [0-9a-f]{16}$"),
        ({"seed": 5}, "its settings is .*'seed': 0.*, not .*'seed': 5"),
    ],
)
def test_checkpoints_of_other_runs_are_refused(tmp_path, changes, message):
    make_trainer(tmp_path).run(2)
    other = make_trainer(tmp_path, **changes)
    before = parameters(other)
    with pytest.raises(
        CheckpointError, match=f"^{tmp_path}/checkpoint.pt is of another run: {message}"
    ):
        other.resume()
    assert all(torch.equal(value, before[name]) for name, value in parameters(other).items())
    assert other.step == 0


@pytest.mark.parametrize("what", ["frozen weight", "alpha", "total"])
def test_a_checkpoint_of_another_model_is_refused(tmp_path, what):
    """Whatever is frozen belongs to the model, and what an update is scaled by to the run."""
    make_trainer(tmp_path).run(2)
    other = make_trainer(tmp_path)
    if what == "alpha":
        other.adapted.trained["0"].alpha = 64.0
    elif what == "total":
        other.adapted.total = 500
    else:
        with torch.no_grad():
            other.task.model[1].weight.mul_(3)
    named = {"alpha": "alpha is 2, not 64", "total": "total is 1000, not 500"}
    with pytest.raises(CheckpointError, match=named.get(what, "its model is [0-9a-f]{16}, not")):
        other.resume()


@pytest.mark.parametrize(
    "part,value",
    [("adapted", {}), ("adapted", None), ("history", {}), ("optimiser", {}), ("step", None),
     ("also", {}), ("identity", None), ("history", {"losses": 3, "quantisation": []})],
)  # fmt: skip
def test_a_checkpoint_whose_parts_do_not_fit(tmp_path, part, value):
    make_trainer(tmp_path).run(2)
    path = tmp_path / "checkpoint.pt"
    torch.save(torch.load(path) | {part: value}, path)
    other = make_trainer(tmp_path)
    before = parameters(other)
    with pytest.raises(CheckpointError, match=f"^{path} (is|does)"):
        other.resume()
    assert all(torch.equal(each, before[name]) for name, each in parameters(other).items())
    assert other.step == 0 and not other.history.losses
    fresh = make_trainer()
    fresh.run(3)
    other.folder = None
    other.run(3)
    assert_same(fresh, other)


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda found: 3, "losses must be tensors by name, 'loss' among them"),
        (lambda found: {"half": found["half"]}, "losses must be tensors by name, 'loss' among"),
        (lambda found: found | {"loss": found["loss"].expand(2)}, "loss must be a single number, "),
        (lambda found: found | {"loss": found["loss"].detach()}, "the loss depends on nothing"),
        (lambda found: found | {"loss": 0.5}, "loss must be a tensor of a real number, not float$"),
        (lambda found: found | {"half": 0.5}, "half must be a tensor of a real number, not float$"),
        (lambda found: found | {"half": found["half"] * 1j}, "half must .*, not torch.complex64$"),
        (lambda found: found | {"step": found["loss"]}, "no loss may be called step$"),
    ],
)
def test_losses_that_cannot_be_trained_on(change, message):
    trainer = make_trainer()
    honest = trainer.task.losses
    trainer.task.losses = lambda draw: change(honest(draw))
    with pytest.raises(ValueError, match=f"^small: {message}"):
        trainer.run(1)


def test_steps_that_are_done_are_not_undone():
    trainer = make_trainer()
    trainer.run(3)
    trainer.run(3)
    assert trainer.step == 3 == len(trainer.history.losses)
    with pytest.raises(ValueError, match="^3 steps are done already: 2 cannot be had any more$"):
        trainer.run(2)


def test_losses_keep_their_names():
    trainer = make_trainer()
    trainer.run(1)
    honest = trainer.task.losses
    trainer.task.losses = lambda draw: honest(draw) | {"more": torch.tensor(1.0)}
    with pytest.raises(ValueError, match="^small: losses of step 1 are loss, half, more, those of"):
        trainer.run(2)


@pytest.mark.parametrize("how", ["cut", "garbage", "empty", "plain"])
def test_damaged_checkpoints_are_refused(tmp_path, how):
    make_trainer(tmp_path).run(2)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[: len(whole) // 2], "garbage": b"garbage", "empty": b""}.get(how, b"")
    )
    if how == "plain":
        torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        make_trainer(tmp_path).resume()


def test_a_checkpoint_of_other_attention_is_refused(tmp_path):
    make_trainer(tmp_path).run(2)
    other = make_trainer(tmp_path)
    other.adapted.attention = ("attn1",)
    with pytest.raises(CheckpointError, match="its model is [0-9a-f]{16}, not"):
        other.resume()


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"model": 3}, "^model must be a torch.nn.Module, not int$"),
        ({"losses": {}}, "^losses must be a function, not dict$"),
        ({"also": {"token": torch.zeros(3)}}, "^also: token must be a parameter, not Tensor$"),
    ],
)
def test_tasks_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(make_task(), **changes)


def test_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_VERSION", 0)
    make_trainer(tmp_path).run(1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="is a checkpoint of version 0; accepted: 2$"):
        make_trainer(tmp_path).resume()


@pytest.mark.parametrize("method", ["fp32", "int8"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_refused(tmp_path, method, what):
    trainer = make_trainer(tmp_path, method)
    trainer.run(3)  # the next step is one that is measured
    before, honest = parameters(trainer), trainer.task.losses

    def broken(generator):
        losses = honest(generator)
        if what == "loss":
            return losses | {"loss": losses["loss"] * float("nan")}
        offset = trainer.task.also["offset"]
        return losses | {"loss": losses["loss"] + (offset * 0).sum().sqrt()}

    trainer.task.losses = broken
    named = "loss" if what == "loss" else "the gradient of offset"
    with pytest.raises(StepRefused, match=f"^step 3 is refused: {named} is not finite"):
        trainer.run(5)
    assert all(torch.equal(value, before[name]) for name, value in parameters(trainer).items())
    resumed = make_trainer(tmp_path, method)
    assert resumed.resume() and resumed.step == 3
    trainer.task.losses = honest
    trainer.run(5)
    resumed.run(5)
    assert_same(trainer, resumed)


def test_a_product_that_is_not_finite_names_its_tensor(tmp_path):
    trainer = make_trainer(method="int8")
    with torch.no_grad():
        trainer.adapted.trained["0"].lora_B[0, 0] = float("inf")
    with pytest.raises(StepRefused, match="^step 0 is refused: 0: B is not finite"):
        trainer.run(1)


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_logs_need_their_package_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match="^logs of a run need tensorboardX"):
        make_trainer(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    make_trainer().run(1)


def test_logs(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.run(5)
    resumed = make_trainer(tmp_path)
    resumed.resume()
    resumed.run(7)
    losses = table(tmp_path / "losses.csv")
    assert [row["step"] for row in losses] == [str(step) for step in range(7)]
    assert [float(row["half"]) * 2 for row in losses] == [float(row["loss"]) for row in losses]
    rows = table(tmp_path / "quantisation.csv")
    assert {row["step"] for row in rows} == {"0", "3", "6"}
    seen = {(row["layer"], row["kind"], row["tensor"]) for row in rows}
    assert {("0", "snr_db", name) for name in ("Y", "dX", "dA", "dB")} <= seen
    assert {("0", "absmax", name) for name in ("X", "A", "B", "H", "dY", "dH")} <= seen
    assert ("1", "snr_db", "Y") in seen


def test_logs_are_what_tensorboard_reads(tmp_path):
    make_trainer(tmp_path).run(5)
    resumed = make_trainer(tmp_path)
    resumed.resume()
    resumed.run(7)
    steps = [
        event.step
        for file in sorted(tmp_path.glob("events.out.tfevents.*"))
        for event in events(file)
        for value in event.summary.value
        if value.tag == "train/loss"
    ]
    assert sorted(steps) == list(range(7))


def events(file):
    """Yield the events of a file: each is its length, a checksum, itself, and a checksum."""
    data = file.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"checkpoint_every": 0}, "^checkpoint_every must be a whole number of at least 1, "),
        ({"checkpoint_every": 2.5}, "^checkpoint_every must be a whole .* 1, not 2.5$"),
        ({"decay_steps": -1}, "^decay_steps must be a whole number of at least 0, not -1$"),
        ({"measure_every": -1}, "^measure_every must be a whole number of at least 0, not -1$"),
        ({"learning_rate": 0.0}, "^learning_rate must be a finite number above 0, not 0.0$"),
        ({"learning_rate": math.inf}, "^learning_rate must be a finite number above 0, not inf$"),
        ({"learning_rate": math.nan}, "^learning_rate must be a finite number above 0, not nan$"),
        ({"weight_decay": math.inf}, "^weight_decay must be a finite number of at least 0, not "),
        ({"weight_decay": -1.0}, "^weight_decay must be a finite number of at least 0, not -1.0$"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(**settings)
