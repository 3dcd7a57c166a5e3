"""A whole LoRA site: compiler and functional model = torch golden, every bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hw.isa.config import Config
from hw.isa.encoding import to_text
from hw.isa.instructions import Dataflow, Execute
from sw.driver import Device
from sw.layer import compile_layer
from sw.layer_run import LayerResult, quantise_site, run_layer
from tests.golden.lora import LoraSite, lora_site

CONFIGS = [
    Config(rows=2, columns=3), Config(rows=3, columns=2), Config(), Config(rows=5, columns=8),
    Config(rows=2, columns=3, macs_per_element=4), Config(rows=3, columns=4, macs_per_element=2),
]  # fmt: skip
NAMES = [f"{c.rows}x{c.columns}x{c.macs_per_element}" for c in CONFIGS]
SITES = [(1, 1, 1, 1), (9, 17, 11, 4), (33, 40, 23, 7)]


def tensors(seed: int, n: int, d1: int, d2: int, r: int) -> list[np.ndarray]:
    """Return float32 x, w, a, b, dy of very different magnitudes; the first row of dy is zero."""
    rng = np.random.default_rng(seed)
    shapes = [(n, d1), (d1, d2), (d1, r), (r, d2), (n, d2)]
    x, w, a, b, dy = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    x *= np.exp(rng.normal(size=(n, 1))).astype(np.float32)
    dy *= np.exp(rng.normal(size=(n, 1)) - 9).astype(np.float32)
    if n > 1:
        dy[0] = 0
    return [x, w, a, b * np.float32(0.02), dy]


def run_both(
    config: Config, seed: int, site: tuple[int, int, int, int], **options
) -> tuple[LayerResult, LoraSite]:
    """Run a site on the functional backend and in the golden model."""
    given = tensors(seed, *site)
    both = {name: options[name] for name in ("scaling", "column_copies") if name in options}
    compiled = {name: options[name] for name in ("dataflow", "column_copies") if name in options}
    program = compile_layer(config, *site, **compiled).program
    result = run_layer(Device(config), program, quantise_site(*given, **both))
    return result, lora_site(*map(torch.tensor, given), **both)


def assert_equal(result: LayerResult, golden: LoraSite) -> None:
    """Assert every array and scale; name the first that differs."""
    products = {"H": golden.h, "dH": golden.dh, "Y": golden.y, "dX": golden.dx,
                "dA": golden.da, "dB": golden.db}  # fmt: skip
    copies = {"H.row": golden.h_row, "H.column": golden.h_column,
              "dH.row": golden.dh_row, "dH.column": golden.dh_column}  # fmt: skip
    expected = {name: product.sums for name, product in products.items()}
    expected |= {name: copy.values for name, copy in copies.items()}
    assert set(result.arrays) == set(expected) == set(result.scales)
    for name, values in expected.items():
        values = values.numpy()
        assert result.arrays[name].dtype == values.dtype, name
        assert np.array_equal(result.arrays[name], values), (
            f"rung 'INT8 torch golden = functional model' broke at {name}"
        )
        scale = (products | copies)[name].scale.numpy()
        scales = np.broadcast_arrays(result.scales[name], scale, values)
        np.testing.assert_allclose(scales[0], scales[1], rtol=1e-14, err_msg=name)


@pytest.mark.parametrize("column_copies", ["weighted", "rescaled"])
@pytest.mark.parametrize("dataflow", ["auto", "ws", "os"])
@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("site", SITES, ids=str)
def test_every_product_is_the_golden_seed_1(config, dataflow, column_copies, site):
    assert_equal(*run_both(config, 1, site, dataflow=dataflow, column_copies=column_copies))


@pytest.mark.parametrize("column_copies", ["weighted", "rescaled"])
def test_the_stable_diffusion_site_on_the_paper_array_seed_2(column_copies):
    config = Config.preset("paper")
    result, golden = run_both(config, 2, (77, 768, 320, 4), column_copies=column_copies)
    assert_equal(result, golden)
    rows = {p.name: p for p in result.programs[0].products}
    assert {name: row.dataflow for name, row in rows.items()} == {
        "H": "ws", "dH": "ws", "Y": "ws", "dX": "ws", "dA": "os", "dB": "os",
    }  # fmt: skip
    flows = {each.dataflow for each in result.programs[0].instructions if isinstance(each, Execute)}
    assert flows == set(Dataflow)


def test_a_site_is_one_program_that_takes_no_scales_of_its_own_sums():
    program = compile_layer(CONFIGS[2], 9, 17, 11, 4, column_copies="rescaled").program
    tables = {name for name, buffer in program.inputs.items() if buffer.dtype == "uint32"}
    assert tables == {"H.unit_scales", "dH.unit_scales", "Y.factor", "dX.factor"}
    assert [program.inputs[f"{name}.factor"].columns for name in ("Y", "dX")] == [1, 1]
    assert set(program.inputs) - tables == {
        "X.row", "X.column", "dY.row", "dY.column", "W", "A", "B",
    }  # fmt: skip


@pytest.mark.parametrize("column_copies", ["weighted", "rescaled"])
@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_more_tokens_than_scales_are_worked_on_in_slabs_seed_7(column_copies, dataflow):
    config = Config(accumulate_scale_depth=64, row_scale_depth=64)
    options = {"column_copies": column_copies, "dataflow": dataflow, "scaling": 2}
    result, golden = run_both(config, 7, (70, 17, 11, 3), **options)
    assert_equal(result, golden)
    names = [product.name for product in result.programs[0].products]
    assert names[:4] == ["H[0:24]", "dH[0:24]", "Y[0:24]", "dX[0:24]"]
    assert names[-4:] == ["H", "dH", "dA", "dB"] and len(names) == 16


@pytest.mark.parametrize("column_copies", ["weighted", "rescaled"])
@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_stochastic_copies_are_the_golden_ones_seed_8(config, column_copies):
    site, given = (33, 40, 23, 7), tensors(8, 33, 40, 23, 7)
    for dataflow in ("ws", "os"):
        program = compile_layer(
            config, *site, dataflow=dataflow, column_copies=column_copies, rounding="stochastic"
        ).program
        inputs = quantise_site(*given, column_copies=column_copies)
        result = run_layer(Device(config), program, inputs, noise_seed=1234567890)
        golden = lora_site(
            *map(torch.tensor, given), column_copies=column_copies, rounding="stochastic",
            seed=1234567890,
        )  # fmt: skip
        assert_equal(result, golden)


def test_scaling_enters_the_updates_seed_3():
    assert_equal(*run_both(CONFIGS[2], 3, (9, 17, 11, 4), scaling=0.25))


def test_first_step_and_zero_rows_seed_4():
    config, site = CONFIGS[3], (6, 10, 9, 3)
    x, w, a, b, dy = tensors(4, *site)
    program = compile_layer(config, *site).program
    for given in ((x, w, a, b * 0, dy), (x * 0, w, a, b, dy * 0)):
        result = run_layer(Device(config), program, quantise_site(*given))
        assert_equal(result, lora_site(*map(torch.tensor, given)))


def test_saturated_updates_seed_5():
    config, site = CONFIGS[2], (4, 8, 6, 2)
    x, w, a, b, dy = tensors(5, *site)
    given = (x, w * np.float32(1e-9), a, b * np.float32(1e3), dy)
    program = compile_layer(config, *site).program
    result = run_layer(Device(config), program, quantise_site(*given))
    assert_equal(result, lora_site(*map(torch.tensor, given)))
    assert np.isin(result.arrays["Y"], [-(1 << 31), (1 << 31) - 1]).any()


def test_real_values_are_near_float_seed_6():
    site = (33, 40, 23, 4)
    result, _ = run_both(CONFIGS[3], 6, site)
    x, w, a, b, dy = (t.astype(np.float64) for t in tensors(6, *site))
    h, dh = x @ a, dy @ b.T
    expected = {"Y": x @ w + h @ b, "dX": dy @ w.T + dh @ a.T, "dA": x.T @ dh, "dB": dy.T @ h}
    for name, values in expected.items():
        noise = np.square(result.real(name) - values).sum() / np.square(values).sum()
        assert noise < 10**-2.4, name


def test_a_rank_above_the_rows_is_updated_in_os():
    """One rounding only: WS would scale every fold of the reduction by itself."""
    program = compile_layer(Config(rows=3, columns=2), 9, 17, 11, 4, dataflow="ws").program
    rows = {p.name: p.dataflow for p in program.products}
    assert rows["Y"] == rows["dX"] == "ws+os"
    for each in program.instructions:
        if isinstance(each, Execute) and each.scale:
            assert each.dataflow is Dataflow.OS, to_text(each)


def test_rows_of_the_program_add_up():
    layer = compile_layer(CONFIGS[2], 9, 17, 11, 4)
    products = layer.program.products
    stops = [0, *(product.stop for product in products)]
    assert [product.start for product in products] == stops[:-1]
    assert stops[-1] == len(layer.program.instructions) - 1
    assert "Y 9x17x11 ws 2079 MACs" in str(layer)


def test_inputs_must_be_for_the_program():
    config = CONFIGS[2]
    program = compile_layer(config, 9, 17, 11, 4).program
    device = Device(config)
    with pytest.raises(ValueError, match=r"^the program is for LoRA site n=9 .* not for LoRA site"):
        run_layer(device, program, quantise_site(*tensors(1, 8, 17, 11, 4)))
    rescaled = quantise_site(*tensors(1, 9, 17, 11, 4), column_copies="rescaled")
    with pytest.raises(ValueError, match=r"^the program is for weighted column copies, not for"):
        run_layer(device, program, rescaled)
    x, w, a, b, dy = tensors(1, 9, 17, 11, 4)
    with pytest.raises(ValueError, match=r"^the weight must not be all zero"):
        run_layer(device, program, quantise_site(x, w * 0, a, b, dy))


def test_shapes_are_checked():
    x, w, a, b, dy = tensors(1, 9, 17, 11, 4)
    with pytest.raises(ValueError, match=r"^b must be of shape \(4, 11\), not \(11, 4\)$"):
        quantise_site(x, w, a, b.T, dy)
    with pytest.raises(ValueError, match=r"^dy must be a matrix, not of shape \(11,\)$"):
        quantise_site(x, w, a, b, dy[0])
    with pytest.raises(ValueError, match=r"^column_copies must be one of weighted\|rescaled, not"):
        compile_layer(Config(), 1, 1, 1, 1, column_copies="plain")
    with pytest.raises(ValueError, match=r"^n must be a whole number of at least 1, not 0$"):
        compile_layer(Config(), 0, 1, 1, 1)
