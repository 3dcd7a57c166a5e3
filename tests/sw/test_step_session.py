"""Steps on a device: several on one program, what is refused, and what stays in DRAM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hw.isa.config import Config, ConfigError
from sw.driver import Device
from sw.graph import session as module
from sw.graph.ir import GraphError, Host
from sw.graph.session import StepSession, run_step
from sw.graph.tensors import frozen_shapes, random_tensors
from sw.image import InputError
from sw.place import Role

from .small_step import CONFIG, SHAPE, small_step

STEP = small_step()
TENSORS = random_tensors(SHAPE)
DEVICE = Device(CONFIG)
WEIGHTS = frozen_shapes(SHAPE)


def inputs(seed: int) -> dict[str, np.ndarray]:
    """Return all that may change from step to step."""
    made = random_tensors(SHAPE, seed)
    return {name: made[name] for name in made if name not in WEIGHTS}


def test_a_step_runs_through_the_device():
    result = DEVICE.run(STEP, TENSORS)
    assert list(result.outputs) == ["0.to_k", "1.to_k"] and len(result.results) == 2
    text, weight = (TENSORS[name].astype(float) for name in ("text", "0.to_k.weight"))
    wanted = text @ weight.T
    assert np.abs(result.outputs["0.to_k"] - wanted).max() < 0.05 * np.abs(wanted).max()
    values = {name: array.astype(int) for name, array in result.values.items()}
    assert np.array_equal(values["text.Y"], values["text.X.row"] @ values["text.W"])
    assert np.array_equal(values["text.dX"], values["text.dY.row"] @ values["text.W"].T)


def test_several_steps_equal_fresh_runs():
    session = DEVICE.session(STEP)
    assert isinstance(session, StepSession)
    for seed in range(3):
        given = inputs(seed)
        result = session.run(given if seed else TENSORS | given)
        fresh = run_step(DEVICE, STEP, TENSORS | given)
        assert result.values.keys() == fresh.values.keys()
        for name, array in fresh.values.items():
            assert np.array_equal(result.values[name], array), name
        for name, array in fresh.outputs.items():
            assert np.array_equal(result.outputs[name], array), name


def test_what_is_left_out_stays():
    session = DEVICE.session(STEP)
    session.run(TENSORS)
    text = {"text": inputs(1)["text"]}
    again = session.run(text)
    fresh = run_step(DEVICE, STEP, TENSORS | text)
    assert np.array_equal(again.values["text.Y"], fresh.values["text.Y"])


def test_tensors_of_torch_go_in_and_come_out():
    given = {name: torch.from_numpy(array) for name, array in TENSORS.items()}
    given["text"] = given["text"].mT.contiguous().mT.requires_grad_()
    given["1.to_k.weight"] = given["1.to_k.weight"].double()
    result = DEVICE.run(STEP, given)
    found = result.torch()
    wanted = DEVICE.run(STEP, TENSORS)
    assert found["0.to_k"].dtype == torch.float64
    assert np.array_equal(found["0.to_k"].numpy(), wanted.outputs["0.to_k"])
    assert np.array_equal(result.values["text.dX"], wanted.values["text.dX"])


def written(monkeypatch) -> list[set[str]]:
    """Record what is written to DRAM for each program."""
    seen, write = [], module.write_inputs

    def record(program, given, dram, **options):
        seen.append(set(given))
        write(program, given, dram, **options)

    monkeypatch.setattr(module, "write_inputs", record)
    return seen


def test_frozen_weights_are_written_once(monkeypatch):
    seen = written(monkeypatch)
    session = DEVICE.session(STEP)
    session.run(TENSORS)
    session.run(inputs(1))
    assert seen == [{"text.X.row", "text.W"}, {"text.dY.row"}, {"text.X.row"}, {"text.dY.row"}]


def test_weights_whose_place_is_shared_are_written_every_time(monkeypatch):
    """Where dX is put over W, W is gone after a step."""
    forward, backward = STEP.programs
    w, dx = backward.layout["text.W"], backward.layout["text.dX"]
    assert w.role is Role.KEPT
    buffers = tuple(replace(dx, address=w.address) if b is dx else b for b in backward.buffers)
    shift = w.address - dx.address
    instructions = tuple(
        replace(each, dram=each.dram + shift) if type(each).__name__ == "Store" else each
        for each in backward.instructions
    )
    moved = replace(
        backward, layout=replace(backward.layout, buffers=buffers), instructions=instructions
    )
    step = replace(STEP, steps=(*STEP.steps[:-1], moved))
    seen = written(monkeypatch)
    session = DEVICE.session(step)
    session.run(TENSORS)
    result = session.run(inputs(1))
    assert seen[2] == {"text.X.row", "text.W"}
    fresh = run_step(DEVICE, STEP, TENSORS | inputs(1))
    assert np.array_equal(result.values["text.Y"], fresh.values["text.Y"])


@pytest.mark.parametrize(
    "given,message",
    [
        ({"0.to_k.bias": np.zeros(6)}, "^the step has no tensor '0.to_k.bias'; it takes: 0.to_k"),
        ({"text": np.zeros((2, 4, 6), int)}, "^tensor 'text' must be float, not int64$"),
        ({"text": np.zeros((2, 6, 4))}, "^tensor 'text' must be 2x4x6, not 2x6x4$"),
        ({"text": np.full((2, 4, 6), np.inf)}, "^tensor 'text' has values that are not finite$"),
        ({"text": torch.zeros(2, 4, 6, dtype=torch.bfloat16)},
         "^input 'text' is a tensor of torch.bfloat16, which numpy does not have$"),
        ({"1.to_k.lora_A.weight": np.zeros((6, 2))},
         "^tensor '1.to_k.lora_A.weight' must be 2x6, not 6x2$"),
        ({"1.to_k.weight": np.zeros((6, 6))}, "^tensor '1.to_k.weight' must not be all zero: "),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(monkeypatch, given, message):
    seen = written(monkeypatch)
    with pytest.raises(InputError, match=message) as error:
        DEVICE.run(STEP, TENSORS | given)
    assert seen == [] and "\n" not in str(error.value)


def test_tensors_that_are_missing_or_frozen():
    session = DEVICE.session(STEP)
    with pytest.raises(InputError, match="^tensor '0.to_k.weight' of the step is missing, and 1 m"):
        session.run(inputs(0))
    session.run(TENSORS)
    with pytest.raises(InputError, match="^tensor '0.to_k.weight' is frozen: it is given with the"):
        session.run({"0.to_k.weight": TENSORS["0.to_k.weight"]})


def test_after_a_refused_step_the_session_goes_on():
    session = DEVICE.session(STEP)
    first = session.run(TENSORS)
    with pytest.raises(InputError):
        session.run({"text": inputs(1)["text"], "1.to_k.lora_A.weight": np.zeros(3)})
    assert np.array_equal(session.run({}).values["text.Y"], first.values["text.Y"])


def test_steps_for_other_hardware():
    here = Config(queue_depth=8)
    message = r"^the program is compiled for 4x4 .* not for this 4x4 .*: queue_depth 4 is 8 here$"
    with pytest.raises(ConfigError, match=message):
        Device(here).session(STEP)


def test_steps_that_the_host_cannot_do():
    dance = Host("dance", "0.dance", (), ())
    with pytest.raises(GraphError, match="^host operation 0.dance is of kind 'dance'; accepted: "):
        DEVICE.session(replace(STEP, steps=(*STEP.steps, dance)))
    with pytest.raises(GraphError, match="^step small does not tell its sizes: 'reading'$"):
        DEVICE.session(replace(STEP, meta={}))
    with pytest.raises(GraphError, match="^program text.Y reads 'text.W', which no operation"):
        DEVICE.run(replace(STEP, steps=STEP.steps[1:]), TENSORS)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"scaling": 0}, "^scaling must be above 0, not 0$"),
        ({"scaling": float("nan")}, "^scaling must be above 0, not nan$"),
        ({"margin": 0.5}, "^margin must be at least 1, not 0.5$"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        DEVICE.session(STEP, **options)


def test_every_backend_gives_the_same():
    timed = Device(CONFIG, "timing").run(STEP, TENSORS)
    wanted = DEVICE.run(STEP, TENSORS)
    assert all(result.counters["cycles"] > 0 for result in timed.results)
    for name, array in wanted.values.items():
        assert np.array_equal(timed.values[name], array), name
