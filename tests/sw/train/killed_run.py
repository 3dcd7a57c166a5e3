"""A run that is killed while it writes a checkpoint: ``python -m ... FOLDER PLACE COUNT``.

PLACE is ``data``, when half of the file is written, or ``rename``, when all of it is and it has
not its name yet; COUNT tells which of the run's checkpoints.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from .small_task import make_trainer

NAME = "checkpoint.pt"


def main(folder: str, place: str, count: str) -> None:
    """Train until the kill."""
    left = int(count)
    opened, renamed = tempfile.NamedTemporaryFile, os.replace

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def open_file(*arguments: Any, prefix: str, **options: Any) -> Any:
        nonlocal left
        file = opened(*arguments, prefix=prefix, **options)
        left -= prefix == f".{NAME}."
        if left or place != "data":
            return file
        write = file.write

        def half(data: bytes) -> None:
            write(data[: len(data) // 2])
            file.flush()
            kill()

        file.write = half
        return file

    def rename(source: str, target: str) -> None:
        if not left and Path(target).name == NAME:
            kill()
        renamed(source, target)

    tempfile.NamedTemporaryFile, os.replace = open_file, rename
    make_trainer(Path(folder)).run(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
