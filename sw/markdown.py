"""Tables as Markdown, for reports and pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["table"]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a Markdown table.

    Parameters
    ----------
    headings : sequence of str
    rows : iterable of sequences of str
        As long as `headings`.
    words : int
        Columns of words, which are to the left; the others are numbers, to the right.
    """
    rule = [":--" if column < words else "--:" for column in range(len(headings))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *rows))
