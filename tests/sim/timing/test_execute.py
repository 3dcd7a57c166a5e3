"""The execute engine in time, in lockstep with the hardware: every signal in every cycle."""

from __future__ import annotations

import dataclasses
import random
from itertools import product

import numpy as np
import pytest
from amaranth.hdl import Fragment

from hw.accumulate import passed_on
from hw.execute import ExecuteEngine
from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute, Load, Memory
from hw.shared import Builder
from hw.walk import Walk
from sim.result import DramTiming
from sim.timing.code import table
from sim.timing.execute import EXECUTE, step
from sim.timing.folds import FOLD, expand
from sim.timing.shape import shape_of
from sim.timing.wires import NONE, WIRES
from tests.hw.bench import simulate
from tests.marks import nightly

SHAPES = [(2, 2), (4, 4), (4, 8), (6, 4), (3, 5), (2, 70), (24, 3)]
SIGNALS = {
    "execute_read_end": "read_end",
    "execute_end": "end",
    "execute_busy": "busy",
    "execute_to_load": "signal_load",
    "execute_to_store": "signal_store",
    "fed": "fed",
    "array_fed": "array_fed",
    "written": "written",
    "macs": "macs",
}


class Hollow(Builder):
    """Leaves out elements, and of lanes all but the way of operations: nothing else of theirs is
    seen in time.
    """

    def place(self, m, name, module, make, *, clocked=True):
        if module == "cdmqta_lane":
            # Amaranth warns of what is made and never elaborated.
            Fragment.get(lane := make(), None)
            hollow = lane.signature.create()
            m.d.comb += hollow.passes.eq(passed_on(m, hollow.operation, name))
            return hollow
        if module not in self.units:
            self.units[module] = make()
            # Amaranth warns of what is made and never elaborated.
            Fragment.get(self.units[module], None)
        return self.units[module].signature.create()


def config_of(rows: int, columns: int, depth: int = 0) -> Config:
    """Return a configuration of that shape with small memories."""
    depth = max(depth, 1 << (rows - 1).bit_length(), 4)
    bus = min(128, max(4, 1 << (columns - 1).bit_length()))
    return Config(
        rows=rows,
        columns=columns,
        bus_bytes=bus,
        burst_beats=1,
        input_depth=max(depth, 1 << (rows * -(-columns // bus) - 1).bit_length()),
        weight_depth=depth,
        output_depth=depth,
    )


def random_instruction(rng: random.Random, config: Config) -> Execute:
    """Return any instruction: sizes about those of the array, addresses anywhere."""
    rows, columns = config.rows, config.columns

    def size(lanes: int) -> int:
        kind = rng.random()
        if kind < 0.3:
            return rng.randint(1, 3)
        return rng.randint(1, 3 * lanes) if kind < 0.6 else lanes * rng.randint(1, 3)

    def stride(depth: int) -> int:
        return rng.choice((0, 1, 1, rng.randint(0, 2 * depth), rng.randrange(1 << 16)))

    def base(depth: int) -> int:
        return rng.choice((0, depth, depth - 1, rng.randrange(2 * depth), rng.randrange(1 << 16)))

    os = rng.random() < 0.5
    depths = {
        "left": config.input_depth,
        "right": config.weight_depth,
        "out": config.output_depth,
    }
    return Execute(
        dataflow=Dataflow.OS if os else Dataflow.WS,
        rows=size(rows),
        reduction=size(rows),
        columns=min(size(columns), 2 * columns if rows > 16 else 3 * columns),
        accumulate=int(rng.random() < 0.5),
        scale=int(rng.random() < 0.4),
        signal_load=int(rng.random() < 0.6),
        signal_store=int(rng.random() < 0.6),
        scale_base=rng.randrange(config.accumulate_scale_depth),
        **{f"{name}_base": base(depth) for name, depth in depths.items()},
        **{f"{name}_row_stride": stride(depth) for name, depth in depths.items()},
        **{f"{name}_block_stride": stride(depth) for name, depth in depths.items()},
    )


def side_by_side(config: Config, e: Execute) -> Execute:
    """Return an instruction like another whose words lie as elements of several products want."""
    together, deep = config.macs_per_element, config.fold_reduction
    ways = {"left": "block" if e.dataflow is Dataflow.WS else "row", "right": "row"}
    changes = {"reduction": min(2 * deep + 1, e.reduction * together + e.rows % together)}
    for name, along in ways.items():
        across = {"row": "block", "block": "row"}[along]
        changes[f"{name}_{along}_stride"] = 1
        for field in ("base", f"{across}_stride"):
            value = getattr(e, f"{name}_{field}")
            changes[f"{name}_{field}"] = value - value % together
    return dataclasses.replace(e, **changes)


class Model:
    """The engine in time, with its inputs."""

    def __init__(self, config: Config, program: list[Execute]) -> None:
        self.code = table(b"".join(map(encode, program)))
        self.folds = expand(config, self.code)
        self.state, self.wires = np.zeros(1, EXECUTE), np.zeros(1, WIRES)
        self.shape = shape_of(config, DramTiming(latency=1))

    def step(self, valid: int, index: int) -> dict[str, int]:
        """Do a cycle; return the signals of the hardware and what it reads."""
        wires = self.wires
        wires["execute_valid"], wires["execute_index"] = valid, index
        step(self.state[0], self.shape[0], wires[0], self.code, self.folds)
        seen = {name: int(wires[name][0]) for name in (*SIGNALS, "left_read", "right_read")}
        for name in ("half_busy", "half_used"):
            seen[name] = int(wires[name][0] @ (1, 2))
        return seen | {name: int(wires[name][0]) for name in ("execute_ready", "fold_taken")}


def observe(ctx, dut: ExecuteEngine, together: int) -> dict[str, int]:
    """Return the same of the hardware; a write that must wait tells which bank is read."""
    seen = {name: ctx.get(getattr(dut, signal)) for name, signal in SIGNALS.items()}
    for name, port in (("left_read", dut.write_left), ("right_read", dut.write_right)):
        seen[name] = NONE
        for bank in range(2):
            ctx.set(port.p.address, bank * together)
            if not ctx.get(port.ready):
                seen[name] = bank
    seen["half_busy"], seen["half_used"] = ctx.get(dut.half_busy), ctx.get(dut.half_used)
    return seen | {"execute_ready": ctx.get(dut.i.ready)}


def lockstep(config: Config, program: list[Execute], gap, *, hollow: bool = True) -> Model:
    """Run a program on both and compare them in every cycle; return the model at its end.

    `gap` gives the idle cycles before each instruction.
    """
    dut = ExecuteEngine(config, Hollow() if hollow else Builder())
    model, folds = Model(config, program), 0

    async def bench(ctx):
        nonlocal folds
        index, wait, cycle = 0, gap(), 0
        while True:
            valid = index < len(program) and not wait
            if valid:
                word = int.from_bytes(encode(program[index]), "little")
                ctx.set(dut.i.payload.as_value(), word)
            ctx.set(dut.i.valid, valid)
            hardware = observe(ctx, dut, config.macs_per_element)
            seen = model.step(valid, index)
            folds += seen["fold_taken"]
            for name, value in hardware.items():
                where = f"cycle {cycle}, {name}; instruction {index}: {program[index:][:1]}"
                assert seen[name] == value, f"{where}; of {program[:index]} before"
            if index == len(program) and not hardware["execute_busy"]:
                return
            if valid and hardware["execute_ready"]:
                index, wait = index + 1, gap()
            elif wait:
                wait -= 1
            await ctx.tick()
            cycle += 1

    simulate(dut, bench)
    assert folds == len(model.folds)
    return model


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("rows, columns", SHAPES)
def test_lockstep_with_the_hardware(rows: int, columns: int, overlap: int) -> None:
    """Random chains of both dataflows, at first without gaps."""
    rng = random.Random(rows * 1000 + columns)
    config = config_of(rows, columns).replace(drain_overlap=overlap)
    count = 4 if rows > 16 else 16
    program = [random_instruction(rng, config) for _ in range(count)]
    issued = iter(range(len(program) + 1))
    model = lockstep(
        config,
        program,
        lambda: rng.choice((0, 0, 1, 2, rows, 9 * rows)) if next(issued) > count // 2 else 0,
    )
    # Some signals end up to a line later than the engine is busy.
    for _ in range(2 * (rows + columns) + 20):
        model.step(0, 0)
    assert not any(model.state.tobytes()), "an engine with nothing to do is as it was at first"


@pytest.mark.parametrize("register", [0, 1])
@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("rows, columns", [(2, 3), (5, 4)])
def test_lockstep_with_variants_of_the_array(
    rows: int, columns: int, overlap: int, register: int
) -> None:
    rng = random.Random(rows)
    config = config_of(rows, columns).replace(drain_overlap=overlap, product_register=register)
    program = [random_instruction(rng, config) for _ in range(16)]
    lockstep(config, program, lambda: rng.choice((0, 0, 0, 1, 2, rows)))


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("rows, columns, products", [(2, 3, 4), (5, 4, 2), (4, 2, 4)])
def test_lockstep_with_elements_of_several_products(
    rows: int, columns: int, products: int, overlap: int
) -> None:
    rng = random.Random(rows)
    small = config_of(rows, columns, 4 << (rows * products).bit_length())
    config = small.replace(macs_per_element=products, drain_overlap=overlap)
    program = [side_by_side(config, random_instruction(rng, config)) for _ in range(16)]
    lockstep(config, program, lambda: rng.choice((0, 0, 0, 1, 2, rows)))


@pytest.mark.parametrize("overlap", [0, 1])
def test_lockstep_with_all_of_the_hardware(overlap: int) -> None:
    """With elements, lanes and sums."""
    rng = random.Random(1)
    config = config_of(3, 2).replace(drain_overlap=overlap)
    program = [random_instruction(rng, config) for _ in range(12)]
    lockstep(config, program, lambda: 0, hollow=False)


@pytest.mark.parametrize("rows, columns", [(4, 8), *nightly((2, 40))])
@pytest.mark.parametrize("flows, overlap", [("ws", 0), *product(("os", "both"), (0, 1))])
def test_lockstep_of_instructions_of_one_wave(
    rows: int, columns: int, flows: str, overlap: int
) -> None:
    """As many instructions as fit are on their way, each with its tokens."""
    rng = random.Random(rows)
    config = config_of(rows, columns).replace(drain_overlap=overlap)
    program = []
    for number in range(2 * columns):
        kind = {"ws": 0, "os": 1, "both": number % 2}[flows]
        fields = {"rows": rng.randint(1, rows)} if kind else {"reduction": rng.randint(1, rows)}
        base = random_instruction(rng, config)
        program.append(
            dataclasses.replace(
                base,
                dataflow=Dataflow(kind),
                columns=rng.randint(1, columns),
                **({"rows": 1, "reduction": 1} | fields),
            )
        )
    lockstep(config, program, lambda: 0)


@pytest.mark.parametrize("rows, columns", [(2, 3), (4, 4), (5, 2)])
def test_folds_are_those_of_the_walk(rows: int, columns: int) -> None:
    rng = random.Random(rows)
    config = config_of(rows, columns, depth=32)
    program = [random_instruction(rng, config) for _ in range(20)]
    program.insert(3, Load(memory=Memory.INPUT, dram=0, rows=1, columns=1))
    code = table(b"".join(map(encode, program)))
    folds = expand(config, code)
    dut, walked = Walk(config), []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        executes = [each for each in program if isinstance(each, Execute)]
        for number, each in enumerate(executes):
            ctx.set(dut.i.p.as_value(), int.from_bytes(encode(each), "little"))
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            end = 0
            while not end:
                fold = ctx.get(dut.o.p)
                walked.append((number, fold))
                end = fold.end
                if not end:
                    await ctx.tick()

    simulate(dut, bench)
    assert len(walked) == len(folds)
    executes = np.flatnonzero(code["folds"])
    last: dict[str, int] = {}
    for place, (number, fold) in enumerate(walked):
        each, mine = code[executes[number]], folds[place]
        assert each["first_fold"] <= place < each["first_fold"] + each["folds"]
        for name in ("os", "waves", "macs", "end", "accumulate"):
            assert mine[name] == fold[name], f"{name} of fold {place}"
        words = {
            "left": (fold.waves, 1),
            "right": (fold.waves if fold.os else fold.right_rows, 1),
            "out": (fold.out_rows if fold.os else fold.waves, config.output_depth),
        }
        assert mine["turn"] == fold.turn
        for name, (count, run) in words.items():
            first = fold[name]
            if fold.turn and name != "right":
                first = last[name] + (fold.left if name == "left" else 0)
            parts = [
                [(base + word * stride) // unit % 2 for unit in (1, run) for word in range(count)]
                for base, stride in (
                    (first, fold[f"{name}_stride"]),
                    (int(mine[name]), int(mine[f"{name}_stride"])),
                )
            ]
            assert parts[0] == parts[1], f"banks or halves of {name} of fold {place}"
            last[name] = first + (count - 1) * fold[f"{name}_stride"]


def test_equal_timing_is_equal_bytes() -> None:
    """Where an operand lies within its bank, or a result within bank and half, leaves no trace."""
    config = config_of(4, 4, depth=32)
    fields = {
        "dataflow": Dataflow.WS,
        "rows": 5,
        "reduction": 9,
        "columns": 6,
        "left_row_stride": 3,
        "left_block_stride": 1,
        "right_row_stride": 2,
        "right_block_stride": 1,
        "out_row_stride": 1,
        "out_block_stride": 5,
    }
    here = Execute(**fields, accumulate=1)
    there = dataclasses.replace(here, left_base=12, right_base=66, out_base=6)
    backwards = dataclasses.replace(here, left_row_stride=(1 << 16) - 7, left_base=30)
    other_bank = dataclasses.replace(here, left_base=1)
    across = dataclasses.replace(here, out_base=30)
    odd = dataclasses.replace(here, out_base=7)
    program = (here, there, backwards, other_bank, across, odd)
    folds = expand(config, code := table(b"".join(map(encode, program))))
    assert code["first_fold"].tolist() == [0, 6, 12, 18, 24, 30]
    alike = [folds[place : place + 6].tobytes() for place in code["first_fold"]]
    assert alike[0] == alike[1] == alike[2]
    assert alike[0] not in alike[3:]


def states_of_the_last(model: Model) -> list[bytes]:
    """Run a program, its last instruction once nothing is left to do; return the states since."""
    last = len(model.code) - 1
    for index in range(last):
        while not model.step(1, index)["execute_ready"]:
            pass
    while any(model.state.tobytes()):
        model.step(0, 0)
    states = []
    model.step(1, last)
    while any(model.state.tobytes()):
        state = model.state.copy()
        state["next_fold"] -= model.code["first_fold"][last] * (state["folds"] > 0)
        states.append(state.tobytes())
        model.step(0, 0)
    return states


def test_state_knows_nothing_of_the_past() -> None:
    rng = random.Random(3)
    config = config_of(4, 5)
    program = [random_instruction(rng, config) for _ in range(7)]
    states = states_of_the_last(Model(config, program))
    assert states == states_of_the_last(Model(config, program[-1:]))
    assert len(set(states)) > 20


def test_no_instruction_has_no_fold_but_one_to_point_to() -> None:
    assert expand(Config(), table(b"")).tobytes() == bytes(FOLD.itemsize)
