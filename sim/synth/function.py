"""Boolean functions as Liberty writes them, kept as truth tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Function", "parse_function"]

_MOST_INPUTS = 16
_TOKEN = re.compile(r"\s*(?:([A-Za-z_][\w\[\]]*|\"[^\"]+\")|([01])|([!'&*^|+()]))")


@dataclass(frozen=True)
class Function:
    """A Boolean function of named inputs.

    Parameters
    ----------
    text : str
        As the library has it.
    inputs : tuple of str
        In the order in which the text names them.
    table : int
        Bit i is the value where input k is bit k of i.
    """

    text: str
    inputs: tuple[str, ...]
    table: int

    def __call__(self, values: Mapping[str, bool | int]) -> bool:
        """Return the value; every input must be among `values`."""
        index = sum(bool(values[name]) << k for k, name in enumerate(self.inputs))
        return bool(self.table >> index & 1)

    def given(self, known: Mapping[str, bool | int]) -> Function:
        """Return the function of the other inputs, with those in `known` held."""
        free = [k for k, name in enumerate(self.inputs) if name not in known]
        fixed = sum(bool(known[name]) << k for k, name in enumerate(self.inputs) if name in known)
        table = 0
        for index in range(1 << len(free)):
            place = fixed | sum((index >> j & 1) << k for j, k in enumerate(free))
            table |= (self.table >> place & 1) << index
        return Function(self.text, tuple(self.inputs[k] for k in free), table)

    @property
    def constant(self) -> bool | None:
        """The value if it is the same for all inputs, else None."""
        if self.table == 0:
            return False
        return True if self.table == (1 << (1 << len(self.inputs))) - 1 else None

    def unate(self, name: str) -> tuple[bool, bool]:
        """Tell whether a rise of one input can make the output rise, and whether fall."""
        if name not in self.inputs:
            return False, False
        low, high = self.given({name: 0}).table, self.given({name: 1}).table
        return bool(high & ~low), bool(low & ~high)


def parse_function(text: str) -> Function:
    """Read an expression: ``!`` first, then ``^``, then ``&``, ``*`` or nothing, then ``|``.

    Raises
    ------
    ValueError
        What is wrong, with the text.
    """
    tokens = _tokens(text)
    inputs = tuple(dict.fromkeys(token for token in tokens if _named(token)))
    if len(inputs) > _MOST_INPUTS:
        raise ValueError(f"{text!r} has {len(inputs)} inputs; accepted: at most {_MOST_INPUTS}")
    parser = _Parser(text, tokens, inputs)
    table = parser.either()
    if parser.tokens:
        raise ValueError(f"{text!r} is no Boolean expression at {parser.tokens[0]!r}")
    return Function(text, inputs, table)


def _named(token: str) -> bool:
    return token[0] == "_" or token[0].isalpha()


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"{text!r} is no Boolean expression at {text[place:].strip()[:1]!r}")
        tokens.append(match.group().strip().strip('"'))
        place = match.end()
    return tokens


class _Parser:
    """Evaluates an expression on all inputs at once: a truth table is an integer."""

    def __init__(self, text: str, tokens: list[str], inputs: tuple[str, ...]) -> None:
        self.text, self.tokens = text, list(tokens)
        rows = 1 << len(inputs)
        self.ones = (1 << rows) - 1
        self.tables = {
            name: sum(1 << row for row in range(rows) if row >> k & 1)
            for k, name in enumerate(inputs)
        }

    def next_is(self, *accepted: str) -> bool:
        return bool(self.tokens) and self.tokens[0] in accepted

    def either(self) -> int:
        value = self.both()
        while self.next_is("|", "+"):
            self.tokens.pop(0)
            value |= self.both()
        return value

    def both(self) -> int:
        value = self.differ()
        while self.tokens and not self.next_is("|", "+", ")"):
            if self.next_is("&", "*"):
                self.tokens.pop(0)
            value &= self.differ()
        return value

    def differ(self) -> int:
        value = self.term()
        while self.next_is("^"):
            self.tokens.pop(0)
            value ^= self.term()
        return value

    def term(self) -> int:
        token = self.tokens.pop(0) if self.tokens else "its end"
        if token == "!":
            return self.ones & ~self.term()
        if token == "(":
            value = self.either()
            if not self.next_is(")"):
                raise ValueError(f"{self.text!r} lacks a closing parenthesis")
            self.tokens.pop(0)
        elif token in ("0", "1"):
            value = self.ones * int(token)
        elif token in self.tables:
            value = self.tables[token]
        else:
            raise ValueError(f"{self.text!r} is no Boolean expression at {token}")
        while self.next_is("'"):
            self.tokens.pop(0)
            value = self.ones & ~value
        return value
