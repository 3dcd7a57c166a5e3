"""Programs as text and back: an exact pair of inverses.

Lines that start with a mark describe, in JSON, what follows: ``#!program`` the program of the
instructions below it, ``#!step``, as the first line, the step that all the programs are of, and
``#!host`` what its host does between them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hw.isa.encoding import assemble, to_text
from hw.isa.instructions import InstructionError

from .description import (
    build_config,
    build_host,
    build_program,
    build_step,
    describe,
    describe_step,
)
from .graph.ir import Host
from .graph.program import StepProgram
from .program import Program
from .program_file import ProgramFileError

__all__ = ["assemble_text", "disassemble_text"]

_PROGRAM, _STEP, _HOST = "#!program ", "#!step ", "#!host "


def disassemble_text(contents: Sequence[Program] | StepProgram) -> str:
    """Return the text of programs or of a step."""
    lines, steps = [], contents
    whole = not isinstance(contents, StepProgram)
    if isinstance(contents, StepProgram):
        lines.append(_STEP + json.dumps(describe_step(contents)))
        steps = contents.steps
    for step in steps:
        described = describe(step, config=whole)
        if isinstance(step, Host):
            lines.append(_HOST + json.dumps(described))
            continue
        del described["instructions"]
        lines.append(_PROGRAM + json.dumps(described))
        lines += map(to_text, step.instructions)
    return "".join(line + "\n" for line in lines)


def assemble_text(text: str) -> tuple[Program, ...] | StepProgram:
    """Return what a text holds; the exact inverse of `disassemble_text`.

    Raises
    ------
    ProgramFileError
        A line is no instruction and no description, or none describes the first program.
    """
    lines = text.splitlines()
    marks = (_PROGRAM, _STEP, _HOST)
    starts = [i for i, line in enumerate(lines) if line.startswith(marks)]
    before = lines[: starts[0]] if starts else lines
    if not starts or any(line.partition("#")[0].strip() for line in before):
        raise ProgramFileError(
            f"the text must start with a line {_PROGRAM.strip()!r} or {_STEP.strip()!r}"
        )
    whole = _json(lines, starts[0], _STEP) if lines[starts[0]].startswith(_STEP) else None
    ends = [*starts[1:], len(lines)]
    bounds = list(zip(starts, ends, strict=True))
    if whole is not None:
        _nothing_below(lines, *bounds.pop(0))
    steps = [_assemble(lines, start, stop, whole) for start, stop in bounds]
    try:
        return tuple(steps) if whole is None else build_step(whole, steps)
    except _WRONG as error:
        raise ProgramFileError(f"line {starts[0] + 1} describes no step: {error}") from None


_WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _json(lines: Sequence[str], at: int, mark: str) -> dict[str, Any]:
    try:
        return json.loads(lines[at][len(mark) :])
    except ValueError as error:
        raise ProgramFileError(f"line {at + 1} describes no {mark[2:-1]}: {error}") from None


def _assemble(
    lines: Sequence[str], start: int, stop: int, whole: dict[str, Any] | None
) -> Program | Host:
    """Return what the lines from `start` to ``stop - 1`` hold."""
    mark = lines[start].partition(" ")[0] + " "
    if mark == _STEP or (mark == _HOST and whole is None):
        raise ProgramFileError(f"line {start + 1}: {mark.strip()} has no place here")
    item = _json(lines, start, mark)
    try:
        if mark == _HOST:
            _nothing_below(lines, start, stop)
            return build_host(item)
        # Empty lines keep the numbers in messages those of the whole text.
        code = "\n" * (start + 1) + "\n".join(lines[start + 1 : stop])
        return build_program(item, assemble(code), build_config(item if whole is None else whole))
    except InstructionError as error:
        raise ProgramFileError(str(error)) from None
    except ProgramFileError:
        raise
    except _WRONG as error:
        raise ProgramFileError(f"line {start + 1} describes no {mark[2:-1]}: {error}") from None


def _nothing_below(lines: Sequence[str], start: int, stop: int) -> None:
    for at in range(start + 1, stop):
        if lines[at].partition("#")[0].strip():
            raise ProgramFileError(f"line {at + 1} is below no program")
