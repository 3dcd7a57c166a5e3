"""Where compiled code of the timing model is kept, known without loading the compiler."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from hw import isa

from .cache import digest
from .toolchain import cache_folder

__all__ = ["folder", "is_kept"]


def folder() -> Path:
    """Return the place of what is compiled from the present sources."""
    timing = Path(__file__).parent / "timing"
    sources = [
        *sorted(Path(isa.__file__).parent.glob("*.py")),
        *sorted(timing.glob("*.py")),
    ]
    versions = [metadata.version(name) for name in ("numba", "numpy")]
    return cache_folder() / "timing" / digest(versions, sources)


def is_kept() -> bool:
    """Return whether the timing model was compiled before."""
    return any(folder().rglob("repeat.advance*.nbc"))
