"""What the lanes behind the array take: a column of the accumulator, and of the store engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from hw.isa.numerics import INT8_MAX, encode_scale, multiplier

from .circuit import Circuit
from .loads import Conditions
from .netlist import Port
from .stimulus import Recording, column_slice, normal_int8, record, replay
from .work import Work, at_work

__all__ = ["accumulate_lane", "store_lane"]

_LANE = "accumulate.lane_0"
_STEADY = 10
"""Cycles in which a lane must have done the same: longer than its pipeline."""
_ROWS = 160
"""Rows of a kind that the store engine's lane meets."""


def accumulate_lane(
    circuit: Circuit, config: Config, conditions: Conditions, seed: int = 0
) -> Work:
    """Return what a lane of the accumulator takes: at ``rest``, when it writes a first sum
    (``overwrite``) and when it adds to an old one (``accumulate``).

    Its memory is a macro, and has no part in it.

    Parameters
    ----------
    circuit : Circuit
        The mapped ``cdmqta_lane`` of `config`.

    Raises
    ------
    RuntimeError
        The netlist does not do what the RTL did.
    """
    rng = np.random.default_rng(seed)
    left = normal_int8(rng, 77, 4 * config.fold_reduction)
    right = normal_int8(rng, 2, 4 * config.fold_reduction).T
    small = column_slice(config, left, right)
    # Lanes of an array of OS alone are the same, and add to sums as well.
    small = dataclasses.replace(small, output_depth=config.output_depth, weight_stationary=1)
    memories = {
        name: f"{_LANE}.{name.rpartition('.')[0].removesuffix('.macro')}"
        for name in circuit.inputs
        if "." in name
    }
    seen = record(small, left, right, Dataflow.WS, [_LANE, *memories.values()])
    lane = seen[_LANE]
    lane = dataclasses.replace(
        lane,
        inputs=_widened(lane.inputs, circuit.inputs),
        outputs=_widened(lane.outputs, circuit.outputs),
    )
    inputs = dict(lane.inputs)
    for name, path in memories.items():
        inputs[name] = seen[path].outputs[name.rpartition(".")[2]]
    writes = lane.inputs["commit_valid"][:, 0].astype(bool)
    adds = writes & lane.inputs["commit_accumulate"][:, 0].astype(bool)
    does = {
        "rest": _steady(~writes),
        "overwrite": _steady(writes & ~adds),
        "accumulate": _steady(adds),
    }
    return _checked(circuit, lane, inputs, does, conditions)


def store_lane(circuit: Circuit, config: Config, conditions: Conditions, seed: int = 0) -> Work:
    """Return what a lane of the store engine takes: at ``rest``, when it makes sums INT8
    (``requantise``), looks for their maximum (``reduce``), or multiplies them by their row's scale
    before that (``rescale``).

    Parameters
    ----------
    circuit : Circuit
        The mapped ``cdmqta_post_lane`` of `config`.

    Raises
    ------
    RuntimeError
        The netlist does not do what the RTL did.
    """
    from hw.postlane import PostLane
    from hw.shared import Builder

    rng = np.random.default_rng(seed)
    kinds = ("rest", "requantise", "reduce", "rescale")
    kind = np.repeat(np.arange(len(kinds)), _ROWS)
    works = kind > 0
    # Sums of a reduction of a few hundred, and the scales that bring rows of them to INT8.
    sums = np.rint(rng.normal(size=kind.size) * 3e4).astype(int) * works
    entries = [_entry(Fraction(INT8_MAX, int(top))) for top in rng.integers(80_000, 130_000, 999)]
    ratios = [_entry(Fraction(int(part), 128)) for part in rng.integers(32, 129, 999)]
    inputs = {
        "value": sums,
        "row_scale": rng.choice(entries, kind.size) * (kind == 1),
        "by_row": (kind == 1).astype(int),
        "rescaled": (kind == 3).astype(int),
        "rescale_scale": [
            _recoded(ratio) * (each == 3)
            for ratio, each in zip(rng.choice(ratios, kind.size).tolist(), kind, strict=True)
        ],
        "lanes": config.columns * (kind == 1),
        "column_valid": (kind > 1).astype(int),
        # A bit a stage.
        "valid": 0xF * works,
        "narrow": 0xF * (kind == 1),
        "reduces": (kind > 1).astype(int),
    }
    seen = replay(PostLane(config, Builder()), inputs)
    does = {name: _steady(kind == number) for number, name in enumerate(kinds)}
    return _checked(circuit, seen, dict(seen.inputs), does, conditions)


def _entry(ratio: Fraction) -> int:
    return encode_scale(*multiplier(ratio))


def _recoded(entry: int) -> int:
    """Return an entry as `hw.multiply.RECODED` has it: signed digits instead of a multiplier."""
    from hw.layout import SCALE
    from hw.multiply import RECODED

    bits = SCALE["m"].width
    digits, carry = dict.fromkeys((1, 2, 3), 0), 0
    for place in range(bits // 2):
        digit = (entry >> 2 * place & 3) + carry
        carry = int(digit >= 3)
        if digit in digits:
            digits[digit] |= 1 << place
    # 3 stands for -1, with a carry.
    fields = {"once": digits[1], "twice": digits[2], "minus": digits[3], "last": carry}
    made = RECODED.const({"digits": fields, "s": entry >> bits})
    return made.as_value().value


def _widened(
    recorded: Mapping[str, np.ndarray], ports: Mapping[str, Port]
) -> dict[str, np.ndarray]:
    """Return ports with the upper bits that a number of two columns does not need."""
    return {
        name: np.pad(bits, ((0, 0), (0, len(ports[name].nets) - bits.shape[1])))
        for name, bits in recorded.items()
    }


def _steady(when: np.ndarray) -> np.ndarray:
    """Return the cycles in which, and in all of the last before which, something is so."""
    found = when.copy()
    found[: _STEADY - 1] = False
    for before in range(1, _STEADY):
        found[before:] &= when[:-before]
    return found


def _checked(
    circuit: Circuit,
    seen: Recording,
    inputs: dict[str, np.ndarray],
    does: dict[str, np.ndarray],
    conditions: Conditions,
) -> Work:
    work, activity = at_work(circuit, inputs, does, conditions)
    if where := seen.difference(activity.outputs, _STEADY):
        raise RuntimeError(f"the netlist of {circuit.name} differs from the RTL: {where}")
    return work
