"""The syntax of Liberty: groups of attributes and of groups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import SynthError

__all__ = ["Group", "LibertyError", "parse_groups"]

_NOISE = re.compile(r"/\*.*?\*/|//[^\n]*|\\\r?\n", re.DOTALL)
_STATEMENT = re.compile(
    r"""\s*(?:
        (?P<close>\})
      | (?P<name>[A-Za-z_][\w.]*)\s*(?:
            \((?P<parts>(?:"[^"]*"|[^()"])*)\)\s*(?P<open>\{)?
          | :\s*(?P<value>"[^"]*"|[^;{}"\n]*)
        )
    )(?:\s*;)*""",
    re.VERBOSE,
)
_PART = re.compile(r'"([^"]*)"|([^\s,"]+)')


class LibertyError(SynthError):
    """A Liberty file is not one, or lacks something; the message is one line that names both."""


@dataclass
class Group:
    """``kind (names) { attributes, groups }``; complex attributes are lists of strings."""

    kind: str
    names: list[str]
    line: int
    simple: dict[str, str] = field(default_factory=dict)
    complex: dict[str, list[list[str]]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def inner(self, *kinds: str) -> Iterator[Group]:
        """Return the groups of some kinds, in order."""
        return (group for group in self.groups if group.kind in kinds)

    def one(self, kind: str) -> Group | None:
        """Return the first group of a kind."""
        return next(self.inner(kind), None)

    @property
    def title(self) -> str:
        """How the group is called in messages."""
        return " ".join([self.kind, *self.names])


def parse_groups(text: str, origin: str) -> Group:
    """Return the ``library`` group of a Liberty file's text.

    Raises
    ------
    LibertyError
        The text is not Liberty, or ends before the group does.
    """
    # What is dropped keeps its lines, so that messages can count them.
    text = _NOISE.sub(lambda match: "\n" * match.group().count("\n") or " ", text)
    stack: list[Group] = []
    place, line = 0, 1
    while True:
        match = _STATEMENT.match(text, place)
        if match is None:
            raise _misfit(text, place, stack, origin)
        line += text.count("\n", place, match.end())
        place = match.end()
        if match["close"]:
            done = stack.pop() if stack else None
            if done is None or not stack:
                break
        elif match["open"]:
            names = [first or second for first, second in _PART.findall(match["parts"])]
            group = Group(match["name"], names, line)
            if stack:
                stack[-1].groups.append(group)
            elif group.kind != "library":
                raise LibertyError(f"{origin} is no Liberty file: it does not begin with 'library'")
            stack.append(group)
        elif not stack:
            raise LibertyError(f"{origin} is no Liberty file: it does not begin with 'library'")
        elif match["parts"] is not None:
            parts = [first or second for first, second in _PART.findall(match["parts"])]
            stack[-1].complex.setdefault(match["name"], []).append(parts)
        else:
            stack[-1].simple[match["name"]] = match["value"].strip().strip('"').strip()
    if done is None:
        raise LibertyError(f"{origin} is no Liberty file: it does not begin with 'library'")
    return done


def _misfit(text: str, place: int, stack: list[Group], origin: str) -> LibertyError:
    """Say what stands where a statement should."""
    rest = text[place:].lstrip()
    line = text.count("\n", 0, len(text) - len(rest)) + 1
    if not stack:
        return LibertyError(f"{origin} is no Liberty file: it does not begin with 'library'")
    # A statement that is cut, such as a table without its end, is the last thing there is.
    if not rest or not any(_STATEMENT.match(piece) for piece in rest.splitlines()[1:]):
        where = f"{stack[-1].title!r}, begun in line {stack[-1].line}"
        return LibertyError(f"{origin} is cut short: {where}, has no end")
    return LibertyError(f"{origin}, line {line}: {rest.splitlines()[0][:40]!r} is no statement")
