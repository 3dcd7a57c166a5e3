"""Calls the command line as a user does, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sw.cli import main

from .command import Done, snapshot


@pytest.fixture
def command(capsys, tmp_path, monkeypatch) -> Callable[..., Done]:
    """Call the command line with some words, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        code = 0
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        return Done(arguments, code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(command):
    """Call the command line, and check that it refuses with a message, and leaves no trace."""

    def call(arguments: tuple[str, ...], message: str) -> None:
        before = snapshot()
        done = command(*arguments)
        assert done.code == 2, done
        assert done.out == ""
        assert done.err == f"cdmqta: {message}\n"
        assert snapshot() == before

    return call


@pytest.fixture
def files(command):
    """Proper inputs: a.npy (5 x 7) and b.npy (7 x 3), g.prog and l.prog with a text of each."""
    np.save("a.npy", np.ones((5, 7), np.int8))
    np.save("b.npy", np.ones((7, 3), np.int8))
    for name, workload in {"g": "gemm:4x4x4", "l": "lora:4x4x4:r2"}.items():
        command("compile", workload, "-o", f"{name}.prog", "--preset", "tiny")
        Path(f"{name}.txt").write_text(command("disassemble", f"{name}.prog").out)
