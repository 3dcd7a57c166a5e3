"""What stands before an engine: its queue of instructions and the tokens they wait for."""

from __future__ import annotations

from hw.isa.config import Config
from hw.isa.instructions import Engine

from . import fifo
from .compiled import compiled
from .fifo import BUFFERED
from .record import record

__all__ = ["EXECUTE", "GATE", "LOAD", "STORE", "advance", "head", "is_open"]

LOAD, EXECUTE, STORE = (int(engine) for engine in Engine)
LONGEST = Config.__dataclass_fields__["queue_depth"].metadata["high"]

GATE = record(queue=BUFFERED, items=LONGEST, tokens=len(Engine), lacks=1)
"""The queue, with the index of each instruction plus one, so that zero is none; the tokens that
each engine has sent; and a bit for each engine of whose tokens the instruction at the output has
too few."""


@compiled
def head(gate):
    """Return the index of the instruction at the output, -1 if there is none."""
    return gate.items[0] - 1


@compiled
def is_open(gate):
    """Return whether the instruction at the output has its tokens."""
    return gate.queue.out and gate.lacks == 0


@compiled
def _take_tokens(gate, word):
    gate.tokens[LOAD] -= word.wait_load
    gate.tokens[EXECUTE] -= word.wait_execute
    gate.tokens[STORE] -= word.wait_store


@compiled
def _compare(gate, word):
    gate.lacks = (
        (1 << LOAD if gate.tokens[LOAD] < word.wait_load else 0)
        | (1 << EXECUTE if gate.tokens[EXECUTE] < word.wait_execute else 0)
        | (1 << STORE if gate.tokens[STORE] < word.wait_store else 0)
    )


@compiled(inline="always")
def advance(gate, code, passes, pushes, index, load, execute, store):
    """End a cycle: an instruction passes, the one of `index` comes, and tokens of each engine."""
    moves = passes or pushes or (gate.queue.inner > 0 and not gate.queue.out)
    if not (moves or load or execute or store):
        return
    if passes:
        _take_tokens(gate, code[gate.items[0] - 1])
    if moves:
        fifo.advance_with(gate.queue, gate.items, pushes, index + 1, passes)
    gate.tokens[LOAD] += load
    gate.tokens[EXECUTE] += execute
    gate.tokens[STORE] += store
    gate.lacks = 0
    if gate.queue.out:
        _compare(gate, code[gate.items[0] - 1])
