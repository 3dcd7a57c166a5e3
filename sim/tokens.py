"""The dependency tokens of a program, counted in its order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hw.isa.config import Config
from hw.isa.instructions import Engine, Instruction

__all__ = ["Tokens"]


class Tokens:
    """Counters of the tokens on their way, one for each ordered pair of engines.

    An instruction must find its tokens sent by the instructions before it: this is what makes
    the order of the program a legal order for the hardware. That no counter overflows in another
    order is for `sim.races` to see.

    Parameters
    ----------
    config : Config
    program : sequence of Instruction
        All that will run, so that a message can tell a wrong order from a deadlock.
    """

    def __init__(self, config: Config, program: Sequence[Instruction]) -> None:
        self._limit = (1 << config.token_bits) - 1
        self._program = program
        self.waiting: Counter[tuple[Engine, Engine]] = Counter()
        self._taken: Counter[tuple[Engine, Engine]] = Counter()

    def take(self, instruction: Instruction) -> str | None:
        """Take what an instruction waits for; return what is wrong, if anything."""
        for sender in Engine:
            count = getattr(instruction, f"wait_{sender.name.lower()}")
            if not count:
                continue
            if instruction.engine in (None, sender):
                return f"waits for {sender.name}, from which it cannot receive tokens"
            pair = (sender, instruction.engine)
            if count > self.waiting[pair]:
                return self._missing(sender, instruction.engine, count)
            self.waiting[pair] -= count
            self._taken[pair] += count
        return None

    def _missing(self, sender: Engine, receiver: Engine, count: int) -> str:
        """Say that an engine waits for tokens that are not there, and whether they ever will be."""
        signal = f"signal_{receiver.name.lower()}"
        senders = [
            index
            for index, each in enumerate(self._program)
            if each.engine is sender and getattr(each, signal)
        ]
        last = self._taken[sender, receiver] + count - 1
        text = (
            f"waits for {count} tokens of {sender.name}, "
            f"but only {self.waiting[sender, receiver]} were sent before it"
        )
        if last < len(senders):
            return f"{text}: instruction {senders[last]} sends {receiver.name} the last of them"
        return (
            f"{text}: a deadlock, {receiver.name} waits for a token of {sender.name} "
            "that no instruction sends"
        )

    def send(self, instruction: Instruction) -> str | None:
        """Send an instruction's tokens; return what is wrong, if anything."""
        for receiver in Engine:
            if not getattr(instruction, f"signal_{receiver.name.lower()}"):
                continue
            if instruction.engine in (None, receiver):
                return f"signals {receiver.name}, to which it cannot send tokens"
            pair = (instruction.engine, receiver)
            self.waiting[pair] += 1
            if self.waiting[pair] > self._limit:
                return (
                    f"sends {receiver.name} token {self.waiting[pair]} that is not taken, "
                    f"but the counter ends at {self._limit}"
                )
        return None

    def left(self) -> str | None:
        """Return what is wrong with ending the program now, if anything."""
        for (sender, receiver), count in self.waiting.items():
            if count:
                return f"leaves {count} tokens of {sender.name} to {receiver.name} untaken"
        return None
