"""Energy of programs: against the RTL's events, and against what was recorded."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from hw.edge import Edge
from hw.emit import convert_all
from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Halt
from hw.shared import Builder
from hw.sram import Macro
from sim.activity import Activity, activity
from sim.costs import ORIGINS, Cost, costs_of, skew
from sim.dram import AxiDram
from sim.energy import energy, full_use
from sim.macros import SRAM, memories
from sim.silicon import silicon
from sim.sram_table import Ports, banked
from tests.hw.machine import CODE, image, mixed_program
from tests.hw.taps import Taps

PAPER = Config.preset("paper")
COSTS = costs_of(PAPER)


def test_what_glitches_and_wires_cost_stands_beside_what_they_leave() -> None:
    found = full_use(PAPER, Dataflow.WS)
    more = {name: joules - found.zero_delay[name] for name, joules in found.dynamic.items()}
    assert {name for name, joules in more.items() if joules} == {
        "MACs", "clock of elements", "loads and drains", "accumulate lanes",
    }  # fmt: skip
    assert found.chip - found.chip_zero_delay == pytest.approx(sum(more.values()))
    timed, settled = found.tops_per_watt, found.tops_per_watt_zero_delay
    assert timed < settled < 2 * timed
    text = str(found).splitlines()
    assert text[0].split() == ["microjoules", "timed", "zero", "delay"]
    assert text[1].split()[0] == "MACs" and text[1].split()[1] != text[1].split()[2]
    assert len(text) == 1 + len(found.components) + 1 + len(found.dram)


@pytest.mark.parametrize("macs", [1, 4])
@pytest.mark.parametrize("dataflow", list(Dataflow))
def test_a_multiply_costs_what_is_recorded_at_full_use(dataflow: Dataflow, macs: int) -> None:
    """Clock and leakage of the element are in that figure, and are not charged twice."""
    config = PAPER.replace(rows=PAPER.rows // macs, macs_per_element=macs)
    found = full_use(config, dataflow)
    parts = ("MACs", "clock of elements", "leakage of elements")
    joules = sum(found.components[name] for name in parts)
    element = silicon().element(config)
    recorded = element.mac_ws if dataflow is Dataflow.WS else element.mac_os
    assert joules * macs / found.macs == pytest.approx(recorded.timed * 1e-12, rel=1e-9)


@pytest.fixture(scope="module")
def on_the_rtl() -> tuple[Config, Taps, Counter[str], dict[str, int], Activity]:
    """Run a program of everything on the RTL, watched."""
    config = Config(
        rows=5, columns=3, bus_bytes=4, input_depth=32, weight_depth=128, output_depth=64,
        accumulate_scale_depth=256, row_scale_depth=64, column_scale_depth=16,
    )  # fmt: skip
    program, dram = mixed_program(config, 7, 9, 4), image(config, seed=3)
    code = b"".join(map(encode, program))
    dram[CODE : CODE + len(code)] = np.frombuffer(code, np.uint8)
    taps = Taps(config)
    memory = AxiDram(dram, bus_bytes=config.bus_bytes, latency=7)
    names = ("cycles", "macs", "array_fed", "dram_read_bytes", "dram_write_bytes")
    seen, counters = taps.run(memory, CODE, len(program), names)
    return config, taps, seen, counters, activity(config, program)


def test_memories_cost_what_the_accesses_of_the_rtl_cost(on_the_rtl) -> None:
    """Each macro of the RTL at its own price, from its own enables."""
    config, taps, seen, counters, found = on_the_rtl
    charged = energy(config, found, counters["cycles"])
    for owner, macros in taps.macros.items():
        (macro,) = macros
        banks = banked(macro.depth, macro.width, Ports(macro.ports.upper()), SRAM)
        lanes = macro.width // macro.granularity
        wrote = banks.write_pj if lanes == 1 else -(-banks.across // lanes) * banks.point.write_pj
        wanted = seen[f"{owner}_reads"] * banks.read_pj + seen[f"{owner}_writes"] * wrote
        name = f"{owner.replace('_', ' ')} memory"
        assert charged.dynamic[name] == pytest.approx(wanted * 1e-12, rel=1e-9), name
    assert {f"{owner.replace('_', ' ')} memory" for owner in taps.macros} <= set(charged.dynamic)


def test_the_rest_costs_what_the_counters_of_the_rtl_say(on_the_rtl) -> None:
    config, _, _, counters, found = on_the_rtl
    charged, elements = energy(config, found, counters["cycles"]), config.rows * config.columns
    assert charged.macs == counters["macs"]
    moved = counters["dram_read_bytes"] + counters["dram_write_bytes"]
    assert charged.dram == pytest.approx(
        {"DDR3": 160e-12 * moved, "LPDDR4, least": 32e-12 * moved, "LPDDR4, most": 48e-12 * moved}
    )
    element = silicon().element(config)
    idle = counters["array_fed"] * elements - counters["macs"]
    least, most = sorted((element.padding_ws.timed, element.padding_os.timed))
    assert least * idle < charged.dynamic["padding"] * 1e12 < most * idle
    clock = counters["cycles"] * elements * element.clock.timed * 1e-12
    assert charged.dynamic["clock of elements"] == pytest.approx(clock)


@pytest.mark.parametrize(
    "config",
    [Config(rows=5, columns=3, bus_bytes=4, row_scale_depth=32), Config(rows=3, columns=6)],
)
def test_the_memories_are_those_of_the_rtl(config: Config) -> None:
    """Depth, width, ports, lanes written by themselves, and how many."""
    built = Taps(config).macros
    listed = {
        memory.name: Counter(
            {
                Macro(
                    memory.depth, memory.width, memory.ports.lower(), memory.width // memory.lanes
                ): memory.copies
            }
        )
        for memory in memories(config)
    }
    assert listed == built


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (7, 4)])
def test_the_skew_has_the_flip_flops_of_the_rtl(rows: int, columns: int) -> None:
    config = Config(rows=rows, columns=columns)
    (text,) = convert_all(Edge(config), "edge", Builder(emit=True)).values()
    plain, in_turns = Counter(a=0, b=0), Counter(a=0, b=0)
    for high, side, name in re.findall(
        r"^  reg \[(\d+):0\] skew_([ab])_(\w+) ", text, re.MULTILINE
    ):
        (plain if name.endswith("_rest") else in_turns)[side] += int(high) + 1
    assert skew(config) == (tuple(plain.values()), tuple(in_turns.values()))


def test_a_halt_costs_its_fetch_and_what_always_runs() -> None:
    found = energy(PAPER, activity(PAPER, [Halt()]), 100)
    spent = {name for name, joules in found.dynamic.items() if joules}
    assert spent == {"clock of elements", "clock of units", "edges"}
    assert found.dram["DDR3"] == pytest.approx(64 * 160e-12), "a beat of 64 bytes"


def test_leakage_grows_with_time_and_nothing_else_does() -> None:
    fast = full_use(PAPER, Dataflow.WS)
    slow = full_use(PAPER.replace(clock_mhz=PAPER.clock_mhz // 2), Dataflow.WS)
    assert slow.seconds == 2 * fast.seconds
    assert slow.dynamic == fast.dynamic and slow.leakage == fast.leakage
    leak = sum(fast.leakage.values())
    assert slow.chip - fast.chip == pytest.approx(leak * fast.seconds)
    assert fast.power() == pytest.approx(fast.chip / fast.seconds)
    assert fast.power(PAPER.clock_mhz // 2) == pytest.approx(slow.power())
    assert slow.power() < fast.power()


def test_idle_cycles_cost_less_than_busy_ones() -> None:
    found = activity(PAPER, mixed_program(PAPER, 64, 64, 64))
    short, long = energy(PAPER, found, 1000), energy(PAPER, found, 2000)
    idle = (long.chip - short.chip) / 1000 / 4096
    assert 0.1e-12 < idle < 0.3e-12, "J a cycle and element"
    assert long.dram == short.dram


def test_another_table_may_be_passed() -> None:
    found = activity(PAPER, mixed_program(PAPER, 64, 64, 64))
    dear = COSTS.replace(mac_ws=Cost(100.0, "pJ", "made up"))
    more = energy(PAPER, found, 1000, dear).chip - energy(PAPER, found, 1000).chip
    assert more == pytest.approx(found.macs_ws * (100 - COSTS.mac_ws.value) * 1e-12)


def test_every_cost_has_a_unit_and_a_source() -> None:
    entries = COSTS.entries()
    assert len({name for name, _, _ in entries}) == len(entries) >= 14
    for name, doc, cost in entries:
        origin, detail = cost.source.split(": ", 1)
        assert cost.value > 0 and cost.unit and doc and detail and origin in ORIGINS, name


def test_cycles_must_be_positive() -> None:
    with pytest.raises(ValueError, match="cycles must be at least 1, not 0"):
        energy(PAPER, Activity(), 0)
