"""Calls the command line as a user does, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sw.cli import main

from .command import Done


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
