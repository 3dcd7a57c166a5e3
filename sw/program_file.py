"""Programs in a file and as text: two exact pairs of inverses.

A file is, in this order: `MAGIC`, the format's version (4 bytes, little-endian), the length of the
header and of the code (8 bytes each), the header (JSON: configuration, buffers, products), the code
(instructions of all programs, one program after the other), and the SHA-256 of all that.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hw.isa.config import Config, ConfigError
from hw.isa.encoding import assemble, decode, to_text
from hw.isa.instructions import INSTRUCTION_BYTES, Instruction, InstructionError
from hw.isa.registers import VERSION

from .place import DTYPES, Buffer, Layout, PlacementError, Role
from .program import ProductSpan, Program

__all__ = [
    "ProgramFileError",
    "assemble_programs",
    "disassemble_programs",
    "read_programs",
    "write_file",
    "write_files",
    "write_programs",
]

MAGIC = b"CDMQTA\r\n"
FORMAT = 2
_PREFIX = struct.Struct("<8sIQQ")
_DIGEST = 32
_MARK = "#!program "


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


def write_programs(path: str | os.PathLike[str], programs: Sequence[Program]) -> None:
    """Write the programs of one job to a file.

    Raises
    ------
    ProgramFileError
        The file cannot be written.
    """
    header = {"isa": VERSION, "programs": [_describe(program) for program in programs]}
    text = json.dumps(header, separators=(",", ":")).encode()
    code = b"".join(program.encode() for program in programs)
    body = _PREFIX.pack(MAGIC, FORMAT, len(text), len(code)) + text + code
    write_file(path, body + hashlib.sha256(body).digest())


def read_programs(path: str | os.PathLike[str]) -> tuple[Program, ...]:
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
    text, code = body[_PREFIX.size : _PREFIX.size + text_size], body[_PREFIX.size + text_size :]
    return _parse(path, text, code)


def _parse(path: object, text: bytes, code: bytes) -> tuple[Program, ...]:
    try:
        header = json.loads(text)
        if header["isa"] != VERSION:
            raise ProgramFileError(
                f"{path} is made for instruction set version {header['isa']}, not {VERSION}"
            )
        programs, start = [], 0
        for item in header["programs"]:
            end = start + item["instructions"] * INSTRUCTION_BYTES
            words = range(start, end, INSTRUCTION_BYTES)
            programs.append(_build(item, [decode(code[i : i + INSTRUCTION_BYTES]) for i in words]))
            start = end
        if start != len(code):
            raise ValueError(f"{len(code)} bytes of instructions, but {start} are described")
        return tuple(programs)
    except ProgramFileError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ProgramFileError(f"{path} does not describe programs: {error}") from None


def _describe(program: Program) -> dict[str, Any]:
    return {
        "name": program.name,
        "config": program.config.to_mapping(),
        "program_address": program.layout.program_address,
        "buffers": [asdict(buffer) for buffer in program.buffers],
        "products": [asdict(product) for product in program.products],
        "meta": program.meta,
        "instructions": len(program.instructions),
    }


def _build(item: dict[str, Any], instructions: Sequence[Instruction]) -> Program:
    """Return the program of its description.

    Raises
    ------
    ValueError, TypeError, KeyError
        The description has the wrong form.
    """
    try:
        config = Config.from_mapping(item["config"])
    except ConfigError as error:
        raise ValueError(f"its configuration is wrong: {error}") from None
    buffers = []
    for fields in item["buffers"]:
        buffer = Buffer(**fields | {"role": Role(fields["role"])})
        needed = buffer.columns * DTYPES[buffer.dtype]
        if min(buffer.rows, buffer.columns) < 1 or buffer.pitch < needed or buffer.address < 0:
            raise ValueError(f"buffer {buffer.name} has no possible shape")
        if buffer.end > item["program_address"]:
            raise ValueError(f"buffer {buffer.name} reaches into the instructions")
        buffers.append(buffer)
    products = tuple(ProductSpan(**fields) for fields in item["products"])
    for product in products:
        if not 0 <= product.start <= product.stop <= len(instructions):
            raise ValueError(f"product {product.name} has instructions that do not exist")
    layout = Layout(tuple(buffers), item["program_address"])
    try:
        return Program(
            item["name"], config, tuple(instructions), layout, products, dict(item["meta"])
        )
    except PlacementError as error:
        raise ValueError(str(error)) from None


def disassemble_programs(programs: Iterable[Program]) -> str:
    """Return the text of programs: a line that describes each, then an instruction a line."""
    lines = []
    for program in programs:
        described = _describe(program)
        del described["instructions"]
        lines.append(_MARK + json.dumps(described))
        lines += map(to_text, program.instructions)
    return "".join(line + "\n" for line in lines)


def assemble_programs(text: str) -> tuple[Program, ...]:
    """Return the programs of a text; the exact inverse of `disassemble_programs`.

    Raises
    ------
    ProgramFileError
        A line is no instruction and no description, or none describes the first program.
    """
    programs, lines = [], text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith(_MARK)]
    before = lines[: starts[0]] if starts else lines
    if not starts or any(line.partition("#")[0].strip() for line in before):
        raise ProgramFileError(f"the text must start with a line {_MARK.strip()!r}")
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        # Empty lines keep the numbers in messages those of the whole text.
        code = "\n" * (start + 1) + "\n".join(lines[start + 1 : stop])
        try:
            item = json.loads(lines[start][len(_MARK) :])
            programs.append(_build(item, assemble(code)))
        except InstructionError as error:
            raise ProgramFileError(str(error)) from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ProgramFileError(f"line {start + 1} describes no program: {error}") from None
    return tuple(programs)
