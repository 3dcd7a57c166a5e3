"""Second pass: weight- or output-stationary, product by product."""

from __future__ import annotations

from typing import Literal, get_args

from hw.isa.config import Config
from hw.isa.instructions import Dataflow

__all__ = ["CHOICES", "Choice", "array_cycles", "choose", "choose_update"]

Choice = Literal["auto", "ws", "os"]
CHOICES: tuple[str, ...] = get_args(Choice)


def array_cycles(config: Config, dataflow: Dataflow, m: int, k: int, n: int) -> int:
    """Return the cycles of an M x K by K x N product under the ``overlap`` model.

    A fold takes max(T, rows), T the streamed length: M in WS, K in OS; filling and draining
    happen under the neighbouring folds.
    """
    rows, columns = config.rows, config.columns
    folded, streamed = (k, m) if dataflow is Dataflow.WS else (m, k)
    return -(-folded // rows) * -(-n // columns) * max(streamed, rows)


def choose(config: Config, choice: Choice, m: int, k: int, n: int) -> Dataflow:
    """Return the dataflow of fewer cycles, WS where they are equal, or the one asked for.

    Raises
    ------
    ValueError
        `choice` is none of `CHOICES`.
    """
    if choice not in CHOICES:
        raise ValueError(f"dataflow must be one of {'|'.join(CHOICES)}, not {choice!r}")
    if choice != "auto":
        return Dataflow[choice.upper()]
    return min(Dataflow, key=lambda dataflow: array_cycles(config, dataflow, m, k, n))


def choose_update(config: Config, choice: Choice, reduction: int) -> Dataflow:
    """Return the dataflow of a product that is scaled and accumulated.

    Each fold of the reduction is rounded by itself, and there must be one rounding only: WS can
    do it if the reduction fits the rows of the array, OS always. With `choice` ``ws`` and a longer
    reduction it is OS all the same.
    """
    fits = reduction <= config.rows
    return Dataflow.WS if fits and choice != "os" else Dataflow.OS
