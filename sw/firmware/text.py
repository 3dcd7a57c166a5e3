"""How C is written: comments, constants and enumerations."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from enum import IntEnum

from hw.isa.documentation import documentation

__all__ = ["WIDTH", "comment", "define", "each", "enumeration", "literal", "members", "section"]

WIDTH = 100
"""Columns of a line, at most."""


def comment(text: str, indent: int = 0) -> str:
    """Return a text as a comment that ends with a new line; empty for an empty text."""
    if not text:
        return ""
    if "*/" in text:
        raise ValueError(f"a comment cannot hold '*/': {text!r}")
    paragraphs = [" ".join(part.split()) for part in _paragraphs(text)]
    start, more = " " * indent + "/* ", " " * (indent + 3)
    filled = [
        textwrap.fill(part, WIDTH - 3, initial_indent=more, subsequent_indent=more)
        for part in paragraphs
    ]
    return start + "\n\n".join(filled).lstrip() + " */\n"


def _paragraphs(text: str) -> list[str]:
    """Return paragraphs and items of lists, which start with a dash."""
    marked = text.replace("\n- ", "\n\n- ")
    return [part for part in marked.split("\n\n") if part.strip()]


def section(title: str) -> str:
    """Return the line that heads a part of the header."""
    return f"/* ---- {title} {'-' * (WIDTH - len(title) - 12)} */\n"


def literal(value: int) -> str:
    """Return an unsigned constant."""
    return f"UINT32_C({value})" if value < 10 else f"UINT32_C({value:#x})"


def define(name: str, value: str, doc: str = "") -> str:
    """Return a macro, with what it means in front of it."""
    return f"{comment(doc)}#define CDMQTA_{name} {value}\n"


def members(enum: type[IntEnum], prefix: str) -> str:
    """Return a macro for each member of a set of numbers or bits, with what the source says."""
    docs = documentation(enum)
    return "".join(
        define(f"{prefix}_{member.name}", literal(int(member)), docs.get(member.name, ""))
        for member in enum
    )


def enumeration(name: str, items: Iterable[tuple[str, int, str]], last: str = "") -> str:
    """Return an enumeration.

    Parameters
    ----------
    name : str
        In lower case, of the tag; in upper case, what the members begin with.
    items : iterable of (str, int, str)
        Name, value and meaning of each member.
    last : str
        A member that counts the others, if their values are 0, 1, 2 and so on.
    """
    lines = []
    for member, value, doc in items:
        lines.append(f"{comment(doc, 4)}    CDMQTA_{name.upper()}_{member.upper()} = {value}")
    if last:
        lines.append(f"{comment('how many there are', 4)}    CDMQTA_{last}")
    body = ",\n".join(lines)
    return f"enum cdmqta_{name} {{\n{body}\n}};\n"


def each(name: str, pairs: Sequence[tuple[str, str]], doc: str) -> str:
    """Return the macro ``CDMQTA_EACH_<name>(X)``: X(identifier, "text") for each pair."""
    rows = [f'    X({identifier.upper()}, "{text}")' for identifier, text in pairs]
    return f"{comment(doc)}#define CDMQTA_EACH_{name}(X) \\\n" + " \\\n".join(rows) + "\n"
