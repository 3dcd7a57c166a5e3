"""The functional model: instruction by instruction against loops, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import (
    Absmax,
    Axis,
    Dataflow,
    Execute,
    Format,
    Halt,
    Load,
    Memory,
    Store,
)
from hw.isa.numerics import decode_scale, requantise8, requantise32, scale_accumulate
from hw.isa.registers import ErrorCode
from sim.functional import ProgramError, run

from .example import CONFIGS, OUT, SCALES, Example, execute, put, take

SHAPES = [(1, 1, 1), (2, 3, 5), (7, 5, 3), (4, 4, 4), (5, 9, 7), (9, 2, 11)]


@pytest.mark.parametrize("dataflow", Dataflow)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_execute_multiplies_seed_1(config, dataflow, shape):
    example = Example(config, dataflow, *shape, seed=1)
    assert np.array_equal(example.sums(example.run(example.execute, example.store)), example.exact)


@pytest.mark.parametrize("dataflow", Dataflow)
def test_execute_accumulates_seed_2(dataflow):
    example = Example(CONFIGS[0], dataflow, 5, 9, 7, seed=2)
    more = replace(example.execute, accumulate=1, wait_load=0, signal_store=0)
    first, last = replace(example.execute, signal_store=0), replace(more, signal_store=1)
    dram = example.run(first, more, last, example.store)
    assert np.array_equal(example.sums(dram), 3 * example.exact)


@pytest.mark.parametrize("dataflow", Dataflow)
@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
def test_scale_rounds_each_fold_by_itself_seed_3(config, dataflow, accumulate):
    example = Example(config, dataflow, 5, 9, 7, seed=3)
    first = replace(example.execute, signal_store=0)
    scaled = replace(example.execute, scale=1, accumulate=accumulate, scale_base=3, wait_load=0)
    sums = example.sums(example.run(first, scaled, example.store))
    fold = config.rows if dataflow is Dataflow.WS else 9
    for i in range(5):
        m, s = decode_scale(int(example.entries[i]))
        for j in range(7):
            total = int(example.exact[i, j]) * accumulate
            for start in range(0, 9, fold):
                part = slice(start, start + fold)
                sum_ = example.left[i, part].astype(int) @ example.right[part, j].astype(int)
                total = scale_accumulate(total, int(sum_), m, s)
            assert sums[i, j] == total, (i, j)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
def test_store_requantises_by_row_seed_4(config):
    example = Example(config, Dataflow.WS, 5, 9, 7, seed=4)
    load = Load(memory=Memory.ROW_SCALE, dram=SCALES, rows=1, columns=20, base=2, block_stride=1)
    store = replace(example.store, format=Format.INT8_ROW, row_scale=2)
    actual = take(example.run(example.execute, store, load=(load,)), OUT, (5, 7), 128, "i1")
    expected = [[requantise8(int(v), *decode_scale(int(e))) for v in row]
                for row, e in zip(example.exact, example.entries[:5], strict=True)]  # fmt: skip
    assert actual.tolist() == expected


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
def test_store_requantises_by_column_seed_5(config):
    example = Example(config, Dataflow.OS, 5, 9, 7, seed=5)
    load = Load(memory=Memory.COLUMN_SCALE, dram=SCALES, rows=1, columns=28, base=2, block_stride=1)
    store = replace(example.store, format=Format.INT8_COLUMN, column_scale=2)
    actual = take(example.run(example.execute, store, load=(load,)), OUT, (5, 7), 128, "i1")
    expected = [[requantise8(int(v), *decode_scale(int(e))) for v, e in
                 zip(row, example.entries[:7], strict=True)] for row in example.exact]  # fmt: skip
    assert actual.tolist() == expected


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
def test_store_requantises_by_tensor_seed_10(config):
    example = Example(config, Dataflow.WS, 5, 9, 7, seed=10)
    load = Load(memory=Memory.ROW_SCALE, dram=SCALES, rows=1, columns=4, base=2, block_stride=1)
    store = replace(example.store, format=Format.INT8_TENSOR, row_scale=2)
    actual = take(example.run(example.execute, store, load=(load,)), OUT, (5, 7), 128, "i1")
    scale = decode_scale(int(example.entries[0]))
    assert actual.tolist() == [[requantise8(int(v), *scale) for v in row] for row in example.exact]


def test_the_later_of_overlapping_rows_stays():
    example = Example(Config(), Dataflow.WS, 3, 4, 5, seed=6)
    store = replace(example.store, pitch=8)
    found = example.run(example.execute, store)[OUT : OUT + 36].view("<i4")
    exact = example.exact.ravel().tolist()
    assert found.tolist() == [*exact[:2], *exact[5:7], *exact[10:15]]


@pytest.mark.parametrize("memory", [Memory.INPUT, Memory.WEIGHT])
@pytest.mark.parametrize("dataflow", Dataflow)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_transposed_loads_seed_11(config, shape, dataflow, memory):
    """An operand that lies in DRAM the other way round gives the same product."""
    example = Example(config, dataflow, *shape, seed=11)
    place = example.loads[memory]
    plain = take(example.dram, place.dram, (place.rows, place.columns), 64, "i1")
    example.dram[place.dram : place.dram + 0x1000] = 0
    put(example.dram, place.dram, plain.T, 64)
    example.loads[memory] = replace(place, transpose=1, rows=place.columns, columns=place.rows)
    dram, result = example.outcome(example.execute, example.store)
    assert np.array_equal(example.sums(dram), example.exact)
    beats = [each.rows * -(-each.columns // 8) for each in example.loads]
    assert result.counters["dram_read_bytes"] == 8 * sum(beats) + 32 * 6


@pytest.mark.parametrize("memory", [Memory.INPUT, Memory.WEIGHT])
@pytest.mark.parametrize("dataflow", Dataflow)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("transpose", [0, 1])
def test_packed_loads_seed_12(config, shape, dataflow, memory, transpose):
    """Elements of four bits are those of eight bits of the same value, turned or not."""
    example = Example(config, dataflow, *shape, seed=12)
    place = example.loads[memory]
    rows, columns = place.rows, place.columns
    short = np.random.default_rng(12).integers(-8, 8, (rows, columns), np.int8)
    put(example.dram, place.dram, short, 64)
    expected = example.sums(example.run(example.execute, example.store))
    lies = short.T if transpose else short
    halves = np.zeros((len(lies), 2 * -(-lies.shape[1] // 2)), np.uint8)
    halves[:, : lies.shape[1]] = lies.view(np.uint8) & 15
    put(example.dram, place.dram, halves[:, 1::2] * 16 + halves[:, ::2], 64)
    rows, columns = lies.shape
    example.loads[memory] = replace(
        place, packed=1, transpose=transpose, rows=rows, columns=columns
    )
    dram, result = example.outcome(example.execute, example.store)
    assert np.array_equal(example.sums(dram), expected)
    # On a bus of as many bytes as are turned at a time, both halves of a beat are read apart.
    apart = config.transpose_columns == config.bus_bytes
    sizes = [16 if each.packed and not (each.transpose and apart) else 8 for each in example.loads]
    beats = [each.rows * -(-each.columns // size)
             for each, size in zip(example.loads, sizes, strict=True)]  # fmt: skip
    assert result.counters["dram_read_bytes"] == 8 * sum(beats) + 32 * 6


def test_store_leaves_what_is_between_rows():
    example = Example(Config(), Dataflow.WS, 3, 4, 5, seed=6)
    example.dram[OUT : OUT + 512] = 0xEE
    dram = example.run(example.execute, example.store)
    assert np.array_equal(example.sums(dram), example.exact)
    assert all((dram[OUT + r * 128 + 20 : OUT + (r + 1) * 128] == 0xEE).all() for r in range(3))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
def test_store_rescales_by_row_then_requantises_by_column_seed_9(config):
    example = Example(config, Dataflow.WS, 5, 9, 7, seed=9)
    example.entries[:] = (1 << 15) + np.arange(64) * 97 | 19 << 16
    put(example.dram, SCALES, example.entries[None], 0)
    loads = (
        Load(memory=Memory.ROW_SCALE, dram=SCALES, rows=1, columns=20, base=2, block_stride=1),
        Load(memory=Memory.COLUMN_SCALE, dram=SCALES, rows=1, columns=28, base=1, block_stride=1),
    )
    store = replace(example.store, format=Format.INT8_ROW_COLUMN, row_scale=2, column_scale=1)
    actual = take(example.run(example.execute, store, load=loads), OUT, (5, 7), 128, "i1")
    scales = [decode_scale(int(entry)) for entry in example.entries]
    expected = [[requantise8(requantise32(int(example.exact[i, j]), *scales[i]), *scales[j])
                 for j in range(7)] for i in range(5)]  # fmt: skip
    assert actual.tolist() == expected
    assert np.unique(actual).size > 10


@pytest.mark.parametrize("scaled", [0, 1])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
def test_absmax_seed_7(config, scaled):
    example = Example(config, Dataflow.WS, 5, 9, 7, seed=7)
    load = Load(memory=Memory.ROW_SCALE, dram=SCALES, rows=1, columns=20, base=2, block_stride=1)
    common = dict(rows=5, columns=7, base=5, row_stride=1, block_stride=5,
                  scaled=scaled, row_scale=2, to_dram=1)  # fmt: skip
    dram = example.run(
        example.execute,
        Absmax(axis=Axis.ROW, dram=OUT, wait_execute=1, **common),
        Absmax(axis=Axis.COLUMN, dram=OUT + 128, **common),
        Absmax(axis=Axis.TENSOR, dram=OUT + 256, **common),
        load=(load,),
    )
    sizes = np.abs(example.exact)
    if scaled:
        scales = [decode_scale(int(entry)) for entry in example.entries[:5]]
        sizes = np.array([[abs(requantise32(int(v), *scale)) for v in row]
                          for row, scale in zip(example.exact, scales, strict=True)])  # fmt: skip
    found = dram[OUT : OUT + 384].view("<u4")
    assert found[:5].tolist() == sizes.max(axis=1).tolist()
    assert found[32:39].tolist() == sizes.max(axis=0).tolist()
    assert found[64] == sizes.max()
    rest = np.ones(96, bool)
    rest[:5] = rest[32:39] = rest[64] = False
    assert not found[rest].any()


def test_counters_seed_8():
    config = Config(rows=5, columns=8)  # 8-byte bus
    example = Example(config, Dataflow.OS, 5, 9, 7, seed=8)
    program = [*example.loads, example.execute, example.store, Halt()]
    _, result = execute(config, program, example.dram)
    left, right, scales, code = 9 * 8, 9 * 8, 24, 6 * 32
    assert result.backend == "functional"
    assert result.counters == {
        "instructions": 6,
        "macs": 5 * 9 * 7,
        "dram_read_bytes": left + right + scales + code,
        "dram_write_bytes": 5 * 32,
        "saturations": 0,
        "accumulate_saturations": 0,
    }


def test_the_machine_stops_at_an_illegal_instruction():
    code = encode(Halt())
    dram = np.zeros(1 << 10, np.uint8)
    load = encode(Load(memory=Memory.INPUT, dram=0, rows=1, columns=4))
    result = run(Config(), load + bytes(32) + code, dram, program_address=512)
    assert (result.error, result.error_instruction) == (ErrorCode.ILLEGAL_INSTRUCTION, 1)
    assert result.counters["instructions"] == 1


def test_the_machine_stops_at_the_end_of_the_program():
    _, result = execute(Config(), [Load(memory=Memory.INPUT, dram=0, rows=1, columns=4)] * 2)
    assert (result.error, result.error_instruction) == (ErrorCode.PROGRAM_END, 2)
    _, result = execute(Config(), [])
    assert (result.error, result.error_instruction) == (ErrorCode.PROGRAM_END, 0)


def test_nothing_behind_the_halt_runs():
    _, result = execute(Config(), [Halt(), Store(format=Format.INT32, dram=1, rows=1, columns=1,
                                                 row_stride=0, block_stride=0)])  # fmt: skip
    assert result.error is ErrorCode.NONE and result.counters["instructions"] == 1


LOAD = Load(memory=Memory.INPUT, dram=0, rows=1, columns=4)
RIGHT_LOAD = Load(memory=Memory.WEIGHT, dram=0, rows=4, columns=4, row_stride=1, block_stride=1)
EXECUTE = Execute(
    dataflow=Dataflow.WS, rows=1, reduction=4, columns=4, left_row_stride=1, left_block_stride=1,
    right_row_stride=1, right_block_stride=1, out_row_stride=1, out_block_stride=1,
)  # fmt: skip
STORE = Store(format=Format.INT32, dram=0, rows=1, columns=4, row_stride=1, block_stride=1)
READY = [LOAD, replace(RIGHT_LOAD, signal_execute=1),
         replace(EXECUTE, wait_load=1, signal_store=1)]  # fmt: skip
WRONG = {
    "unaligned address": ([replace(LOAD, dram=4)],
                          "has DRAM address 0x4, no multiple of the bus width of 8 bytes"),
    "unaligned pitch": ([replace(LOAD, rows=2, row_stride=1, pitch=12)],
                        "has DRAM pitch 0xc, no multiple of the bus width of 8 bytes"),
    "past DRAM": ([replace(LOAD, dram=0xFFF8, columns=9, block_stride=1)],
                  "reaches DRAM byte 0x10007, but there are 0x10000"),
    "past the input memory": ([replace(LOAD, base=128)],
                              "reaches word 128 of the 128 of the input memory"),
    "past the weight memory": ([replace(RIGHT_LOAD, base=125)],
                               "reaches word 128 of the 128 of the weight memory"),
    "past the row scales": ([replace(LOAD, memory=Memory.ROW_SCALE, base=128)],
                            "reaches word 128 of the 128 of the row-scale memory"),
    "a fraction of a scale": ([replace(LOAD, memory=Memory.COLUMN_SCALE, columns=6)],
                              "loads a fraction of a scale"),
    "transposed scales": ([replace(LOAD, memory=Memory.ROW_SCALE, transpose=1)],
                          "transposes into the row-scale memory"),
    "packed scales": ([replace(LOAD, memory=Memory.COLUMN_SCALE, packed=1)],
                      "unpacks into the column-scale memory"),
    "past a memory by a transposed load": (
        [replace(LOAD, rows=5, columns=3, transpose=1, base=123, row_stride=2, block_stride=1)],
        "reaches word 128 of the 128 of the input memory"),
    "over the program": ([*READY, replace(STORE, wait_execute=1, dram=0x7FF8, columns=3)],
                         "writes DRAM byte 0x8000, where the program lies"),
    "words twice": ([replace(LOAD, columns=8)], "writes a word of the input memory twice"),
    "results twice": ([LOAD, replace(RIGHT_LOAD, columns=8, row_stride=2),
                       replace(EXECUTE, columns=8, right_row_stride=2, out_block_stride=0)],
                      "writes a word of the output memory twice"),
    "results in one bank": ([LOAD, RIGHT_LOAD, replace(EXECUTE, rows=2, left_row_stride=0,
                                                       out_row_stride=6)],
                            "has out_row_stride 6, which must be odd: rows that follow one another "
                            "must lie in different banks"),
    "left unwritten": ([RIGHT_LOAD, EXECUTE],
                       "reads word 0 of the input memory, which nothing has written"),
    "right unwritten": ([LOAD, replace(RIGHT_LOAD, rows=3), EXECUTE],
                        "reads word 3 of the weight memory, which nothing has written"),
    "sums unwritten": ([LOAD, RIGHT_LOAD, replace(EXECUTE, accumulate=1)],
                       "reads word 0 of the output memory, which nothing has written"),
    "scales unwritten": ([LOAD, RIGHT_LOAD, replace(EXECUTE, scale=1, scale_base=7)],
                         "reads word 7 of the accumulate-scale memory, which nothing has written"),
    "store unwritten": ([*READY, replace(STORE, base=1)],
                        "reads word 1 of the output memory, which nothing has written"),
    "row scales unwritten": ([*READY, replace(STORE, format=Format.INT8_ROW)],
                             "reads word 0 of the row-scale memory, which nothing has written"),
    "column scales in part": ([*READY, replace(LOAD, memory=Memory.COLUMN_SCALE, columns=12),
                               replace(STORE, format=Format.INT8_COLUMN)],
                              "reads word 0 of the column-scale memory, which nothing has written"),
    "a token too many": ([replace(LOAD, signal_execute=1), replace(EXECUTE, wait_load=2)],
                         "waits for 2 tokens of LOAD, but only 1 were sent before it: a deadlock, "
                         "EXECUTE waits for a token of LOAD that no instruction sends"),
    "a token too late": ([LOAD, replace(EXECUTE, wait_load=1), replace(LOAD, signal_execute=1)],
                         "waits for 1 tokens of LOAD, but only 0 were sent before it: "
                         "instruction 2 sends EXECUTE the last of them"),
    "a token of its own": ([replace(LOAD, wait_load=1)],
                           "waits for LOAD, from which it cannot receive tokens"),
    "a token to itself": ([replace(LOAD, signal_load=1)],
                          "signals LOAD, to which it cannot send tokens"),
    "a halt that waits": ([replace(LOAD, signal_execute=1), Halt(wait_load=1)],
                          "waits for LOAD, from which it cannot receive tokens"),
    "a halt that signals": ([Halt(signal_load=1)], "signals LOAD, to which it cannot send tokens"),
    "a token left": ([replace(LOAD, signal_store=1), Halt()],
                     "leaves 1 tokens of LOAD to STORE untaken"),
    "tokens overflow": ([replace(LOAD, signal_execute=1)] * 4,
                        "sends EXECUTE token 4 that is not taken, but the counter ends at 3"),
}  # fmt: skip


@pytest.mark.parametrize("program,message", WRONG.values(), ids=WRONG)
def test_programs_without_a_defined_outcome_are_refused(program, message):
    with pytest.raises(ProgramError) as error:
        execute(Config(token_bits=2), [*program, Halt()])
    index = error.value.index
    mnemonic = [*program, Halt()][index].mnemonic()
    assert str(error.value).startswith(f"instruction {index} ({mnemonic}")
    assert str(error.value).endswith(message)


def test_column_scales_may_be_loaded_in_part():
    load = replace(LOAD, memory=Memory.COLUMN_SCALE, columns=12, signal_store=1)
    store = replace(
        STORE, format=Format.INT8_COLUMN, columns=3, dram=64, wait_load=1, wait_execute=1
    )
    _, result = execute(Config(), [*READY, load, store, Halt()])
    assert result.error is ErrorCode.NONE


def test_address_bits_limit_dram():
    config = Config(address_bits=16)
    dram = np.zeros(1 << 17, np.uint8)
    code = encode(replace(LOAD, dram=1 << 16)) + encode(Halt())
    with pytest.raises(ProgramError, match="reaches DRAM byte 0x10007"):
        run(config, code, dram, program_address=0)
