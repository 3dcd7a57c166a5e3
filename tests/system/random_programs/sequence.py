"""Several random programs on one machine, one after the other: what one leaves harms no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sim import functional, rtl
from sim.protocol import ProtocolError
from sim.result import BackendError

from .case import Case
from .rungs import COUNTERS, Failure, Prepared, compare, prepare

__all__ = ["check_sequence", "shorten"]


def check_sequence(cases: Sequence[Case], *, reset: bool) -> Failure | None:
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
    image = joined([each.layout.image for each in ready], ready)
    jobs = [rtl.Job(each.code, each.layout.program) for each in ready]
    try:
        results = rtl.run_sequence(
            ready[0].layout.config, jobs, image, reset=reset, noise_seed=first.rounding,
            timing=first.timing, stalls=first.stalls, seed=first.noise, check_protocol=True,
        )  # fmt: skip
    except ProtocolError as error:
        return Failure("AXI in a sequence", str(error))
    except BackendError as error:
        return Failure("RTL runs a sequence", str(error))
    wanted = joined([each.expected.image for each in ready], ready)
    for number, (each, result) in enumerate(zip(ready, results, strict=True)):
        part = slice(each.layout.start, each.layout.image.size)
        difference = None
        if not np.array_equal(image[part], wanted[part]):
            difference = each.difference(image[: part.stop], wanted[: part.stop])
        if difference is not None:
            return Failure("RTL = golden in a sequence", f"program {number}: {difference}")
        model = each.run(functional.run, each.layout.image.copy())
        counters = {name: model.counters[name] for name in COUNTERS}
        failure = compare(result.counters, counters, "RTL = functional model in a sequence")
        if failure is not None:
            return replace(failure, detail=f"program {number}: {failure.detail}")
    return None


def joined(images: Sequence[np.ndarray], ready: Sequence[Prepared]) -> np.ndarray:
    """Return one DRAM of the parts that belong to each program."""
    parts = [
        image[each.layout.start : each.layout.image.size]
        for image, each in zip(images, ready, strict=True)
    ]
    return np.concatenate(parts)


def shorten(seeds: list[int], cases: dict[int, Case], failure: Failure, *, reset: bool) -> str:
    """Return the message of a failing sequence, with what it fails without left out."""
    for seed in list(seeds):
        rest = [each for each in seeds if each != seed]
        again = check_sequence([cases[each] for each in rest], reset=reset) if rest else None
        if again is not None and again.rung == failure.rung:
            seeds, failure = rest, again
    return f"seeds {seeds} in sequence, reset={reset}: {failure.rung}: {failure.detail}"
