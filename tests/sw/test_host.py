"""The host's part of a step: with products in numpy, a step is that of torch in float, nearly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from hw.isa.instructions import Axis
from hw.isa.numerics import encode_scale, multiplier, update_entry
from sim.arithmetic import fresh_entries
from sw.graph.host import HostState, QuadraticLoss
from sw.graph.host_operations import check_operations, run_host
from sw.graph.ir import Copy, GraphError, Host, Maxima, Sums, Updates, Value, View
from sw.graph.shape import Module, Shape, Site
from sw.graph.tensors import check_tensors, latent_input, lora_names, random_tensors, weight_name
from sw.image import InputError
from sw.quantise import entries
from sw.tile import Span

from .step_products import backward, forward, text_backward, text_forward

SCALING = 2.0


def small_shape(modules: int = 2, rank: int = 2, batch: int = 2) -> Shape:
    """Return a step of modules of 6 tokens, 2 heads of 4 channels, 5 text tokens 12 wide."""
    sites, found = [], []
    for index in range(modules):
        path = f"down.{index}.attn2"
        sites += [Site(f"{path}.{name}", 8, rank) for name in ("to_k", "to_v")]
        found.append(Module(path, f"{path}.to_q", f"{path}.to_out.0", 10, 8, 10, 2, 6,
                            2 * index, 2 * index + 1))  # fmt: skip
    return Shape("xattn", batch, 5, 12, tuple(sites), tuple(found)).placed(4)


def host(state: HostState, kind: str, name: str, writes: tuple[str, ...] = ()) -> None:
    """Do an operation, with what it writes declared as it comes."""
    run_host(state, Host(kind, name, (), writes), {})


def run(state: HostState) -> None:
    """Run a whole step, products by numpy."""
    shape, v = state.shape, state.values
    host(state, "weights", "weights")
    host(state, "text_inputs", "text.inputs")
    text_forward(shape, v)
    for m in shape.modules:
        host(state, "heads", f"{m.path}.heads")
        host(state, "latent", f"{m.path}.latent")
        forward(shape, m, v, "scores")
        host(state, "softmax", f"{m.path}.softmax")
        forward(shape, m, v, "values")
        host(state, "loss", f"{m.path}.loss")
    for m in reversed(shape.modules):
        backward(shape, m, v, "dscores")
        host(state, "softmax_backward", f"{m.path}.softmax_backward")
        backward(shape, m, v, "gradients")
        host(state, "collect", f"{m.path}.collect")
    host(state, "text_gradients" if shape.modules else "text_loss", "text.gradients")
    text_backward(shape, v)
    host(state, "collect", "text.collect")


def torch_step(state: HostState) -> tuple[dict, dict]:
    """Return outputs and gradients of the same step in float64."""
    shape = state.shape
    t = {name: torch.tensor(a, requires_grad=True) for name, a in state.tensors.items()}

    def project(index: int) -> torch.Tensor:
        site = shape.sites[index]
        y = t["text"] @ t[weight_name(site.path)].T
        down, up = (t[name] for name in lora_names(site.path))
        return y + SCALING * (t["text"] @ down.T) @ up.T

    outputs, detached = {}, {}
    for m in shape.modules:
        heads = []
        q = t[latent_input(m.path)] @ t[weight_name(m.query)].T
        for x in (q, project(m.key), project(m.value)):
            if x is not q:  # no gradient flows through the first token
                x = torch.cat([x[:, :1].detach(), x[:, 1:]], dim=1)
            heads.append(x.reshape(*x.shape[:2], m.heads, -1).transpose(1, 2))
        out = torch.nn.functional.scaled_dot_product_attention(*heads)
        out = out.transpose(1, 2).flatten(2) @ t[weight_name(m.out)].T
        outputs[m.path] = out
    if not shape.modules:
        outputs = {site.path: project(i) for i, site in enumerate(shape.sites)}
    for name, out in outputs.items():
        detached[name] = out.detach().numpy()
        gradient = torch.tensor(state.loss(name, detached[name]))
        out.backward(gradient, retain_graph=True)
    return detached, {name: x.grad.numpy() for name, x in t.items() if x.grad is not None}


def made(shape: Shape, seed: int = 0) -> HostState:
    state = HostState(shape, QuadraticLoss(), SCALING)
    state.tensors |= check_tensors(shape, random_tensors(shape, seed))
    return state


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("modules,rank", [(1, 2), (2, 2), (3, 1), (2, 5)])
def test_a_step_is_that_of_torch(modules, rank):
    state = made(small_shape(modules, rank))
    run(state)
    outputs, gradients = torch_step(state)
    for name, wanted in outputs.items():
        assert distance(state.outputs[name], wanted) < 0.05, name
    assert set(state.gradients) <= set(gradients)
    for name, found in state.gradients.items():
        assert found.shape == state.tensors[name].shape
        assert distance(found, gradients[name]) < 0.2, name


def test_projections_alone_are_those_of_torch():
    shape = Shape("kv", 2, 5, 12, tuple(Site(f"{i}.to_k", 8, 2) for i in range(3)), ()).placed(4)
    state = made(shape)
    run(state)
    outputs, gradients = torch_step(state)
    assert set(state.outputs) == set(outputs) and len(state.gradients) == 7
    for name, wanted in outputs.items():
        assert distance(state.outputs[name], wanted) < 0.02
    for name, found in state.gradients.items():
        assert distance(found, gradients[name]) < 0.03, name


def test_delayed_scales_come_from_the_step_before():
    state = made(small_shape(1))
    run(state)
    (path,), limits = state.outputs, dict(state.maxima)
    run(state)
    assert set(limits) == {f"{path}.S", f"{path}.dP"}
    for name in ("S", "dP"):
        top = np.abs(state.values[f"{path}.{name}"].astype(int)).max()
        assert 100 <= top <= 103, name  # 127 / 1.25, the same data again


def test_scores_that_grow_beyond_the_margin_are_limited_and_then_seen():
    state = made(small_shape(1))
    run(state)
    key = latent_input("down.0.attn2")
    state.maxima = {name: top / 8 for name, top in state.maxima.items()}
    run(state)
    assert np.abs(state.values["down.0.attn2.S"]).max() == 127
    small = state.maxima["down.0.attn2.S"]
    run(state)
    assert state.maxima["down.0.attn2.S"] == pytest.approx(1.25 * small, rel=1e-3)
    assert key in state.gradients


def test_inputs_of_zero_give_zero():
    state = made(small_shape(1))
    state.tensors["text"][:] = 0
    run(state)
    assert not state.outputs["down.0.attn2"].any()
    for name in lora_names("down.0.attn2.to_k"):
        assert not state.gradients[name].any()
    assert all(np.isfinite(found).all() for found in state.gradients.values())
    state = made(small_shape(1))
    for site in state.shape.sites:  # as training begins
        state.tensors[lora_names(site.path)[1]][:] = 0
    run(state)
    down, up = lora_names("down.0.attn2.to_v")
    assert not state.gradients[down].any() and state.gradients[up].any()


def test_weights_of_zero_have_no_unit():
    state = made(small_shape(1))
    state.tensors["down.0.attn2.to_v.weight"][:] = 0
    message = "^tensor 'down.0.attn2.to_v.weight' must not be all zero: its scale is the unit of"
    with pytest.raises(InputError, match=message):
        run(state)


@pytest.mark.parametrize(
    "loss,message",
    [
        (lambda name, out: out[0],
         r"^the loss of down.0.attn2 must give a float array of \(2, 6, 10\), not float64 of "
         r"\(6, 10\)$"),
        (lambda name, out: out.astype(int), "must give a float array .* not int64 of"),
        (lambda name, out: out * np.nan, "^the loss of down.0.attn2 gives .* not finite$"),
    ],
)  # fmt: skip
def test_losses_that_give_no_gradient(loss, message):
    state = made(small_shape(1))
    state.loss = loss
    with pytest.raises(InputError, match=message):
        run(state)


def test_a_loss_of_torch_serves():
    state = made(small_shape(1))
    state.loss = lambda name, out: torch.from_numpy(out) * 0.5
    run(state)
    assert state.gradients[lora_names("down.0.attn2.to_k")[0]].any()


def test_entries_are_those_of_the_exact_arithmetic():
    rng = np.random.default_rng(0)
    ratios = rng.random(3000) * 2.0 ** rng.integers(-80, 30, 3000)
    edges = [0.0, 1.0, 2.0**-70, 65535.5, 32767.75, 65535.5 - 2**-37, 32767.75 - 2**-38, 0.1]
    ratios = np.concatenate([ratios, edges])
    wanted = [encode_scale(*multiplier(Fraction(ratio))) for ratio in ratios.tolist()]
    assert entries(ratios).tolist() == wanted


def declared(**sizes: tuple[str, int, int]) -> dict[str, Value]:
    return {name: Value(name, *size) for name, size in sizes.items()}


def sums_state(**values: np.ndarray) -> HostState:
    state = made(small_shape(1))
    state.values |= values
    return state


def test_the_host_drains_as_the_array_does():
    rng = np.random.default_rng(1)
    sums = rng.integers(-9999, 9999, (4, 6), np.int32)
    state = sums_state(sums=sums, unit=entries(rng.random((1, 2))),
                       factor=np.array([[encode_scale(40000, 30)]], np.uint32))  # fmt: skip
    values = declared(row=("int8", 4, 6), maxima=("uint32", 2, 6), table=("uint32", 1, 4),
                      column=("int8", 4, 6), part=("int32", 2, 3), factor=("uint32", 1, 1),
                      unit=("uint32", 1, 2))  # fmt: skip
    all_rows, all_columns, upper = Span(0, 4), Span(0, 6), Span(0, 2)
    entries_of = View.of(values["unit"])
    outputs = (
        Maxima(all_rows, all_columns, Axis.ROW, "t", View("maxima", Span(1, 1), Span(0, 4))),
        Copy(all_rows, all_columns, Axis.ROW, View.of(values["row"]), table="t"),
        Updates(all_rows, all_columns, "table", View.of(values["factor"])),
        Maxima(upper, all_columns, Axis.COLUMN, "c", View("maxima", Span(0, 1), all_columns),
               unit=entries_of),
        Copy(upper, all_columns, Axis.COLUMN, View("column", upper, all_columns), table="c",
             unit=entries_of),
        Sums(upper, Span(3, 3), View.of(values["part"])),
    )  # fmt: skip
    op = Host("drain", "sums.drain", ("sums",), ("row", "maxima", "table", "column", "part"),
              outputs)  # fmt: skip
    run_host(state, op, values)
    v, rows = state.values, np.abs(sums).max(axis=1)
    assert v["maxima"][1].tolist() == [*rows, 0, 0]
    assert np.abs(v["row"]).max(axis=1).tolist() == [127] * 4
    exact = sums * 127 / rows[:, None]
    assert np.abs(v["row"] - exact).max() < 0.51
    assert v["table"].tolist() == [[update_entry(int(a), encode_scale(40000, 30)) for a in rows]]
    assert np.abs(v["column"][:2]).max(axis=0).tolist() == [127] * 6 and not v["column"][2:].any()
    assert np.array_equal(v["part"], sums[:2, 3:])


def test_a_copy_by_chance_is_refused():
    state = sums_state(sums=np.ones((2, 2), np.int32))
    values = declared(copy=("int8", 2, 2), entry=("uint32", 1, 1))
    state.values["entry"] = fresh_entries(np.array([[1]]))
    both = Span(0, 2), Span(0, 2)
    copy = Copy(*both, Axis.TENSOR, View.of(values["copy"]), entries=View.of(values["entry"]),
                stochastic=True)  # fmt: skip
    with pytest.raises(GraphError, match=r"no copy copy\[0:2, 0:2\] that is rounded by chance$"):
        run_host(state, Host("drain", "x.drain", ("sums",), ("copy",), (copy,)), values)


def test_sums_over_sites_wrap_and_updates_saturate():
    shape = small_shape(1)
    rows = shape.rows
    blocks = np.full((2 * rows, 3), 2**31 - 1, np.int32)
    state = sums_state(blocks=blocks)
    sites = Host("sum", "text.dX.sum", ("blocks",), ("total",))
    run_host(state, sites, declared(total=("int32", rows, 3)))
    assert (state.values["total"] == -2).all()
    state.values |= {
        "plain": np.full((rows, shape.columns), 2**31 - 5, np.int32),
        "update": np.tile(np.arange(shape.columns, dtype=np.int32), (rows, 1)),
        "maxima": np.full((1, rows), 3, np.uint32),
        "factors": np.array([[encode_scale(32768, 15), encode_scale(32768, 14)]], np.uint32),
    }
    op = Host("add_update", "text.Y.add_update", ("plain", "update", "maxima", "factors"), ("Y",))
    run_host(state, op, declared(Y=("int32", rows, shape.columns)))
    wanted = [min(2**31 - 5 + j * 3 * (1 if j < 8 else 2), 2**31 - 1) for j in range(16)]
    assert state.values["Y"].tolist() == [wanted] * rows


def test_operations_that_are_not_known_or_do_not_do_their_part():
    bad = Host("dance", "down.0.attn2.dance", (), ())
    with pytest.raises(GraphError, match="^host operation down.0.attn2.dance is of kind 'dance'; "):
        check_operations([bad])
    state = made(small_shape(1))
    with pytest.raises(GraphError, match="^host operation up.softmax .softmax. is of no module"):
        host(state, "softmax", "up.softmax")
    values = declared(**{"text.W": ("int8", 3, 3), "text.Z": ("int8", 3, 3)})
    wrong = Host("weights", "weights", (), ("text.W",))
    message = r"^host operation weights .weights. makes text.W as int8\[12x16\], not as text.W: int"
    with pytest.raises(GraphError, match=message):
        run_host(state, wrong, values)
    missing = Host("weights", "weights", (), ("text.Z",))
    with pytest.raises(GraphError, match="^host operation weights .weights. does not make text.Z$"):
        run_host(state, missing, values)


def test_products_that_stand_for_themselves_have_operands_of_a_seed():
    state = made(small_shape(1))
    values = declared(**{"plain.0.left": ("int8", 30, 20)})
    op = Host("plain", "plain.0", (), ("plain.0.left",))
    run_host(state, op, values)
    first = state.values.pop("plain.0.left")
    run_host(state, op, values)
    assert np.array_equal(first, state.values["plain.0.left"]) and first.min() == -127
    host(state, "collect", "plain.0.collect")
