"""The vectorised arithmetic in torch equals the definition in plain integers, bit for bit."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from hw.isa import numerics as isa
from sw import quantise as host
from sw.quantise import Group
from sw.train import arithmetic
from sw.train.operand import NotFinite, levels, quantise

SUMS = [0, 1, -1, 63, -64, 127, 128, -32_769, 1 << 30, isa.INT32_MAX, isa.INT32_MIN]
MULTIPLIERS = [0, 1, 3, (1 << 15) - 1, 1 << 15, (1 << 16) - 1]
SHIFTS = range(isa.SHIFT_MIN, isa.SHIFT_MAX + 1)


def cases(seed: int) -> list[tuple[int, int, int, int]]:
    """Return sums, multipliers, shifts and noise: extremes, ties, and random ones."""
    rng = random.Random(seed)
    found = [(acc, m, s, rng.getrandbits(32)) for acc in SUMS for m in MULTIPLIERS for s in SHIFTS]
    found += [(rng.randint(-300, 300) << (s - 16), 1 << 15, s, 1 << 31) for s in range(17, 38)]
    for _ in range(3000):
        acc = rng.choice([-1, 1]) * rng.getrandbits(rng.randint(0, 31))
        found.append((acc, rng.getrandbits(16), rng.choice(SHIFTS), rng.getrandbits(32)))
    return found


CASES = cases(1)
ACC, M, S, BITS = (torch.tensor(column) for column in zip(*CASES, strict=True))
ACC = ACC.to(torch.int32)


@pytest.fixture
def operands():
    generator = torch.Generator().manual_seed(0)
    shapes = (64, 768), (768, 64)
    return tuple(torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)
                 for shape in shapes)  # fmt: skip


def exact(left, right):
    return (left.double() @ right.double()).to(torch.int32)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_products_under_autocast(operands, kind):
    with torch.autocast("cpu", dtype=kind):
        found = arithmetic.gemm(*operands)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(found, exact(*operands))


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_products_where_torch_may_round(operands, precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert torch.equal(arithmetic.gemm(*operands), exact(*operands))
    finally:
        torch.set_float32_matmul_precision(before)


def test_products_where_a_backend_may_round(operands):
    backend = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(backend, "fp32_precision"):
        pytest.skip("this torch has no precision of a backend")
    before, backend.fp32_precision = backend.fp32_precision, "bf16"
    try:
        assert torch.equal(arithmetic.gemm(*operands), exact(*operands))
    finally:
        backend.fp32_precision = before


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_to_quantise(shape):
    with pytest.raises(ValueError, match=f"^X is empty: it is {shape[0]}x{shape[1]}$"):
        quantise(torch.zeros(shape), Group.ROW, name="X")


def test_requantise_to_8_bits():
    values, limited = arithmetic.requantise8(ACC, M, S)
    assert values.tolist() == [isa.requantise8(*case[:3]) for case in CASES]
    wide = [isa.requantise(*case[:3], -(1 << 70), 1 << 70) for case in CASES]
    assert limited == sum(abs(value) > 127 for value in wide)


def test_requantise_to_32_bits():
    expected = [isa.requantise32(*case[:3]) for case in CASES]
    assert arithmetic.requantise32(ACC, M, S).tolist() == expected


def test_stochastic_rounding():
    values, _ = arithmetic.stochastic8(ACC, M, S, BITS)
    assert values.tolist() == [isa.stochastic8(*case) for case in CASES]


def test_scale_and_accumulate():
    total = ACC.flip(0)
    expected = [
        isa.scale_accumulate(start, *case[:3])
        for start, case in zip(total.tolist(), CASES, strict=True)
    ]
    assert arithmetic.scale_accumulate(total, ACC, M, S).tolist() == expected


@pytest.mark.parametrize("seed", [0, 1, 0xDEADBEEF, 0xFFFFFFFF])
def test_noise(seed):
    rows, columns = 5, 70
    expected = [[isa.noise(seed, i, j) for j in range(columns)] for i in range(rows)]
    assert arithmetic.noise(seed, rows, columns).tolist() == expected


def test_fresh_entries():
    rng = random.Random(2)
    maxima = [*range(5000), *(1 << n for n in range(32)), *((1 << n) - 1 for n in range(32))]
    maxima += [rng.getrandbits(rng.randint(1, 31)) for _ in range(5000)]
    m, s = arithmetic.fresh_entries(torch.tensor(maxima))
    expected = [isa.decode_scale(isa.fresh_entry(a)) for a in maxima]
    assert list(zip(m.tolist(), s.tolist(), strict=True)) == expected


@pytest.mark.parametrize("ratio", [0.0, 1e-9, 0.37, 1.0, 1 - 2**-20, 3e5, 2.0**-110, 2.0**140])
def test_update_entries(ratio):
    factor = isa.encode_factor(Fraction(ratio))
    maxima = [0, 1, 2, 3, 127, 65_535, (1 << 31) - 1, 1 << 31]
    m, s = arithmetic.update_entries(torch.tensor(maxima), factor)
    expected = [isa.decode_scale(isa.update_entry(a, factor)) for a in maxima]
    assert list(zip(m.tolist(), s.tolist(), strict=True)) == expected


@pytest.mark.parametrize("k", [1, 1023, 1024, 1025, 5000])
def test_products_are_exact(k):
    generator = torch.Generator().manual_seed(k)
    left, right = (
        torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)
        for shape in ((3, 4, k), (3, k, 5))
    )
    assert torch.equal(arithmetic.gemm(left, right), (left.int() @ right.int()))
    extreme = torch.full((2, k), -128, dtype=torch.int8)
    assert arithmetic.gemm(extreme, extreme.T).unique().tolist() == [k << 14]


def test_products_are_exact_where_torch_may_be_less():
    left = torch.full((8, 64), 127, dtype=torch.int8)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert arithmetic.gemm(left, left.T).unique().tolist() == [64 * 127 * 127]
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_reduction_that_could_leave_int32_is_refused():
    long = torch.zeros(1, isa.MAX_REDUCTION + 1, dtype=torch.int8)
    with pytest.raises(ValueError, match="^a reduction may be 131071 long at most, not 131072$"):
        arithmetic.gemm(long, long.T)


def test_maxima_of_extreme_sums():
    sums = torch.tensor([[isa.INT32_MIN, 5], [-3, 2]], dtype=torch.int32)
    assert arithmetic.absmax(sums, Group.ROW.axes).tolist() == [[1 << 31], [3]]
    assert arithmetic.absmax(sums, Group.COLUMN.axes).tolist() == [[1 << 31, 5]]


def test_rounding_next_to_a_tie():
    below = math.nextafter(0.5, 0)
    x = torch.tensor([0.5, -0.5, below, -below, 1.5, 2.5, math.nextafter(2.5, 0), -0.0],
                     dtype=torch.float64)  # fmt: skip
    assert arithmetic.add_half_(x.clone()).int().tolist() == [1, -1, 0, 0, 2, 3, 2, 0]


@pytest.mark.parametrize(
    "acc, value, limited",
    [(254, 127, 0), (-254, -127, 0), (255, 127, 1), (-255, -127, 1), (9, 5, 0)],
)
def test_what_is_limited_is_counted(acc, value, limited):
    """Halves of sums, at both ends of what an int8 copy holds."""
    one, shift = torch.tensor(1 << 15), torch.tensor(16)
    found = arithmetic.requantise8(torch.tensor([[acc, 0]]).int(), one, shift)
    assert found[0].tolist() == [[value, 0]] and found[1] == limited


@pytest.mark.parametrize("group", list(Group))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantising_is_that_of_the_host(group, dtype):
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((37, 23)) * rng.lognormal(0, 2, (37, 1))).astype(dtype)
    x[5] = x[:, 7] = 0
    x[1, :8] = np.array([127, 0.5, -0.5, 1.5, 63.5, -126.5, 0.49999997, 126.49999]) * x[1, 0] / 127
    expected, found = host.quantise(x, group), quantise(torch.from_numpy(x), group)
    assert found.values.dtype == torch.int8
    np.testing.assert_array_equal(found.values.numpy(), expected.values)
    np.testing.assert_array_equal(found.absmax.numpy(), expected.absmax)


def test_fewer_bits():
    x = torch.tensor([[-3.0, 1.5, 0.2]])
    assert quantise(x, Group.ROW, limit=levels(4)).values.tolist() == [[-7, 4, 0]]
    assert quantise(x, Group.ROW, limit=levels(6)).scale.item() == 3 / 31
    with pytest.raises(ValueError, match="^operands have 2 to 8 bits, not 9$"):
        levels(9)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value):
    x = torch.ones(2, 3)
    x[1, 2] = value
    with pytest.raises(NotFinite, match="^to_k: X is not finite: it holds NaN or an infinity$"):
        quantise(x, Group.ROW, name="to_k: X")
