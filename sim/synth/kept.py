"""Keeps what yosys made: folders named by a digest of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..cache import lock
from ..toolchain import cache_folder

__all__ = ["kept"]


def kept(facts: Sequence[object], result: str, make: Callable[[Path], None]) -> Path:
    """Return the folder in which `make` has left a file, now or earlier.

    What is kept is used only if it is as it was written; else it is made again.

    Parameters
    ----------
    facts : sequence
        All that the result depends on, as JSON has it.
    result : str
        Name of the file.
    make : callable
        Makes it in the folder it is given. What it raises is passed on, and nothing is kept.
    """
    name = hashlib.sha256(json.dumps(list(facts)).encode()).hexdigest()[:16]
    folder = cache_folder() / "synth" / name
    with lock(folder):
        if not _whole(folder, result):
            shutil.rmtree(folder, ignore_errors=True)
            part = Path(tempfile.mkdtemp(prefix="part-", dir=folder.parent))
            try:
                make(part)
                (part / "sha256").write_text(_digest(part / result), encoding="ascii")
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return folder


def _whole(folder: Path, result: str) -> bool:
    """Tell whether what is kept is what was written."""
    try:
        return (folder / "sha256").read_text(encoding="ascii") == _digest(folder / result)
    except (OSError, UnicodeDecodeError):
        return False


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
