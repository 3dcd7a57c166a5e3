"""Elements of several products: the execute engine does in fewer cycles what it did in more."""

from __future__ import annotations

import random

import pytest

from hw.isa.config import Config, ConfigError
from hw.isa.instructions import Dataflow, Execute
from hw.pe import ProcessingElement
from tests.marks import nightly

from .bench import simulate
from .execution import (
    LEFT_WORDS,
    OUT_WORDS,
    RIGHT_WORDS,
    SCALES,
    World,
    plain,
    run,
    run_with_gaps,
    small,
)

BOTH = {"drain_overlap": 1}
VARIANTS = [
    BOTH,
    {"drain_overlap": 1, "product_register": 1},
    {"drain_overlap": 0},
    {"drain_overlap": 0, "product_register": 1},
    {"output_stationary": 0},
    {"weight_stationary": 0, "drain_overlap": 1},
    {"weight_stationary": 0, "drain_overlap": 0},
]


def words(e: Execute, config: Config) -> tuple[int, int, int]:
    """Return the words that an instruction spans in the three memories."""
    stationary, together = e.dataflow is Dataflow.WS, config.macs_per_element
    left_rows, lanes = (e.rows, e.reduction) if stationary else (e.reduction, e.rows)
    left_blocks, blocks = -(-lanes // config.rows), -(-e.columns // config.columns)

    def span(rows: int, row_stride: int, count: int, block_stride: int) -> int:
        last = (rows - 1) * row_stride + (count - 1) * block_stride
        return (last // together + 1) * together

    return (
        span(left_rows, e.left_row_stride, left_blocks, e.left_block_stride),
        span(e.reduction, e.right_row_stride, blocks, e.right_block_stride),
        e.rows * blocks,
    )


def random_chain(world: World, rng: random.Random, length: int) -> list[Execute]:
    """Return random instructions that fit the memories, at aligned places."""
    config, chain = world.config, []
    together = config.macs_per_element
    while len(chain) < length:
        shape = (
            rng.choice(config.dataflows), rng.randint(1, 2 * config.rows + 1),
            rng.randint(1, 3 * config.fold_reduction), rng.randint(1, 2 * config.columns),
        )  # fmt: skip
        needs = words(plain(*shape, config), config)
        room = LEFT_WORDS - needs[0], RIGHT_WORDS - needs[1], OUT_WORDS - needs[2]
        if min(room) < 0:
            continue
        out_base = rng.randint(0, room[2])
        full = all(out_base + word in world.out for word in range(needs[2]))
        instruction = plain(
            *shape,
            config,
            left_base=rng.randint(0, room[0] // together) * together,
            right_base=rng.randint(0, room[1] // together) * together,
            out_base=out_base,
            accumulate=int(full and rng.random() < 0.6),
            scale=int(rng.random() < 0.3),
            scale_base=rng.randint(0, SCALES - shape[1]),
        )
        world.expect(instruction)
        chain.append(instruction)
    return chain


SHAPES = [(2, 3, 4), (4, 2, 2), (3, 5, 4), (5, 2, 2), (3, 2, 2), (4, 3, 4), (2, 2, 4)]
CASES = [
    *zip(SHAPES, VARIANTS, strict=True),
    ((3, 4, 2), BOTH),
    ((4, 3, 4), BOTH),
]


@pytest.mark.parametrize("shape, variant", CASES)
def test_random_chains(shape: tuple[int, int, int], variant: dict[str, int]) -> None:
    rows, columns, products = shape
    rng = random.Random(repr((rows, products, variant)))
    config = small(rows, columns, macs_per_element=products, **variant)
    world = World(config, seed=rows)
    run_with_gaps(world, random_chain(world, rng, 8), lambda: rng.choice((1, 1, 2, 9)))


@pytest.mark.parametrize("dataflow", list(Dataflow))
@pytest.mark.parametrize("streamed", [1, 9, *nightly(3, 4)])
@pytest.mark.parametrize("products", [2, 4])
@pytest.mark.parametrize("overlap", [0, 1])
def test_a_fold_covers_as_much_more_of_the_reduction(
    dataflow: Dataflow, streamed: int, products: int, overlap: int
) -> None:
    """Cycles are those of an array of one product an element, with a reduction so much shorter."""
    config, folds = small(4, 3, macs_per_element=products, drain_overlap=overlap), 2
    world = World(config, seed=streamed)
    if dataflow == Dataflow.WS:
        shape = streamed, folds * 4 * products - 1, 3
    else:
        shape = 4, streamed * products - 1, folds * 3
    run(world, [plain(dataflow, *shape, config)])
    once = streamed + 2 * config.rows + config.columns + 6
    alone = dataflow == Dataflow.OS and not overlap
    fold = streamed + config.rows - 1 if alone else max(streamed, config.rows)
    assert world.array_cycles == (folds - 1) * fold + once
    assert world.waves == folds * streamed


@pytest.mark.parametrize("dataflow", list(Dataflow))
@pytest.mark.parametrize("products", [2, 4])
def test_all_minus_128(dataflow: Dataflow, products: int) -> None:
    config = small(4, 4, macs_per_element=products)
    world = World(config, seed=0, values=(-128, -127))
    run(world, [plain(dataflow, 3, 4 * products + 1, 4, config)])
    assert all(sums == [(4 * products + 1) * 128 * 128] * 4 for sums in world.out.values())


@pytest.mark.parametrize("products", [1, 2, 4])
def test_an_element_adds_its_products(products: int) -> None:
    """Random operands and partial sums through `w` of a weight-stationary wave."""
    rng = random.Random(products)
    dut = ProcessingElement(Config(rows=2, columns=2, macs_per_element=products))

    def value(operands: list[int]) -> int:
        bits = sum((each & 0xFF) << 8 * place for place, each in enumerate(operands))
        return bits - (bits >> 8 * products - 1 << 8 * products)

    async def bench(ctx):
        for _ in range(40):
            a, w = ([rng.choice((-128, 127, rng.randint(-128, 127))) for _ in range(products)]
                    for _ in range(2))  # fmt: skip
            base = rng.randint(-(1 << 31), (1 << 31) - 1)
            ctx.set(dut.b_in, value(w))
            ctx.set(dut.control_in["shift_b"], 1)
            await ctx.tick()
            ctx.set(dut.control_in["shift_b"], 0)
            ctx.set(dut.a_in, value(a))
            ctx.set(dut.control_in["valid"], 1)
            ctx.set(dut.control_in["first"], 1)
            await ctx.tick()
            ctx.set(dut.control_in["valid"], 0)
            ctx.set(dut.p_in, base)
            await ctx.tick()
            exact = base + sum(x * y for x, y in zip(a, w, strict=True))
            assert ctx.get(dut.p_out) == (exact + (1 << 31)) % (1 << 32) - (1 << 31)

    simulate(dut, bench)


@pytest.mark.parametrize(
    "values, problem",
    [
        ({"macs_per_element": 3}, "macs_per_element must be a power of two, not 3"),
        ({"macs_per_element": 8}, "macs_per_element must be at most 4, not 8"),
        ({"macs_per_element": 0}, "macs_per_element must be at least 1, not 0"),
        (
            {"macs_per_element": 4, "rows": 8, "weight_depth": 16},
            "a stationary tile of rows 8 x macs_per_element 4 takes 32 words of the weight memory, "
            "and half of it holds weight_depth 16: raise weight_depth",
        ),
    ],
)
def test_configurations_that_cannot_be(values: dict[str, int], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**values)
    assert str(caught.value) == problem
