"""Programs and steps in a file: an exact pair of inverses.

A file is, in this order: `MAGIC`, the format's version (4 bytes, little-endian), the length of the
header and of the code (8 bytes each), the header (zlib of JSON: configuration, buffers, products,
and of a step its values and what the host does), the code (instructions of all programs, one
program after the other), and the SHA-256 of all that.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hw.isa.encoding import decode
from hw.isa.instructions import INSTRUCTION_BYTES
from hw.isa.registers import VERSION

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

__all__ = [
    "ProgramFileError",
    "read_programs",
    "write_file",
    "write_files",
    "write_programs",
]

MAGIC = b"CDMQTA\r\n"
FORMAT = 3
_PREFIX = struct.Struct("<8sIQQ")
_DIGEST = 32


class ProgramFileError(ValueError):
    """A file or text that holds no programs, or cannot be written; the message is one line."""


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all; raises as `write_files`."""
    write_files({Path(path): data})


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files whole or not at all: under other names, renamed when all are complete.

    What is there and is no regular file, as /dev/stdout, is written after them, as it is.

    Raises
    ------
    ProgramFileError
        One of them cannot be written.
    """
    staged: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, data in files.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if path.exists() and not path.is_file():
                continue  # a device or a pipe: written in its place, below
            prefix = f".{path.name}."
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix, delete=False) as file:
                staged.append((Path(file.name), path))
                file.write(data)
            os.chmod(file.name, 0o666 & ~_umask())
        for temporary, path in staged:
            os.replace(temporary, path)
        for path in files.keys() - {path for _, path in staged}:
            path.write_bytes(files[path])
    except OSError as error:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
        raise ProgramFileError(f"cannot write {path}: {error.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_programs(path: str | os.PathLike[str], contents: Sequence[Program] | StepProgram) -> None:
    """Write the programs of one job, or a step, to a file.

    Raises
    ------
    ProgramFileError
        The file cannot be written.
    """
    header: dict[str, Any] = {"isa": VERSION}
    steps: Sequence[Program | Host]
    if isinstance(contents, StepProgram):
        header["step"], steps = describe_step(contents), contents.steps
    else:
        steps = contents
    # All programs of a step have its configuration.
    header["programs"] = [describe(each, config="step" not in header) for each in steps]
    text = zlib.compress(json.dumps(header, separators=(",", ":")).encode())
    code = b"".join(each.encode() for each in steps if isinstance(each, Program))
    body = _PREFIX.pack(MAGIC, FORMAT, len(text), len(code)) + text + code
    write_file(path, body + hashlib.sha256(body).digest())


def read_programs(path: str | os.PathLike[str]) -> tuple[Program, ...] | StepProgram:
    """Read what `write_programs` wrote.

    Raises
    ------
    ProgramFileError
        The file cannot be read, is something else, is of another version, or is damaged.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ProgramFileError(f"cannot read {path}: {error.strerror}") from None
    text, code = _unsealed(path, data)
    try:
        return _parse(path, text, code)
    except ProgramFileError:
        raise
    except (
        ArithmeticError, AttributeError, LookupError, TypeError, ValueError, zlib.error
    ) as error:  # fmt: skip
        raise ProgramFileError(f"{path} does not describe programs: {error}") from None


def _unsealed(path: object, data: bytes) -> tuple[bytes, bytes]:
    """Return header and code of a whole and unharmed file."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise ProgramFileError(f"{path} is not a program file: it does not start with {MAGIC!r}")
    if len(data) < _PREFIX.size:
        raise ProgramFileError(f"{path} is truncated: {len(data)} bytes are no whole header")
    _, version, text_size, code_size = _PREFIX.unpack_from(data)
    if version > FORMAT:
        raise ProgramFileError(
            f"{path} has format version {version}, newer than {FORMAT}, the newest known here"
        )
    if version < FORMAT:
        raise ProgramFileError(
            f"{path} has format version {version}, and only {FORMAT} can be read: compile it again"
        )
    size = _PREFIX.size + text_size + code_size + _DIGEST
    if len(data) < size:
        raise ProgramFileError(f"{path} is truncated: it has {len(data)} of {size} bytes")
    body, digest = data[: size - _DIGEST], data[size - _DIGEST :]
    if hashlib.sha256(body).digest() != digest:
        raise ProgramFileError(f"{path} is damaged: its checksum does not match its contents")
    return body[_PREFIX.size : _PREFIX.size + text_size], body[_PREFIX.size + text_size :]


def _parse(path: object, text: bytes, code: bytes) -> tuple[Program, ...] | StepProgram:
    """Return what header and code say; raises ProgramFileError, or what wrong forms make raise."""
    header = json.loads(zlib.decompress(text))
    if header["isa"] != VERSION:
        raise ProgramFileError(
            f"{path} is made for instruction set version {header['isa']}, not {VERSION}"
        )
    whole = header.get("step")
    common = None if whole is None else build_config(whole)
    steps: list[Program | Host] = []
    start = 0
    for item in header["programs"]:
        if "host" in item:
            steps.append(build_host(item))
            continue
        end = start + item["instructions"] * INSTRUCTION_BYTES
        words = range(start, end, INSTRUCTION_BYTES)
        instructions = [decode(code[i : i + INSTRUCTION_BYTES]) for i in words]
        steps.append(build_program(item, instructions, common or build_config(item)))
        start = end
    if start != len(code):
        raise ValueError(f"{len(code)} bytes of instructions, but {start} are described")
    return tuple(steps) if whole is None else build_step(whole, steps)
