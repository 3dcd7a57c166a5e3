"""Keeps what takes long to make: folders named by a digest of everything they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .result import BackendError

__all__ = ["digest", "lock", "place"]


def digest(facts: Sequence[str], sources: Iterable[Path]) -> str:
    """Return 16 hexadecimal digits of facts and the contents of files."""
    value = hashlib.sha256(json.dumps(list(facts)).encode())
    for source in sources:
        value.update(source.read_bytes())
    return value.hexdigest()[:16]


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Be the only process that makes `folder`; one that dies lets go.

    Raises
    ------
    BackendError
        Nothing can be kept beside it.
    """
    import fcntl  # not on every system, and only making needs it

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle = folder.with_suffix(".lock").open("w")
    except OSError as error:
        raise BackendError(
            f"nothing can be kept in {folder.parent}: {error.strerror}; CDMQTA_CACHE names the "
            "folder of the cache"
        ) from None
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def place(files: Iterable[Path], folder: Path) -> None:
    """Make `folder` of copies of those files that are there, whole or not at all.

    A folder that is there already stays as it is; without any file, none is made.
    """
    found = [file for file in files if file.exists()]
    if not found or folder.is_dir():
        return
    part = Path(tempfile.mkdtemp(prefix="part-", dir=folder.parent))
    for file in found:
        shutil.copy2(file, part)
    # Another process may have been faster; what it left is the same.
    with contextlib.suppress(OSError):
        part.rename(folder)
    shutil.rmtree(part, ignore_errors=True)
