"""Instructions: their fields, what fits them, and what is said of what does not."""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

import pytest

from hw.isa.encoding import CLASSES
from hw.isa.instructions import (
    INSTRUCTION_BYTES,
    U16,
    U48,
    Absmax,
    Axis,
    Dataflow,
    Engine,
    Execute,
    Format,
    Halt,
    Instruction,
    InstructionError,
    Load,
    Memory,
    Opcode,
    Store,
    fields_of,
)

ENDS = {Load: 188, Execute: 234, Store: 251, Absmax: 222, Halt: 23}
"""Bits of each instruction, its opcode included."""
ENGINES = {
    Load: Engine.LOAD,
    Execute: Engine.EXECUTE,
    Store: Engine.STORE,
    Absmax: Engine.STORE,
    Halt: None,
}
EVERY_FIELD = [(cls, item) for cls in ENDS for item in fields_of(cls)]
NUMBERS = [(cls, item) for cls, item in EVERY_FIELD if item.enum is None]
ENUMERATIONS = [(cls, item) for cls, item in EVERY_FIELD if item.enum is not None]


def name_of(value: object) -> str:
    return value.__name__ if isinstance(value, type) else getattr(value, "name", str(value))


def smallest(cls: type[Instruction], **values: object) -> Instruction:
    """Return the instruction with the least values, save the fields given."""
    fields = {item.name: item.enum(0) if item.enum else item.low for item in fields_of(cls)}
    return cls(**fields | values)


def test_every_opcode_has_a_class():
    assert set(CLASSES) == set(Opcode) == {cls.opcode for cls in ENDS}
    assert list(Opcode) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("cls", ENDS, ids=name_of)
def test_fields_lie_side_by_side_after_the_opcode(cls):
    offset = 8
    for item in fields_of(cls):
        assert item.offset == offset, item.name
        offset += item.bits
    assert offset == ENDS[cls] <= 8 * INSTRUCTION_BYTES


@pytest.mark.parametrize("cls", ENDS, ids=name_of)
def test_every_instruction_begins_with_the_tokens(cls):
    tokens = fields_of(cls)[:6]
    assert [item.name for item in tokens] == [
        "wait_load", "wait_execute", "wait_store", "signal_load", "signal_execute", "signal_store",
    ]  # fmt: skip
    assert [item.bits for item in tokens] == [4, 4, 4, 1, 1, 1]
    assert cls.engine is ENGINES[cls]


@pytest.mark.parametrize("cls,item", ENUMERATIONS, ids=name_of)
def test_enumerations_fit_their_fields(cls, item):
    assert max(item.enum) < 1 << item.bits
    for member in item.enum:
        assert getattr(smallest(cls, **{item.name: member}), item.name) is member


def test_which_fields_are_enumerations():
    found = {(cls, item.name): item.enum for cls, item in ENUMERATIONS}
    assert found == {
        (Load, "memory"): Memory,
        (Execute, "dataflow"): Dataflow,
        (Store, "format"): Format,
        (Absmax, "axis"): Axis,
    }


@pytest.mark.parametrize("cls,item", NUMBERS, ids=name_of)
def test_numbers_that_fit_and_numbers_that_do_not(cls, item):
    top = (1 << item.bits) - 1
    assert item.low == (item.name in ("rows", "columns", "reduction")), "sizes are at least 1"
    for value in (item.low, top):
        assert getattr(smallest(cls, **{item.name: value}), item.name) == value
    for value in (item.low - 1, top + 1, 1.0, "1", None):
        message = (
            f"{cls.mnemonic()} {item.name} must be a whole number from {item.low} to {top}, "
            f"not {value!r}"
        )
        with pytest.raises(InstructionError, match=f"^{re.escape(message)}$"):
            smallest(cls, **{item.name: value})


@pytest.mark.parametrize(
    "cls,field,value,message",
    [
        (
            Load,
            "memory",
            5,
            "load memory must be one of "
            "input|weight|accumulate_scale|row_scale|column_scale, not 5",
        ),
        (Load, "memory", Dataflow.WS, "not <Dataflow.WS: 0>"),
        (Execute, "dataflow", 0, "execute dataflow must be one of ws|os, not 0"),
        (
            Store,
            "format",
            "int32",
            "store format must be one of int32|int8_row|int8_column|int8_row_column|int8_tensor, "
            "not 'int32'",
        ),
        (Absmax, "axis", None, "absmax axis must be one of row|column|tensor, not None"),
    ],
)
def test_values_of_no_enumeration(cls, field, value, message):
    """A plain number is not enough, nor is a member of another enumeration."""
    with pytest.raises(InstructionError, match=f"{re.escape(message)}$"):
        smallest(cls, **{field: value})


def test_enumerations_keep_their_values():
    """Programs of a file and the hardware agree on them; they are only ever added to."""
    assert [(member.name, member.value) for member in Format] == [
        ("INT32", 0), ("INT8_ROW", 1), ("INT8_COLUMN", 2), ("INT8_ROW_COLUMN", 3),
        ("INT8_TENSOR", 4),
    ]  # fmt: skip
    assert [member.name for member in Memory] == [
        "INPUT", "WEIGHT", "ACCUMULATE_SCALE", "ROW_SCALE", "COLUMN_SCALE",
    ]  # fmt: skip
    assert [member.name for member in Axis] == ["ROW", "COLUMN", "TENSOR"]
    assert [member.name for member in Engine] == ["LOAD", "EXECUTE", "STORE"]


FLAGS = {
    Load: {"transpose", "packed"},
    Execute: {"accumulate", "scale"},
    Store: {"stochastic"},
    Absmax: {"scaled", "merge", "to_dram", "to_scales", "to_updates"},
    Halt: set(),
}


@pytest.mark.parametrize("cls", ENDS, ids=name_of)
def test_flags_are_off_unless_they_are_given(cls):
    bits = {item.name for item in fields_of(cls) if item.bits == 1 and item.enum is None}
    assert bits == FLAGS[cls] | {"signal_load", "signal_execute", "signal_store"}
    plain = smallest(cls, **{})
    defaults = {item.name: item.default for item in dataclasses.fields(cls)}
    assert all(defaults[name] == 0 == getattr(plain, name) for name in bits)


def test_a_truth_value_is_no_number():
    with pytest.raises(InstructionError, match="from 0 to 1, not True$"):
        Halt(signal_load=True)


@pytest.mark.parametrize("cls", [Load, Execute, Store, Absmax], ids=name_of)
def test_sizes_have_no_default(cls):
    with pytest.raises(TypeError, match="missing .* required keyword-only argument"):
        cls()


def test_instructions_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Halt().wait_load = 1


def test_a_class_that_needs_too_many_bits():
    wide = [(f"field_{i}", U48, dataclasses.field(default=0)) for i in range(5)]
    cls = dataclasses.make_dataclass(
        "Wide", wide, bases=(Instruction,), frozen=True, kw_only=True,
        namespace={"opcode": Opcode.LOAD},
    )  # fmt: skip
    with pytest.raises(TypeError, match="^Wide needs 263 bits of 256$"):
        fields_of(cls)


def test_a_field_without_a_width():
    cls = dataclasses.make_dataclass(
        "Bare", [("size", int, dataclasses.field(default=0))], bases=(Instruction,), frozen=True,
        kw_only=True, namespace={"opcode": Opcode.LOAD},
    )  # fmt: skip
    with pytest.raises(TypeError, match="^instruction field annotation <class 'int'> has no width"):
        fields_of(cls)


def test_a_field_takes_its_width_from_its_annotation():
    cls = dataclasses.make_dataclass(
        "Short", [("size", U16), ("kind", ClassVar[int], 3)], bases=(Instruction,), frozen=True,
        kw_only=True, namespace={"opcode": Opcode.LOAD},
    )  # fmt: skip
    assert [(item.name, item.offset, item.bits) for item in fields_of(cls)[6:]] == [
        ("size", 23, 16)
    ]
