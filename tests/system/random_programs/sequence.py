"""Several random programs on one machine, one after the other: what one leaves harms no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sim import functional, rtl
from sim.protocol import ProtocolError
from sim.result import BackendError, RunResult

from .case import Case
from .rungs import COUNTERS, Failure, Prepared, compare, prepare

__all__ = ["check_sequence", "shorten"]


Runner = Callable[..., Sequence[RunResult]]


def check_sequence(
    cases: Sequence[Case], *, reset: bool, hardware: Runner = rtl.run_sequence
) -> Failure | None:
    """Run cases of one configuration on the RTL in one simulation; return what broke first.

    Timing, stalls and the seed of rounding are those of the first; DRAM is shared, each case with
    its own part. With `reset`, the host resets the machine in between.
    """
    first = cases[0]
    ready: list[Prepared] = []
    for case in cases:
        start = ready[-1].layout.image.size if ready else 0
        world = {"timing": first.timing, "stalls": first.stalls, "rounding": first.rounding}
        ready.append(prepare(replace(case, **world), start))
    image = joined(ready)
    jobs = [rtl.Job(each.code, each.layout.program) for each in ready]
    try:
        results = hardware(
            ready[0].layout.config, jobs, image, reset=reset, noise_seed=first.rounding,
            timing=first.timing, stalls=first.stalls, seed=first.noise, check_protocol=True,
        )  # fmt: skip
    except ProtocolError as error:
        return Failure("AXI in a sequence", str(error))
    except BackendError as error:
        return Failure("RTL runs a sequence", str(error))
    for number, (each, result) in enumerate(zip(ready, results, strict=True)):
        failure = _check_one(each, result, image)
        if failure is not None:
            return replace(failure, detail=f"program {number}: {failure.detail}")
    return None


def _check_one(ready: Prepared, result: RunResult, image: np.ndarray) -> Failure | None:
    """Compare one program's part of DRAM, and its counters."""
    end = ready.layout.image.size
    wanted = image[:end].copy()
    wanted[ready.layout.start :] = ready.expected.image[ready.layout.start :]
    difference = ready.difference(image[:end], wanted)
    if difference is not None:
        return Failure("RTL = golden in a sequence", difference)
    model = ready.run(functional.run, ready.layout.image.copy())
    counters = {name: model.counters[name] for name in COUNTERS}
    return compare(result.counters, counters, "RTL = functional model in a sequence")


def joined(ready: Sequence[Prepared]) -> np.ndarray:
    """Return one DRAM of the parts that belong to each program."""
    return np.concatenate([each.layout.image[each.layout.start :] for each in ready])


def shorten(
    seeds: Sequence[int], failure: Failure, check: Callable[[Sequence[int]], Failure | None]
) -> str:
    """Return the message of a failing sequence, with what it fails without left out.

    `check` runs the programs of some seeds.
    """
    for seed in seeds:
        rest = [each for each in seeds if each != seed]
        again = check(rest) if rest else None
        if again is not None and again.rung == failure.rung:
            seeds, failure = rest, again
    return f"seeds {list(seeds)} in sequence: {failure.rung}: {failure.detail}"
