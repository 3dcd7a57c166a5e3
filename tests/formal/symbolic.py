"""Run plain Python functions on all numbers at once.

A `Number` is an int whose value z3 knows and Python does not. Where Python has to know, in a branch
or as the key of a table, the run is repeated for every value that is possible there. What
comes out is every path through the real code, each with the condition under which it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import z3

__all__ = ["BITS", "Bytes", "Number", "Path", "paths"]

BITS = 264
"""Width of the arithmetic: an instruction word and a byte, so that nothing wraps."""


@dataclass(frozen=True)
class Path:
    """One way through the code: its condition, what was returned or raised."""

    condition: z3.BoolRef
    result: Any = None
    error: Exception | None = None


class _Explorer:
    """Takes each decision of the run in progress, the first of them as told."""

    current: _Explorer | None = None

    def __init__(self, assumption: z3.BoolRef, decided: list[z3.BoolRef]) -> None:
        self._solver = z3.Solver()
        self._solver.add(assumption, *decided)
        self.assumption, self.told, self.taken = assumption, decided, []
        self.others: list[list[z3.BoolRef]] = []

    def decide(self, choices: Iterator[z3.BoolRef]) -> int:
        """Return which of the choices holds on this run; leave the other possible ones."""
        place, possible = len(self.taken), []
        for index, choice in enumerate(choices):
            if place < len(self.told):
                if self.told[place].eq(choice):
                    self.taken.append(choice)
                    return index
            elif self._solver.check(choice) != z3.unsat:
                possible.append((index, choice))
        index, choice = possible[0]
        self.others += [[*self.taken, other] for _, other in possible[1:]]
        self.taken.append(choice)
        self._solver.add(choice)
        return index


def paths(run: Callable[[], Any], error: type[Exception], assumption: Any = True) -> list[Path]:
    """Return all paths through `run()`, which may return or raise `error`."""
    found, waiting = [], [[]]
    while waiting:
        explorer = _Explorer.current = _Explorer(z3.BoolVal(True) & assumption, waiting.pop())
        try:
            result, raised = run(), None
        except error as caught:
            result, raised = None, caught
        finally:
            _Explorer.current = None
        condition = z3.And(explorer.assumption, *explorer.taken)
        found.append(Path(condition, result, raised))
        waiting += explorer.others
    return found


class Number(int):
    """An int that z3 knows; of its operations, those that encoding uses."""

    def __new__(cls, value: z3.BitVecRef, bits: int = BITS) -> Number:
        number = super().__new__(cls, 0)
        number.value, number.bits = value, bits
        return number

    @staticmethod
    def _of(other: Any) -> z3.BitVecRef:
        return other.value if isinstance(other, Number) else z3.BitVecVal(int(other), BITS)

    def __and__(self, mask: int) -> Number:
        return Number(self.value & self._of(mask), int(mask).bit_length())

    def __or__(self, other: Any) -> Number:
        return Number(self.value | self._of(other))

    __ror__ = __or__

    def __lshift__(self, amount: int) -> Number:
        return Number(self.value << amount)

    def __rshift__(self, amount: int) -> Number:
        return Number(z3.LShR(self.value, amount))

    def __bool__(self) -> bool:
        return self._branch(self.value != 0)

    def __ge__(self, other: Any) -> bool:
        return self._branch(z3.UGE(self.value, self._of(other)))

    def __lt__(self, other: Any) -> bool:
        return self._branch(z3.ULT(self.value, self._of(other)))

    def __hash__(self) -> int:
        return hash(self.known())

    def __eq__(self, other: Any) -> bool:
        return self.known() == other

    def known(self) -> int:
        """Return the value on this path: one path for each that is possible."""
        if self.bits > 8:
            raise TypeError(f"a number of {self.bits} bits is used where Python has to know it")
        choices = (self.value == value for value in range(1 << self.bits))
        return _Explorer.current.decide(choices)

    @staticmethod
    def _branch(condition: z3.BoolRef) -> bool:
        return _Explorer.current.decide(iter((condition, z3.Not(condition)))) == 0

    def to_bytes(self, length: int, order: str) -> Bytes:
        """Return the bytes, little-endian only."""
        if order != "little":
            raise ValueError(f"order must be little, not {order}")
        return Bytes(self, length)


class Bytes:
    """What `Number.to_bytes` returns and `from_bytes` takes."""

    def __init__(self, number: Number, length: int) -> None:
        self.number, self._length = number, length

    def __len__(self) -> int:
        return self._length


class Int(int):
    """Stands for `int` in a module under test: its bytes may be a number's."""

    def __new__(cls, value: int) -> int:
        return int(value)

    @staticmethod
    def from_bytes(data: Bytes, order: str) -> Number:
        """Return the number of some bytes, little-endian only."""
        if order != "little":
            raise ValueError(f"order must be little, not {order}")
        return data.number
