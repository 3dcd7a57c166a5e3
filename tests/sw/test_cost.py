"""Costs of steps: which programs are timed, how often, and what is made of their counters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Absmax, Execute, Store
from hw.isa.registers import ErrorCode
from sim.activity import activity
from sim.energy import energy
from sim.result import DramTiming, MachineError, RunResult
from sim.timing.model import run
from sw.cost import Prices, step_cost
from sw.models import Product, Role, TrainingStep
from sw.parallel import spread
from sw.prices import DRAM_CLASS, dram_cycles, limit_of
from sw.program import Program
from sw.tile_search import GOALS

CONFIG = Config(input_depth=256, weight_depth=256, output_depth=256)


class Stopwatch:
    """A timer that keeps what it is given; cycles are waves, and 100 more."""

    def __init__(self, error: ErrorCode = ErrorCode.NONE) -> None:
        self.programs: list[Program] = []
        self.timings: list[DramTiming] = []
        self._error = error

    def __call__(self, program: Program, timing: DramTiming) -> RunResult:
        self.programs.append(program)
        self.timings.append(timing)
        events = activity(program.config, program.instructions)
        counters = {
            "cycles": events.waves + 100,
            "array_cycles": events.waves,
            "dram_read_bytes": events.dram_read_bytes,
            "dram_write_bytes": events.dram_write_bytes,
        }
        return RunResult("test", self._error, 0 if self._error else None, counters, 0.0)


def step_of(*products: Product) -> TrainingStep:
    return TrainingStep("test", "some", 1, None, products, 0, 0)


def product(role: Role, m: int = 9, k: int = 12, n: int = 8, **values) -> Product:
    return Product("site", role, m, k, n, **values)


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


def test_a_distinct_product_is_compiled_and_timed_once(watch):
    prices = Prices(CONFIG, timer=watch)
    step = step_of(
        product(Role.FORWARD), replace(product(Role.FORWARD), site="other"), product(Role.PV),
        product(Role.DX), product(Role.DW), product(Role.FORWARD, count=5),
    )  # fmt: skip
    cost = step_cost(CONFIG, step, prices=prices, dataflow="ws")
    assert len(watch.programs) == 3  # DX loads a transpose, DW stays sums
    assert [row.product for row in cost.rows] == list(step.products)
    again = step_cost(CONFIG, step, prices=prices, dataflow="ws")
    assert again == cost
    assert len(watch.programs) == 3


def test_totals_count_every_run(watch):
    step = step_of(product(Role.FORWARD, count=3), product(Role.DW))
    cost = step_cost(CONFIG, step, prices=Prices(CONFIG, timer=watch), dataflow="os")
    first, second = cost.rows
    assert first.total_cycles == 3 * first.cycles
    assert cost.cycles == 3 * first.cycles + second.cycles
    assert cost.seconds == cost.cycles / 400e6
    assert cost.energy == pytest.approx(3 * first.energy + second.energy)
    assert cost.dram_energy == pytest.approx(3 * first.dram_energy + second.dram_energy)
    assert cost.edp == pytest.approx((cost.energy + cost.dram_energy) * cost.seconds)


def test_energy_is_that_of_the_program(watch):
    prices = Prices(CONFIG, timer=watch)
    row = prices.cost(product(Role.FORWARD), "ws")
    (program,) = watch.programs
    joules = energy(CONFIG, activity(CONFIG, program.instructions), row.cycles)
    assert row.energy == joules.chip
    assert row.dram_energy == joules.dram[DRAM_CLASS]


@pytest.mark.parametrize("flow", ["ws", "os"])
def test_a_forced_dataflow_is_kept(watch, flow):
    cost = step_cost(
        CONFIG, step_of(product(Role.FORWARD)), prices=Prices(CONFIG, timer=watch), dataflow=flow
    )
    assert cost.rows[0].dataflow == flow
    (program,) = watch.programs
    executes = [each for each in program.instructions if isinstance(each, Execute)]
    assert {each.dataflow.name.lower() for each in executes} == {flow}


def test_hybrid_takes_the_better_of_both_as_timed(watch):
    """On 4x4, a row too many fills another tile of sums (OS), a weight too many another of WS."""
    tall, deep = product(Role.FORWARD, 5, 4, 4), product(Role.FORWARD, 4, 5, 4)
    prices = Prices(CONFIG, timer=watch)
    cost = step_cost(CONFIG, step_of(tall, deep), prices=prices)
    for row in cost.rows:
        both = [prices.cost(row.product, flow).cycles for flow in ("ws", "os")]
        assert row.cycles == min(both)
    assert {row.dataflow for row in cost.rows} == {"ws", "os"}
    assert len(watch.programs) == 4


@pytest.mark.parametrize("objective", GOALS)
def test_the_objective_decides(watch, objective):
    measure = {
        "latency": lambda row: row.cycles,
        "energy": lambda row: row.energy + row.dram_energy,
        "edp": lambda row: (row.energy + row.dram_energy) * row.cycles,
    }[objective]
    prices = Prices(CONFIG, timer=watch)
    each = product(Role.FORWARD, 13, 17, 9)
    (row,) = step_cost(CONFIG, step_of(each), prices=prices, objective=objective).rows
    assert measure(row) == min(measure(prices.cost(each, flow, objective)) for flow in ("ws", "os"))


def test_gradients_stay_sums_and_all_else_becomes_int8(watch):
    prices = Prices(CONFIG, timer=watch)
    forward, gradient = (prices.cost(product(role), "ws") for role in (Role.FORWARD, Role.DW))
    made = [any(isinstance(i, Absmax) for i in p.instructions) for p in watch.programs]
    assert made == [True, False]
    stored = [
        {i.format.name for i in p.instructions if isinstance(i, Store)} for p in watch.programs
    ]
    swapped = watch.programs[0].products[0].swapped
    assert stored == [{"INT8_COLUMN" if swapped else "INT8_ROW"}, {"INT32"}]
    assert forward.dram_write_bytes < gradient.dram_write_bytes


@pytest.mark.parametrize(
    "role,a,b",
    [
        (Role.FORWARD, (9, 12), (12, 8)),
        (Role.LORA_H, (9, 12), (12, 8)),
        (Role.DX, (9, 12), (8, 12)),
        (Role.LORA_UP, (9, 12), (8, 12)),
        (Role.DW, (12, 9), (12, 8)),
        (Role.DB, (12, 9), (12, 8)),
        (Role.QK, (9, 12), (8, 12)),
        (Role.PV, (9, 12), (12, 8)),
        (Role.DP, (9, 12), (8, 12)),
        (Role.DV, (12, 9), (12, 8)),
        (Role.DQ, (9, 12), (12, 8)),
        (Role.DK, (12, 9), (12, 8)),
    ],
)
def test_operands_lie_as_the_forward_pass_left_them(watch, role, a, b):
    Prices(CONFIG, timer=watch).cost(product(role), "ws")
    (program,) = watch.programs
    assert {name: each.host_shape for name, each in program.inputs.items()} == {"A": a, "B": b}


def test_timing_is_that_of_the_configuration_unless_given(watch):
    config = CONFIG.replace(dram_latency=7, dram_gbps=1.6)
    Prices(config, timer=watch).cost(product(Role.FORWARD), "ws")
    other = DramTiming(99, None)
    Prices(config, timing=other, timer=watch).cost(product(Role.FORWARD), "ws")
    assert watch.timings == [DramTiming(7, 4.0), other]


def test_products_are_timed_by_the_timing_model(watch):
    each = product(Role.DX, 13, 9, 6)
    Prices(CONFIG, timer=watch).cost(each, "os")
    (program,) = watch.programs
    address = program.layout.program_address
    counters = run(CONFIG, program.encode(), program_address=address).counters
    row = Prices(CONFIG).cost(each, "os")
    assert row.cycles == counters["cycles"] > row.array_cycles == counters["array_cycles"] > 0
    assert row.dram_read_bytes == counters["dram_read_bytes"]
    assert row.dram_write_bytes == counters["dram_write_bytes"]


def test_costs_are_the_same_side_by_side():
    step = step_of(product(Role.FORWARD), product(Role.DW, 5, 6, 7), product(Role.DX, 30, 20, 10))
    alone = step_cost(CONFIG, step)
    with spread(2) as side_by_side:
        assert step_cost(CONFIG, step, prices=Prices(CONFIG, spread=side_by_side)) == alone


def test_a_machine_that_stops_is_told():
    prices = Prices(CONFIG, timer=Stopwatch(ErrorCode.READ_RESPONSE))
    with pytest.raises(MachineError, match="READ_RESPONSE"):
        prices.cost(product(Role.FORWARD), "ws")


def test_unknown_choices_are_refused(watch):
    prices = Prices(CONFIG, timer=watch)
    step = step_of(product(Role.FORWARD))
    with pytest.raises(ValueError, match=r"dataflow must be one of auto\|ws\|os, not 'is'"):
        step_cost(CONFIG, step, dataflow="is", prices=prices)
    with pytest.raises(ValueError, match=r"objective must be one of latency\|energy\|edp, not 'x'"):
        step_cost(CONFIG, step, objective="x", prices=prices)
    assert watch.programs == []


def test_progress_names_what_is_timed(watch):
    told: list[str] = []
    step = step_of(product(Role.FORWARD), product(Role.DW, 5, 6, 7))
    step_cost(CONFIG, step, prices=Prices(CONFIG, timer=watch), progress=told.append)
    assert told == [f"time products, {done} of 4" for done in (1, 2, 3, 4)]


@pytest.mark.parametrize("rate,cycles", [(None, 100), (16.0, 100), (8.0, 150), (2.0, 600)])
def test_reads_and_writes_share_the_dram_but_not_the_bus(rate, cycles):
    assert CONFIG.bus_bytes == 8
    assert dram_cycles(CONFIG, rate, 800, 400) == cycles


@pytest.mark.parametrize(
    "cycles,compute,moved,limit",
    [(100, 90, 80, "compute"), (100, 40, 90, "dram"), (100, 30, 20, "fill"), (9, 5, 5, "compute")],
)  # fmt: skip
def test_the_limit_is_what_takes_most(cycles, compute, moved, limit):
    assert limit_of(cycles, compute, moved) == limit
