"""What a call of the command line leaves."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Done"]


@dataclass(frozen=True)
class Done:
    """Exit code, standard output and standard error of a command."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
