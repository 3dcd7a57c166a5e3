"""Second pass: weight- or output-stationary, product by product."""

from __future__ import annotations

from typing import Literal, get_args, overload

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Dataflow

__all__ = [
    "CHOICES",
    "Choice",
    "DataflowError",
    "array_cycles",
    "available",
    "choose",
    "choose_update",
    "fold_cycles",
]

Choice = Literal["auto", "ws", "os"]
CHOICES: tuple[str, ...] = get_args(Choice)


class DataflowError(ValueError):
    """The array cannot do what is asked for; the message is one line."""


def available(config: Config, choice: Choice = "auto") -> tuple[Dataflow, ...]:
    """Return the dataflows of an array, or the one that is asked for.

    Raises
    ------
    ValueError
        `choice` is none of `CHOICES`.
    DataflowError
        The array does not have it.
    """
    if choice not in CHOICES:
        raise ValueError(f"dataflow must be one of {'|'.join(CHOICES)}, not {choice!r}")
    if choice == "auto":
        return config.dataflows
    wanted = Dataflow[choice.upper()]
    if wanted not in config.dataflows:
        name = {Dataflow.WS: "weight_stationary", Dataflow.OS: "output_stationary"}[wanted]
        raise DataflowError(f"dataflow {choice} needs an array with {name} 1, not 0")
    return (wanted,)


@overload
def fold_cycles(config: Config, dataflow: Dataflow, waves: int) -> int: ...
@overload
def fold_cycles(config: Config, dataflow: Dataflow, waves: np.ndarray) -> np.ndarray: ...
def fold_cycles(config: Config, dataflow: Dataflow, waves: int | np.ndarray) -> int | np.ndarray:
    """Return the cycles from the first wave of a fold to the first one of the next.

    The next stationary tile needs `rows` cycles to load, sums of OS as many to leave; both happen
    under the waves. Without `drain_overlap`, sums of OS leave when the waves have ended.

    Parameters
    ----------
    waves : int or int64
        Rows of the left operand in WS; in OS the reduction over the products of an element.
    """
    if dataflow is Dataflow.OS and not config.drain_overlap:
        return waves + config.rows - 1
    return max(waves, config.rows) if isinstance(waves, int) else np.maximum(waves, config.rows)


def array_cycles(config: Config, dataflow: Dataflow, m: int, k: int, n: int) -> int:
    """Return the cycles of an M x K by K x N product whose folds follow one another.

    They are those of `fold_cycles`, the last fold's too, however little comes behind it.
    """
    if dataflow is Dataflow.WS:
        folds, waves = -(-k // config.fold_reduction), m
    else:
        folds, waves = -(-m // config.rows), -(-k // config.macs_per_element)
    return folds * -(-n // config.columns) * fold_cycles(config, dataflow, waves)


def choose(config: Config, choice: Choice, m: int, k: int, n: int) -> Dataflow:
    """Return the dataflow of fewer cycles, WS where they are equal, or the one asked for.

    Raises
    ------
    ValueError, DataflowError
        As of `available`.
    """
    flows = available(config, choice)
    return min(flows, key=lambda dataflow: array_cycles(config, dataflow, m, k, n))


def choose_update(config: Config, choice: Choice, reduction: int) -> Dataflow:
    """Return the dataflow of a product that is scaled and accumulated.

    Each fold of the reduction is rounded by itself, and there must be one rounding only: WS can
    do it if the reduction fits a stationary tile, OS always. With `choice` ``ws`` and a longer
    reduction it is OS all the same.

    Raises
    ------
    DataflowError
        The array has WS alone, and the reduction is longer.
    """
    fits = reduction <= config.fold_reduction
    if fits and Dataflow.WS in available(config, choice):
        return Dataflow.WS
    if not config.output_stationary:
        if fits:
            return Dataflow.WS
        raise DataflowError(
            f"a product that is scaled and accumulated has a reduction of {reduction}: without "
            f"output_stationary 1 it must not be longer than a fold of {config.fold_reduction}"
        )
    return Dataflow.OS
