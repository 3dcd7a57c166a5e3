"""Binary and text form: exact inverses, and every message about what is neither."""

from __future__ import annotations

import random
import re

import pytest

from hw.isa.encoding import (
    CLASSES,
    assemble,
    decode,
    disassemble,
    encode,
    from_text,
    to_text,
)
from hw.isa.instructions import (
    INSTRUCTION_BYTES,
    Absmax,
    Axis,
    Dataflow,
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

LOAD = Load(
    memory=Memory.WEIGHT, dram=0x1240, pitch=64, rows=3, columns=65535, base=7, row_stride=2,
    block_stride=1, wait_execute=15, signal_execute=1, transpose=1,
)  # fmt: skip
TEXT = (
    "load wait_execute=15 signal_execute=1 memory=weight transpose=1 dram=0x1240 pitch=64 rows=3 "
    "columns=65535 base=7 row_stride=2 block_stride=1"
)


def random_instruction(rng: random.Random) -> Instruction:
    """Return an instruction of any kind; fields are often at their limits."""
    cls = rng.choice(list(CLASSES.values()))
    values = {}
    for item in fields_of(cls):
        if item.enum is not None:
            values[item.name] = rng.choice(list(item.enum))
        else:
            top = (1 << item.bits) - 1
            values[item.name] = rng.choice((item.low, top, rng.randint(item.low, top)))
    return cls(**values)


def program(seed: int, count: int) -> list[Instruction]:
    rng = random.Random(seed)
    return [random_instruction(rng) for _ in range(count)]


def test_binary_round_trip_seed_1():
    for instruction in program(1, 5000):
        data = encode(instruction)
        assert len(data) == INSTRUCTION_BYTES
        assert decode(data) == instruction


def test_text_round_trip_seed_2():
    for instruction in program(2, 5000):
        line = to_text(instruction)
        assert "\n" not in line and line == line.strip()
        assert from_text(line) == instruction
        assert to_text(from_text(line)) == line


def test_programs_round_trip_seed_3():
    instructions = program(3, 500)
    text = disassemble(instructions)
    assert len(text.splitlines()) == len(instructions)
    assert assemble(text) == instructions
    assert disassemble(assemble(text)) == text
    assert assemble("") == [] and disassemble([]) == ""


def test_every_bit_of_a_word_is_a_field_or_refused_seed_4():
    """Flipping a bit gives another instruction, which encodes to it, or an error.

    An error is right only for opcode, enumerations, sizes of 0 and what is past the fields.
    """
    rng = random.Random(4)
    for cls in CLASSES.values():
        numbers = {
            bit for item in fields_of(cls) if item.enum is None and not item.low
            for bit in range(item.offset, item.offset + item.bits)
        }  # fmt: skip
        last = fields_of(cls)[-1]
        instruction = next(i for i in iter(lambda: random_instruction(rng), None) if type(i) is cls)
        word = int.from_bytes(encode(instruction), "little")
        for bit in range(8 * INSTRUCTION_BYTES):
            data = (word ^ 1 << bit).to_bytes(INSTRUCTION_BYTES, "little")
            try:
                other = decode(data)
            except InstructionError:
                assert bit not in numbers
                continue
            assert bit < last.offset + last.bits
            assert other != instruction and encode(other) == data


@pytest.mark.parametrize(
    "instruction,word",
    [
        (Halt(), 5),
        (Halt(wait_load=2, signal_store=1), 5 | 2 << 8 | 1 << 22),
        (
            LOAD,
            1 | 15 << 12 | 1 << 21 | 1 << 23 | 1 << 26 | 0x1240 << 27 | 64 << 75 | 3 << 107
            | 65535 << 123 | 7 << 139 | 2 << 155 | 1 << 171,
        ),
        (
            Execute(dataflow=Dataflow.OS, scale=1, rows=1, reduction=2, columns=3, left_base=4,
                    left_row_stride=5, left_block_stride=6, right_base=7, right_row_stride=8,
                    right_block_stride=9, out_base=10, out_row_stride=11, out_block_stride=12,
                    scale_base=13),
            2 | 1 << 23 | 1 << 25
            | sum(value << 26 + 16 * place for place, value in enumerate(range(1, 14))),
        ),
        (
            Store(format=Format.INT8_TENSOR, stochastic=1, dram=0x40, pitch=8, rows=1, columns=2,
                  base=3, row_stride=4, block_stride=5, row_scale=6, column_scale=7, origin_row=8,
                  origin_column=65535),
            3 | 4 << 23 | 1 << 26 | 0x40 << 27 | 8 << 75 | 1 << 107 | 2 << 123 | 3 << 139
            | 4 << 155 | 5 << 171 | 6 << 187 | 7 << 203 | 8 << 219 | 65535 << 235,
        ),
        (
            Absmax(axis=Axis.TENSOR, scaled=1, to_dram=1, rows=1, columns=2, row_stride=3,
                   block_stride=4, row_scale=5),
            4 | 2 << 23 | 1 << 25 | 1 << 27 | 1 << 78 | 2 << 94 | 3 << 126 | 4 << 142 | 5 << 158,
        ),
        (
            Absmax(axis=Axis.ROW, merge=1, to_scales=1, to_updates=1, dram=1, rows=1, columns=1,
                   row_stride=0, block_stride=0, scale_base=2, update_base=3, factor=4),
            4 | 1 << 26 | 1 << 28 | 1 << 29 | 1 << 30 | 1 << 78 | 1 << 94 | 2 << 174 | 3 << 190
            | 4 << 206,
        ),
    ],
)  # fmt: skip
def test_words_written_by_hand(instruction, word):
    """The encoding is little-endian, opcode in byte 0, and does not move."""
    assert encode(instruction) == word.to_bytes(32, "little")
    assert decode(word.to_bytes(32, "little")) == instruction


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_words_of_another_length(size):
    with pytest.raises(InstructionError, match=f"^an instruction is 32 bytes, not {size}$"):
        decode(bytes([5]) * size)


@pytest.mark.parametrize("code", [code for code in range(256) if code not in set(Opcode)])
def test_illegal_opcodes(code):
    """Zero is among them: empty memory stops the machine."""
    message = f"^illegal opcode {code}; accepted: 1, 2, 3, 4, 5$"
    with pytest.raises(InstructionError, match=message):
        decode(bytes([code]) + bytes(31))


@pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda cls: cls.__name__)
def test_bits_past_the_fields(cls):
    last = fields_of(cls)[-1]
    end = last.offset + last.bits
    message = re.escape(f"{cls.mnemonic()} has bits set past its last field (bit {end})")
    for bit in (end, 255):
        word = int(cls.opcode) | 1 << bit
        with pytest.raises(InstructionError, match=f"^{message}$"):
            decode(word.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "cls,value,message",
    [
        (Load, 5, "load memory is 5; accepted: "
                  "input|weight|accumulate_scale|row_scale|column_scale"),
        (Load, 7, "load memory is 7; accepted: "
                  "input|weight|accumulate_scale|row_scale|column_scale"),
        (Store, 5, "store format is 5; accepted: "
                   "int32|int8_row|int8_column|int8_row_column|int8_tensor"),
        (Absmax, 3, "absmax axis is 3; accepted: row|column|tensor"),
    ],
)  # fmt: skip
def test_values_outside_their_enumeration(cls, value, message):
    word = int(cls.opcode) | value << 23
    with pytest.raises(InstructionError, match=f"^{re.escape(message)}$"):
        decode(word.to_bytes(32, "little"))


def test_text_leaves_out_zeros_and_names_enumerations():
    assert to_text(LOAD) == TEXT
    assert to_text(Halt()) == "halt"
    store = Store(
        format=Format.INT32, dram=0, rows=1, columns=1, row_stride=0, block_stride=0
    )  # fmt: skip
    assert to_text(store) == "store format=int32 rows=1 columns=1"
    sizes = "rows=1 columns=1"
    assert store == from_text(f"store {sizes}") == from_text(f"store {sizes} base=0")


NEW_FIELDS = [
    "load memory=input transpose=1 rows=1 columns=1",
    "store format=int8_tensor stochastic=1 rows=1 columns=1 row_scale=9",
    "store format=int8_row stochastic=1 rows=1 columns=1 origin_row=65535 origin_column=64",
    "absmax axis=row merge=1 to_dram=1 dram=0x40 rows=1 columns=1",
    "absmax axis=column scaled=1 to_scales=1 rows=1 columns=1 scale_base=3",
    "absmax axis=tensor to_updates=1 rows=1 columns=1 scale_base=1 update_base=2 factor=3",
]


@pytest.mark.parametrize("line", NEW_FIELDS)
def test_lines_of_version_2_round_trip(line):
    instruction = from_text(line)
    assert to_text(instruction) == line
    assert decode(encode(instruction)) == instruction
    assert all(
        str(getattr(instruction, name)) == value
        for name, value in re.findall(r"(\w+)=(\d+)(?= |$)", line)
    )


def test_numbers_in_text_may_be_of_any_base():
    assert from_text("halt  wait_load=0xf\twait_store=0b11 ") == Halt(wait_load=15, wait_store=3)
    assert from_text("execute dataflow=OS rows=1 reduction=1 columns=1").dataflow is Dataflow.OS


MNEMONICS = "load, execute, store, absmax, halt"
HALT_FIELDS = "wait_load, wait_execute, wait_store, signal_load, signal_execute, signal_store"


@pytest.mark.parametrize(
    "line,message",
    [
        ("hult", f"unknown instruction 'hult'; accepted: {MNEMONICS}"),
        ("HALT", f"unknown instruction 'HALT'; accepted: {MNEMONICS}"),
        ("halt rows=1", f"halt has no field 'rows=1'; accepted: {HALT_FIELDS} as name=value"),
        ("halt wait_load", f"halt has no field 'wait_load'; accepted: {HALT_FIELDS} as name=value"),
        ("halt wait_load=1 wait_load=1", "halt wait_load is given twice"),
        ("halt wait_load=one", "halt wait_load must be a whole number, not 'one'"),
        ("halt wait_load=", "halt wait_load must be a whole number, not ''"),
        ("halt wait_load=1=2", "halt wait_load must be a whole number, not '1=2'"),
        ("halt wait_load=16", "halt wait_load must be a whole number from 0 to 15, not 16"),
        ("halt signal_load=-1", "halt signal_load must be a whole number from 0 to 1, not -1"),
        ("absmax axis=depth", "absmax axis must be one of row|column|tensor, not 'depth'"),
        ("execute dataflow=0", "execute dataflow must be one of ws|os, not '0'"),
    ],
)
def test_lines_that_are_no_instructions(line, message):
    with pytest.raises(InstructionError, match=f"^{re.escape(message)}$"):
        from_text(line)
    with pytest.raises(InstructionError, match=f"^line 3: {re.escape(message)}$"):
        assemble(f"halt\n# a comment\n{line} # and another\nhalt\n")


@pytest.mark.parametrize("line", ["", "  "])
def test_an_empty_line_is_no_instruction(line):
    with pytest.raises(InstructionError, match=f"^unknown instruction ''; accepted: {MNEMONICS}$"):
        from_text(line)


def test_assembly_passes_over_comments_and_empty_lines():
    text = f"# a program\n\n   \n{TEXT}   # loads\n\t halt#ends\n#halt\n"
    assert assemble(text) == [LOAD, Halt()]


def test_assembly_names_the_first_wrong_line():
    with pytest.raises(InstructionError, match="^line 5: unknown instruction 'x'"):
        assemble("\n#\nhalt\n\nx\ny\n")
