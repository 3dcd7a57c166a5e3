"""Words of the output memory on their way through the store engine."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal, Value

from .edge import valid_line

__all__ = ["Later"]


class Later:
    """A word and whether it counts, by cycles since it was read: entry 0 is the reading cycle.

    Words that do not count are not passed on, but for those that only wait to be read: that they
    are not is known too late in the cycle to keep a clock from anything.
    """

    def __init__(self, m: Module, word: Any, waits: Signal, valid: Signal, ages: int) -> None:
        self.word, self.valid = [word], [valid]
        for age in range(1, ages + 1):
            item = Signal(word.shape(), name=f"word_{age}", reset_less=True)
            counts = Signal(name=f"word_valid_{age}")
            m.d.sync += counts.eq(self.valid[-1])
            with m.If(waits if age == 1 else self.valid[-1]):
                m.d.sync += item.eq(self.word[-1])
            self.word.append(item)
            self.valid.append(counts)

    def where(self, m: Module, what: str, first: int, last: int) -> Value:
        """Return, for all ages from `first` to `last`, whether a word counts that does `what`."""
        now = self.valid[1] & self.word[1].control[what]
        return Cat(valid_line(m, now, last, f"{what}_valid")[first - 1 :])
