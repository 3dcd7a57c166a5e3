"""Program files and their text: round trips, and every damage."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import pytest

from hw.isa.config import Config
from sw.gemm import compile_gemm
from sw.layer import compile_layer
from sw.program_file import (
    FORMAT,
    MAGIC,
    ProgramFileError,
    read_programs,
    write_file,
    write_programs,
)
from sw.program_text import assemble_text, disassemble_text

from .program_files import changed

CONFIG = Config(rows=3, columns=2, dram_gbps=12.8)
PROGRAMS = {
    "gemm": compile_gemm(CONFIG, 5, 6, 7, transpose_a=True),
    "requantised": compile_gemm(CONFIG, 5, 6, 7, requantise="column"),
    "layer": (compile_layer(CONFIG, 5, 6, 7, 4).program,),
}


@pytest.fixture
def path(tmp_path):
    """A written program file."""
    path = tmp_path / "a.prog"
    write_programs(path, PROGRAMS["gemm"])
    return path


@pytest.mark.parametrize("name", PROGRAMS)
def test_files_hold_programs_exactly(tmp_path, name):
    write_programs(tmp_path / "a", PROGRAMS[name])
    assert read_programs(tmp_path / "a") == PROGRAMS[name]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_text_is_an_exact_inverse(name):
    text = disassemble_text(PROGRAMS[name])
    assert assemble_text(text) == PROGRAMS[name]
    assert disassemble_text(assemble_text(text)) == text
    count = sum(len(program.instructions) for program in PROGRAMS[name])
    assert len(text.splitlines()) == count + len(PROGRAMS[name])


def test_writing_is_the_same_bytes_every_time(tmp_path, path):
    write_programs(tmp_path / "b", PROGRAMS["gemm"])
    assert (tmp_path / "b").read_bytes() == path.read_bytes()


def test_every_truncation_is_noticed(path):
    data = path.read_bytes()
    for size in [1, 5, 8, 11, 12, 27, 28, 100, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ProgramFileError, match=f"^{path} is truncated: "):
            read_programs(path)


def test_every_changed_byte_is_noticed(path):
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 13):
        data[place] ^= 0x40
        path.write_bytes(data)
        with pytest.raises(ProgramFileError) as error:
            read_programs(path)
        assert "\n" not in str(error.value)
        data[place] ^= 0x40
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        ProgramFileError, match="damaged: its checksum does not match its contents$"
    ):
        read_programs(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 something else", b"\x7fELF" * 100])
def test_foreign_files(path, data):
    path.write_bytes(data)
    with pytest.raises(ProgramFileError, match=f"^{path} is not a program file: it does not start"):
        read_programs(path)


def test_newer_versions(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(MAGIC)] + struct.pack("<I", FORMAT + 1) + data[len(MAGIC) + 4 :])
    message = (
        f"^{path} has format version {FORMAT + 1}, newer than {FORMAT}, the newest known here$"
    )
    with pytest.raises(ProgramFileError, match=message):
        read_programs(path)


def test_older_versions(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(MAGIC)] + struct.pack("<I", FORMAT - 1) + data[len(MAGIC) + 4 :])
    message = (
        f"^{path} has format version {FORMAT - 1}, and only {FORMAT} can be read: compile it again$"
    )
    with pytest.raises(ProgramFileError, match=message):
        read_programs(path)


@pytest.mark.parametrize(
    "old,new,message",
    [
        (b'"isa":2', b'"isa":1', "is made for instruction set version 1, not 2$"),
        (b'{"isa"', b'["isa"', "does not describe programs: Expecting"),
        (b'"name":"gemm"', b'"nome":"gemm"', "does not describe programs: 'name'$"),
        (b'"rows":3', b'"rows":1', "its configuration is wrong: rows must be at least 2, not 1$"),
        (b'"rows":3', b'"raws":3', "its configuration is wrong: unknown configuration key 'raws'"),
        (b'"dtype":"int8"', b'"dtype":"int9"', "does not describe programs: 'int9'$"),
        (b'"role":"input"', b'"role":"inpat"', "'inpat' is not a valid Role$"),
        (b'"pitch":8', b'"pitch":1', "buffer A has no possible shape$"),
        (b'"address":0', b'"address":-', "does not describe programs: Expecting value"),
        (b'"program_address":3', b'"program_address":1', "reaches into the instructions$"),
        (b'"start":0', b'"start":9', "product C has instructions that do not exist$"),
    ],
)
def test_descriptions_that_make_no_sense(path, old, new, message):
    changed(path, old, new)
    with pytest.raises(ProgramFileError, match=message) as error:
        read_programs(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_code_of_another_length(path):
    count = len(PROGRAMS["gemm"][0].instructions)
    changed(path, b'"instructions":%d' % count, b'"instructions":%d' % (count - 1))
    message = f"{32 * count} bytes of instructions, but {32 * (count - 1)} are described$"
    with pytest.raises(ProgramFileError, match=message):
        read_programs(path)


def test_an_illegal_instruction_in_a_file(path):
    body = bytearray(path.read_bytes()[:-32])
    body[-32] = 99
    path.write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(ProgramFileError, match="does not describe programs: illegal opcode 99;"):
        read_programs(path)


def test_files_that_cannot_be_read_or_written(tmp_path, path):
    with pytest.raises(ProgramFileError, match=r"^cannot read .*none: No such file or directory$"):
        read_programs(tmp_path / "none")
    with pytest.raises(ProgramFileError, match=r"^cannot write .*: No such file or directory$"):
        write_programs(tmp_path / "no" / "folder", PROGRAMS["gemm"])
    with pytest.raises(ProgramFileError, match=r"^cannot write .*: Is a directory$"):
        write_file(tmp_path, b"")


def test_a_failed_write_leaves_what_was_there(tmp_path, path):
    before = path.read_bytes()
    broken = (replace(PROGRAMS["gemm"][0], meta={"kind": object()}),)
    with pytest.raises(TypeError):
        write_programs(path, broken)
    assert path.read_bytes() == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProgramFileError):
        write_file(tmp_path / "folder", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.prog", "folder"]


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "^the text must start with a line '#!program' or '#!step'$"),
        ("halt\n", "^the text must start with a line '#!program' or '#!step'$"),
        ("#!program {]\nhalt\n", "^line 1 describes no program: Expecting"),
        ("# words\n\n#!program {}\nhalt\n", "^line 3 describes no program: 'config'$"),
        ("#!program {}\nhalt\nhult\n", "^line 3: unknown instruction 'hult'; accepted: load,"),
    ],
)
def test_texts_that_are_no_programs(text, message):
    with pytest.raises(ProgramFileError, match=message):
        assemble_text(text)
