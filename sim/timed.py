"""What the RTL gives, without it: numbers of the functional model, time of the timing model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hw.isa.config import Config
from hw.isa.registers import COUNTERS

from . import functional
from .result import DramTiming, RunResult
from .timing import run as keep_time

__all__ = ["run"]


def run(
    config: Config,
    program: bytes,
    dram: np.ndarray,
    *,
    program_address: int,
    timing: DramTiming | None = None,
    noise_seed: int = 0,
    timeline: bool = False,
) -> RunResult:
    """Run encoded instructions; parameters are those of `sim.functional.run` and `sim.timing.run`.

    Returns
    -------
    RunResult
        With every counter. `seconds` is the time that both models took.
    """
    common: dict[str, Any] = {"program_address": program_address, "noise_seed": noise_seed}
    data = functional.run(config, program, dram, **common)
    timed = keep_time(config, program, timing=timing, events=True, timeline=timeline, **common)
    counters = data.counters | timed.counters
    return replace(
        timed,
        counters={item.name: counters[item.name] for item in COUNTERS},
        seconds=data.seconds + timed.seconds,
    )
