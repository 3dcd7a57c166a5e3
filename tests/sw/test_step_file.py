"""Files and texts of steps: round trips, and every damage."""

from __future__ import annotations

import hashlib
import struct
import time
from dataclasses import replace

import pytest

from hw.isa.instructions import Axis
from sw.graph.ir import Copy, Host, Maxima, Sums, Updates, View
from sw.program_file import FORMAT, MAGIC, ProgramFileError, read_programs, write_programs
from sw.program_text import assemble_text, disassemble_text
from sw.tile import Span

from .program_files import changed
from .small_step import small_step

STEP = small_step()


@pytest.fixture
def path(tmp_path):
    """A written file of a step."""
    path = tmp_path / "step.cdmqta"
    write_programs(path, STEP)
    return path


def test_files_hold_steps_exactly(path):
    assert read_programs(path) == STEP
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_text_is_an_exact_inverse():
    text = disassemble_text(STEP)
    assert assemble_text(text) == STEP
    assert disassemble_text(assemble_text(text)) == text


def test_what_the_host_drains_is_kept(tmp_path):
    """Every kind of output, with and without what it may have."""
    whole, view = (Span(0, 8), Span(2, 16)), View("text.Y", Span(0, 8), Span(2, 16), True)
    outputs = (
        Sums(*whole, view), Updates(*whole, "t", view), Maxima(*whole, Axis.ROW, "u", view),
        Maxima(*whole, Axis.COLUMN, "u", view, view), Copy(*whole, Axis.TENSOR, view, "u"),
        Copy(*whole, Axis.COLUMN, view, entries=view, unit=view, stochastic=True),
    )  # fmt: skip
    host = Host("drain", "text.Y.drain", ("text.Y",), ("text.dX",), outputs)
    step = replace(STEP, steps=(*STEP.steps, host))
    write_programs(tmp_path / "step", step)
    assert read_programs(tmp_path / "step") == step
    assert assemble_text(disassemble_text(step)) == step


def test_a_configuration_is_written_once(path):
    assert disassemble_text(STEP).count('"queue_depth"') == 1


def test_every_truncation_is_noticed(path):
    data = path.read_bytes()
    for size in [1, 8, 12, 27, 28, 100, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ProgramFileError, match=f"^{path} is truncated: "):
            read_programs(path)


def test_every_flipped_bit_is_noticed(path):
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 7):
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(ProgramFileError) as error:
            read_programs(path)
        assert "\n" not in str(error.value)
        data[place] ^= 1 << place % 8


@pytest.mark.parametrize(
    "version,message",
    [
        (FORMAT + 1, f"newer than {FORMAT}, the newest known here$"),
        (FORMAT - 1, f"and only {FORMAT} can be read: compile it again$"),
    ],
)
def test_other_versions(path, version, message):
    data = path.read_bytes()
    path.write_bytes(MAGIC + struct.pack("<I", version) + data[len(MAGIC) + 4 :])
    with pytest.raises(ProgramFileError, match=f"format version {version}, {message}"):
        read_programs(path)


@pytest.mark.parametrize(
    "old,new,message",
    [
        (b'"values":', b'"value":', "does not describe programs: 'values'$"),
        (b'"host":', b'"hast":', "does not describe programs: 'instructions'$"),
        (
            b'"reads":["text.Y"]',
            b'"reads":["Z"]',
            "host text.loss works on 'Z', which is no value$",
        ),
        (b'"rows":4', b'"rows":1', "its configuration is wrong: rows must be at least 2, not 1$"),
    ],
)
def test_descriptions_that_make_no_sense(path, old, new, message):
    changed(path, old, new)
    with pytest.raises(ProgramFileError, match=message) as error:
        read_programs(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_header_that_is_not_packed(path):
    data = path.read_bytes()[:-32]
    size = struct.unpack_from("<Q", data, 12)[0]
    body = data[:28] + b"{" * size + data[28 + size :]
    path.write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(ProgramFileError, match="does not describe programs: Error -3"):
        read_programs(path)


@pytest.mark.parametrize(
    "old,new,message",
    [
        ("#!host", "#!step", "^line {at}: #!step has no place here$"),
        ('#!host {"', "#!host {[", "^line {at} describes no host: Expecting"),
        ('"name": "weights", "reads"', '"reads"', "^line {at} describes no host: 'name'$"),
    ],
)
def test_texts_that_make_no_sense(old, new, message):
    text = disassemble_text(STEP)
    at = next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith("#!host"))
    assert old in text
    text = text.replace(old, new, 1)
    with pytest.raises(ProgramFileError, match=message.format(at=at)):
        assemble_text(text)


def test_a_text_whose_step_has_code():
    lines = disassemble_text(STEP).splitlines()
    text = "\n".join([lines[0], "halt", *lines[1:]])
    with pytest.raises(ProgramFileError, match="^line 2 is below no program$"):
        assemble_text(text)
    with pytest.raises(ProgramFileError, match="^line 1 describes no step: 'values'$"):
        assemble_text(disassemble_text(STEP).replace('"values"', '"value"', 1))


def test_sixty_thousand_instructions_are_read_and_written_in_seconds(tmp_path):
    program = next(STEP.programs)
    body = program.instructions[:-1] * (1000 // len(program.instructions))
    instructions = (*body, program.instructions[-1])
    count = 60_000 // len(instructions)
    many = [replace(program, name=f"part {i}", instructions=instructions) for i in range(count)]
    step = replace(STEP, steps=tuple(many))
    started = time.process_time()
    write_programs(tmp_path / "step", step)
    assert read_programs(tmp_path / "step") == step
    assert time.process_time() - started < 10  # one or two where nothing else runs
    code = 32 * sum(len(each.instructions) for each in step.programs)
    assert (tmp_path / "step").stat().st_size < code + 20_000
