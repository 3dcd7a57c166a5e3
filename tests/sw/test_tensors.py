"""Weights of a step from safetensors files, by every name they go by, and made from a seed."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from sw.graph.shape import Module, Shape, Site
from sw.graph.tensors import (
    WeightsError,
    frozen_shapes,
    load_weights,
    lora_shapes,
    random_tensors,
    tensor_shapes,
)

PATH = "mid_block.attn2"
SHAPE = Shape(
    "xattn", 2, 5, 12,
    (Site(f"{PATH}.to_k", 8, 2), Site(f"{PATH}.to_v", 8, 0)),
    (Module(PATH, f"{PATH}.to_q", f"{PATH}.to_out.0", 10, 8, 6, 2, 9, 0, 1),),
).placed(4)  # fmt: skip
RANDOM = random_tensors(SHAPE)


@pytest.fixture
def save(tmp_path):
    """Write tensors to a file; return its name."""

    def write(tensors: dict[str, np.ndarray]) -> str:
        file = tmp_path / "w.safetensors"
        save_file({name: np.ascontiguousarray(a) for name, a in tensors.items()}, file)
        return str(file)

    return write


def some(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: RANDOM[name] for name in shapes}


FROZEN, LORA = some(frozen_shapes(SHAPE)), some(lora_shapes(SHAPE))


def test_every_tensor_has_a_name_and_the_shape_that_torch_gives_it():
    assert tensor_shapes(SHAPE) == {
        f"{PATH}.to_k.weight": (8, 12), f"{PATH}.to_v.weight": (8, 12),
        f"{PATH}.to_q.weight": (8, 10), f"{PATH}.to_out.0.weight": (6, 8),
        f"{PATH}.to_k.lora_A.weight": (2, 12), f"{PATH}.to_k.lora_B.weight": (8, 2),
        "text": (2, 5, 12), f"{PATH}.input": (2, 9, 10),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_are_read_by_name(save, dtype):
    tensors = {name: array.astype(dtype) for name, array in (FROZEN | LORA).items()}
    other = {"conv_in.weight": np.zeros((3, 3), np.float32)}
    found = load_weights(save(tensors | other), SHAPE)
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].dtype == dtype and np.array_equal(found[name], array)


@pytest.mark.parametrize("group", [FROZEN, LORA], ids=["frozen", "lora"])
def test_a_file_may_hold_one_of_both(save, group):
    assert load_weights(save(group), SHAPE).keys() == group.keys()


def test_names_of_peft(save):
    named = {f"base_model.model.{name}": array for name, array in (FROZEN | LORA).items()}
    key = f"base_model.model.{PATH}.to_k"
    named[f"{key}.base_layer.weight"] = named.pop(f"{key}.weight")
    found = load_weights(save(named), SHAPE)
    assert found.keys() == (FROZEN | LORA).keys()
    assert np.array_equal(found[f"{PATH}.to_k.weight"], FROZEN[f"{PATH}.to_k.weight"])


@pytest.mark.parametrize(
    "change,message",
    [
        ({f"{PATH}.to_q.weight": None}, f"lacks {PATH}.to_q.weight (8x10)"),
        ({f"{PATH}.to_k.lora_B.weight": None}, f"lacks {PATH}.to_k.lora_B.weight (8x2)"),
        ({f"{PATH}.to_q.weight": np.zeros((10, 8), np.float32)},
         f": {PATH}.to_q.weight must be 8x10, not 10x8"),
        ({f"{PATH}.to_q.weight": np.zeros((8, 10), np.int8)},
         f": {PATH}.to_q.weight must be F16, F32 or F64, not I8"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(save, change, message):
    tensors = {k: v for k, v in (FROZEN | LORA | change).items() if v is not None}
    file = save(tensors)
    with pytest.raises(WeightsError) as error:
        load_weights(file, SHAPE)
    text = str(error.value)
    assert text.startswith(file) and text.removeprefix(file).lstrip() == message


def test_weights_of_bfloat16(tmp_path):
    import torch
    from safetensors.torch import save_file as save_torch

    file = tmp_path / "b.safetensors"
    name = f"{PATH}.to_k.weight"
    save_torch({name: torch.zeros(8, 12, dtype=torch.bfloat16)}, file)
    with pytest.raises(WeightsError, match=f"{name} must be F16, F32 or F64, not BF16$"):
        load_weights(file, SHAPE)


def test_files_that_hold_no_weights(save, tmp_path):
    file = save({"conv_in.weight": np.zeros((3, 3), np.float32)})
    message = f"holds none of the step's weights, such as {PATH}.to_k.weight .8x12.$"
    with pytest.raises(WeightsError, match=message):
        load_weights(file, SHAPE)
    with pytest.raises(WeightsError, match="^cannot read .*none: "):
        load_weights(tmp_path / "none", SHAPE)
    with pytest.raises(WeightsError, match="^cannot read .*: "):
        load_weights(tmp_path, SHAPE)
    (tmp_path / "x").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(WeightsError, match="x is no safetensors file: ") as error:
        load_weights(tmp_path / "x", SHAPE)
    assert "\n" not in str(error.value)


def test_what_is_not_given_comes_from_the_seed():
    assert tensor_shapes(SHAPE) == {name: array.shape for name, array in RANDOM.items()}
    assert all(array.dtype == np.float32 for array in RANDOM.values())
    again, other = random_tensors(SHAPE), random_tensors(SHAPE, 1)
    mixed = random_tensors(SHAPE, 1, LORA)
    for name, array in RANDOM.items():
        assert np.array_equal(again[name], array) and not np.array_equal(other[name], array)
        assert np.array_equal(mixed[name], array if name in LORA else other[name])


def test_random_weights_keep_the_size_of_what_they_multiply():
    wide = Shape("kv", 1, 4, 4096, (Site("a", 64, 16),), ()).placed(4)
    made = random_tensors(wide)
    assert made["a.weight"].std() == pytest.approx(1 / 64, rel=0.02)
    assert made["a.lora_A.weight"].std() == pytest.approx(1 / 64, rel=0.02)
    assert made["a.lora_B.weight"].std() == pytest.approx(0.1 / 4, rel=0.1)
    assert made["text"].std() == pytest.approx(1, rel=0.02)
