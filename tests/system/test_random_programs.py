"""A thousand random programs: torch golden = functional model = RTL, and what they reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from hw.isa.encoding import decode
from hw.isa.instructions import INSTRUCTION_BYTES, Format, Store
from sim import functional, rtl
from sim.result import RunResult

from .random_programs import case as cases
from .random_programs.case import Case
from .random_programs.draw import draw
from .random_programs.features import LEAST, features
from .random_programs.layout import Layout
from .random_programs.lower import lower
from .random_programs.minimise import explain, expression, minimise
from .random_programs.rungs import Failure, check
from .random_programs.sequence import check_sequence, shorten

SEEDS = range(1000)
DEFAULT = range(100)
BLOCK = 50
LONGEST = 8
"""Programs in a sequence."""
RTL_TRIES, MODEL_TRIES = 60, 500
"""Runs that making a failing case small may take: a second each on the RTL."""


def check_rtl(case: Case) -> Failure | None:
    return check(case, hardware=rtl.run)


def assert_passes(seed: int, hardware: bool, several: bool = False) -> None:
    """Fail with the smallest program that the time allows to find."""
    run, tries = (check_rtl, RTL_TRIES) if hardware else (check, MODEL_TRIES)
    case = draw(seed, several=several)
    failure = run(case)
    if failure is not None:
        pytest.fail(explain(seed, case, failure, run, tries=tries), pytrace=False)


@pytest.mark.parametrize("start", SEEDS[::BLOCK])
def test_functional_model_is_golden(start: int) -> None:
    for seed in range(start, start + BLOCK):
        assert_passes(seed, hardware=False)


@pytest.mark.parametrize("seed", DEFAULT[::2])
def test_rtl_is_functional_model(seed: int) -> None:
    assert_passes(seed, hardware=True)


def test_functional_model_of_several_products_is_golden() -> None:
    for seed in range(150):
        assert_passes(seed, hardware=False, several=True)


@pytest.mark.parametrize("seed", range(8))
def test_rtl_of_several_products_is_functional_model(seed: int) -> None:
    assert_passes(seed, hardware=True, several=True)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(300))
def test_rtl_of_several_products_is_functional_model_on_many_seeds(seed: int) -> None:
    assert_passes(seed, hardware=True, several=True)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", SEEDS)
def test_rtl_is_functional_model_on_all_seeds(seed: int) -> None:
    assert_passes(seed, hardware=True)


@pytest.mark.parametrize("reset", [False, True], ids=["as it is", "reset"])
@pytest.mark.parametrize("config", cases.CONFIGS)
def test_programs_one_after_the_other(config: str, reset: bool) -> None:
    """On a machine that has run others, reset by its register or not."""
    assert_sequence(config, LONGEST, reset)


@pytest.mark.nightly
@pytest.mark.parametrize("reset", [False, True], ids=["as it is", "reset"])
@pytest.mark.parametrize("config", cases.CONFIGS)
def test_many_programs_one_after_the_other(config: str, reset: bool) -> None:
    assert_sequence(config, 10 * LONGEST, reset)


def assert_sequence(config: str, count: int, reset: bool) -> None:
    """Run the first `count` programs of a configuration in one simulation."""

    def run(seeds: Sequence[int]) -> Failure | None:
        return check_sequence([draw(seed) for seed in seeds], reset=reset)

    seeds = [seed for seed in SEEDS if draw(seed).config == config][:count]
    failure = run(seeds)
    if failure is not None:
        pytest.fail(shorten(seeds, failure, run), pytrace=False)


def test_what_the_programs_reach() -> None:
    """Nothing that the generator should draw can become rare unnoticed."""
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        case = draw(seed)
        counts.update(features(case, lower(case, Layout.of(case))))
    rare = {name: counts[name] for name, least in LEAST.items() if counts[name] < least}
    assert not rare, "programs of a thousand that have a feature, fewer than they should be"
    assert set(counts) <= set(LEAST), "every feature has its least number"


def test_a_seed_is_a_case() -> None:
    draw.cache_clear()
    before = [draw(seed) for seed in DEFAULT]
    draw.cache_clear()
    assert [draw(seed) for seed in DEFAULT] == before
    assert len(set(before)) == len(before)


@pytest.mark.parametrize("seed", DEFAULT[::10])
def test_a_case_can_be_pasted_back(seed: int) -> None:
    for text in (expression(draw(seed)), repr(draw(seed))):
        assert pasted(text) == draw(seed)


def pasted(text: str) -> Case:
    """Return the case of a printed expression."""
    names = {name: getattr(cases, name) for name in cases.__all__}
    return eval(text, {**names, "Stalls": cases.Stalls, "DramTiming": cases.DramTiming})


def broken(config, program: bytes, dram: np.ndarray, **options) -> RunResult:
    """Run the functional model, with a fault in INT8_COLUMN of more than three columns."""
    result = functional.run(config, program, dram, **options)
    for at in range(0, len(program), INSTRUCTION_BYTES):
        store = decode(program[at : at + INSTRUCTION_BYTES])
        if isinstance(store, Store) and store.format is Format.INT8_COLUMN and store.columns > 3:
            dram[store.dram + 3] ^= 1
    return result


def check_broken(case: Case) -> Failure | None:
    return check(case, model=broken)


@pytest.fixture(scope="module")
def victim() -> tuple[int, Failure]:
    """Return the first seed of some size in which the planted fault shows, and how."""
    for seed in DEFAULT:
        failure = check_broken(draw(seed))
        if failure is not None and len(lower(draw(seed), Layout.of(draw(seed)))) > 20:
            return seed, failure
    raise AssertionError("no program shows the fault")


def test_a_failing_case_is_made_small(victim: tuple[int, Failure]) -> None:
    seed, failure = victim
    small, again = minimise(draw(seed), failure, check_broken, tries=MODEL_TRIES)
    assert again.rung == failure.rung == "functional model = golden"
    assert check_broken(small) == again, "it still fails"
    assert check(small) is None, "by the fault alone"
    (step,) = small.steps
    assert (step.m, step.n, len(step.actions)) == ((1,), (4,), 2)
    assert step.actions[0].parts == (1,) and small.stalls == cases.Stalls()
    assert len(lower(small, Layout.of(small))) == 6, "three loads, a product, a store, the halt"


def test_the_message_of_a_failure(victim: tuple[int, Failure]) -> None:
    seed, failure = victim
    text = explain(seed, draw(seed), failure, check_broken, tries=MODEL_TRIES)
    first, second, printed, *program = text.splitlines()
    assert first.startswith(f"seed {seed}: functional model = golden: byte 0x")
    assert "step 0 action 1 copy, row 0, byte 3 of its pitch" in second
    assert check_broken(pasted(printed)).rung == failure.rung
    assert program[-1] == "halt"
    assert any(line.startswith("store") and "format=int8_column" in line for line in program)


def test_few_tries_still_give_a_failing_case(victim: tuple[int, Failure]) -> None:
    seed, failure = victim
    small, again = minimise(draw(seed), failure, check_broken, tries=3)
    assert check_broken(small) == again and again.rung == failure.rung


def shifted(config, program: bytes, dram: np.ndarray, **options) -> RunResult:
    """Stand for an RTL that counts one product too many and takes timing, as it does."""
    for name in ("timing", "stalls", "seed", "check_protocol"):
        options.pop(name)
    result = functional.run(config, program, dram, **options)
    result.counters["macs"] += 1
    return result


def test_a_wrong_counter_is_a_rung_of_its_own() -> None:
    failure = check(draw(0), hardware=shifted)
    assert failure.rung == "counter macs: RTL = functional model"
    assert int(failure.detail.split(",")[0]) == int(failure.detail.split()[-1]) + 1


def one_by_one(config, jobs, dram: np.ndarray, **options) -> list[RunResult]:
    """Stand for an RTL on which a program of one column spoils what a later one of two writes."""
    results, spoiled = [], False
    for job in jobs:
        results.append(
            functional.run(
                config, job.program, dram, program_address=job.address,
                noise_seed=options["noise_seed"],
            )
        )  # fmt: skip
        for at in range(0, len(job.program), INSTRUCTION_BYTES):
            store = decode(job.program[at : at + INSTRUCTION_BYTES])
            if isinstance(store, Store):
                dram[store.dram] ^= spoiled and store.columns == 2
                spoiled = spoiled or store.columns == 1
    return results


def test_what_a_program_leaves_behind_is_found() -> None:
    def run(seeds: Sequence[int]) -> Failure | None:
        return check_sequence([draw(seed) for seed in seeds], reset=False, hardware=one_by_one)

    seeds = [seed for seed in SEEDS if draw(seed).config == "4x4"][:40]
    failure = run(seeds)
    assert failure is not None and failure.rung == "RTL = golden in a sequence"
    text = shorten(seeds, failure, run)
    culprits = text.split("]")[0].split("[")[1].split(", ")
    assert len(culprits) <= 2 and "program" in text and "copy, row" in text


def test_programs_that_harm_nothing_pass_in_sequence() -> None:
    def sound(config, jobs, dram: np.ndarray, noise_seed: int, **options) -> list[RunResult]:
        return [
            functional.run(
                config, job.program, dram, program_address=job.address, noise_seed=noise_seed
            )
            for job in jobs
        ]

    programs = [draw(seed) for seed in SEEDS if draw(seed).config == "3x5"][:LONGEST]
    assert check_sequence(programs, reset=True, hardware=sound) is None
