"""The C header says what `hw.isa` says, and the runtime keeps its word; it is compiled for it."""

from __future__ import annotations

import ctypes
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.isa.config import SIMULATED, Config
from hw.isa.encoding import CLASSES, encode
from hw.isa.instructions import INSTRUCTION_BYTES, Engine, Field, Instruction, fields_of
from hw.isa.registers import (
    COUNTERS,
    IDENTITY,
    VERSION,
    Control,
    ErrorCode,
    Register,
    Status,
    counter_address,
)
from sw.firmware.header import header, source
from sw.firmware.text import WIDTH, comment

from .firmware_library import GCC, RESULTS, STRICT, Program, Runtime, compiled, shared_library

pytestmark = pytest.mark.skipif(GCC is None, reason="gcc is not there to compile firmware with")

CONFIG = Config.preset("small").replace(rows=12, columns=20, address_bits=40)
PAGE = Path(__file__).parents[2] / "docs" / "firmware.md"
CPP = ("-std=c++11", "-x", "c++", *STRICT[1:])


def write(folder: Path, config: Config | None) -> Path:
    """Write header and runtime, and return the folder."""
    (folder / "cdmqta.h").write_text(header(config))
    (folder / "cdmqta.c").write_text(source())
    return folder


@pytest.fixture(scope="module", params=[CONFIG, None], ids=["12x20", "any"])
def folder(request, tmp_path_factory) -> Path:
    """Header and runtime for an accelerator, and for any."""
    return write(tmp_path_factory.mktemp("firmware"), request.param)


@pytest.fixture(scope="module")
def one_folder(tmp_path_factory) -> Path:
    """Header and runtime for an accelerator."""
    return write(tmp_path_factory.mktemp("firmware"), CONFIG)


def library(folder: Path, name: str, text: str) -> ctypes.CDLL:
    """Return C code that uses the header, compiled together with the runtime and loaded."""
    file = folder / f"{name}.c"
    file.write_text(f'#include "cdmqta.h"\n{text}')
    return ctypes.CDLL(str(shared_library(folder, file, folder / "cdmqta.c")))


@pytest.mark.parametrize("optimise", ["-O0", "-O2", "-Os"])
def test_compiles_without_a_warning(folder, optimise):
    compiled([*STRICT, optimise, "-c", folder / "cdmqta.c", "-o", folder / "cdmqta.o"])


def test_compiles_as_cpp(folder):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not there")
    compiled([*CPP, "-c", folder / "cdmqta.c", "-o", folder / "cpp.o"], "g++")


def test_needs_no_library(folder):
    """Nothing of libc is called: the runtime links without it."""
    (folder / "bare.c").write_text("void _start(void) { for (;;) { } }\n")
    sources = (folder / "bare.c", folder / "cdmqta.c")
    compiled([*STRICT, "-O2", "-nostdlib", "-static", *sources, "-o", folder / "bare"])


def test_the_examples_of_the_page_compile(one_folder):
    examples = re.findall(r"```c\n(.*?)```", PAGE.read_text(), re.S)
    assert examples
    for at, text in enumerate(examples):
        library(one_folder, f"example{at}", text)


def test_every_number_is_that_of_the_tables(one_folder):
    """Constants as a C compiler sees them."""
    expected = {"IDENTITY": IDENTITY, "VERSION": VERSION, "INSTRUCTION_BYTES": INSTRUCTION_BYTES}
    for enum, prefix in ((Register, "REGISTER"), (Control, "CONTROL"), (Status, "STATUS")):
        expected |= {f"{prefix}_{member.name}": int(member) for member in enum}
    expected |= {f"ERROR_{error.name}": int(error) for error in ErrorCode}
    expected |= {f"COUNTER_{each.name.upper()}": at for at, each in enumerate(COUNTERS)}
    expected["COUNTERS"] = len(COUNTERS)
    for cls in CLASSES.values():
        name = cls.mnemonic().upper()
        expected[f"OPCODE_{name}"] = int(cls.opcode)
        for item in fields_of(cls):
            expected[f"{name}_{item.name.upper()}_OFFSET"] = item.offset
            expected[f"{name}_{item.name.upper()}_BITS"] = item.bits
            for member in item.enum or ():
                expected[f"{item.enum.__name__.upper()}_{member.name}"] = int(member)
    for key, value in CONFIG.to_mapping().items():
        if key not in SIMULATED:
            expected[f"CONFIG_{key.upper()}"] = value
    expected |= {f"CONFIG_{m.upper()}_BYTES": getattr(CONFIG, f"{m}_bytes")
                 for m in ("input", "weight", "output")}  # fmt: skip
    expected |= {
        f"WAITING_{engine.name}_FOR_{peer.name}": 1 << 4 * engine + peer
        for engine in Engine for peer in Engine if engine is not peer
    }  # fmt: skip
    names = ", ".join(f"CDMQTA_{name}" for name in expected)
    text = f"const uint64_t numbers[] = {{ {names} }};\n"
    text += "const char digest[] = CDMQTA_CONFIG_DIGEST;\n"
    found = library(one_folder, "numbers", text)
    numbers = (ctypes.c_uint64 * len(expected)).in_dll(found, "numbers")
    assert dict(zip(expected, numbers, strict=True)) == expected
    digest = CONFIG.digest().encode()
    assert (ctypes.c_char * (len(digest) + 1)).in_dll(found, "digest").value == digest


def test_a_header_for_any_has_no_sizes():
    assert "CDMQTA_CONFIG_" not in header()
    assert len(header(CONFIG)) > len(header())


def test_every_counter_comes_with_its_meaning():
    text = " ".join(header().split())
    for counter in COUNTERS:
        assert f"/* {counter.doc} */ CDMQTA_COUNTER_{counter.name.upper()} =" in text


def test_lines_fit():
    assert max(map(len, header(CONFIG).splitlines())) <= WIDTH


def test_a_comment_cannot_end_early():
    with pytest.raises(ValueError, match="cannot hold"):
        comment("a */ b")


# ---- Encoders


@pytest.fixture(scope="module")
def encoders(one_folder) -> dict[type[Instruction], Callable[[dict[str, int]], bytes | None]]:
    """Return functions that encode with the header: fields by name to bytes, or None."""
    functions = ""
    for cls in CLASSES.values():
        name = cls.mnemonic()
        sets = "".join(
            f"    fields.{item.name} = ({_type(item)})values[{at}];\n"
            for at, item in enumerate(fields_of(cls))
        )
        functions += (
            f"int encode_{name}(const uint64_t *values, uint8_t *word)\n{{\n"
            f"    struct cdmqta_{name} fields;\n{sets}"
            f"    return cdmqta_encode_{name}(&fields, word);\n}}\n"
        )
    found = library(one_folder, "encoders", functions)

    def encoder(cls: type[Instruction]) -> Callable[[dict[str, int]], bytes | None]:
        function, fields = getattr(found, f"encode_{cls.mnemonic()}"), fields_of(cls)

        def call(values: dict[str, int]) -> bytes | None:
            given = (ctypes.c_uint64 * len(fields))(*(values[item.name] for item in fields))
            word = (ctypes.c_uint8 * INSTRUCTION_BYTES)(*[0xA5] * INSTRUCTION_BYTES)
            encoded = function(given, word)
            assert encoded or bytes(word) == b"\xa5" * INSTRUCTION_BYTES, "left as it was"
            return bytes(word) if encoded else None

        return call

    return {cls: encoder(cls) for cls in CLASSES.values()}


def _type(item: Field) -> str:
    if item.enum:
        return f"enum cdmqta_{item.enum.__name__.lower()}"
    return f"uint{_room(item)}_t"


def _room(item: Field) -> int:
    return next(bits for bits in (8, 16, 32, 64) if bits >= item.bits)


def extremes(item: Field) -> tuple[int, int]:
    """Return the least and the greatest value of a field."""
    if item.enum:
        return int(min(item.enum)), int(max(item.enum))
    return item.low, (1 << item.bits) - 1


def expected_word(cls: type[Instruction], values: dict[str, int]) -> bytes:
    typed = {item.name: item.enum(values[item.name]) if item.enum else values[item.name]
             for item in fields_of(cls)}  # fmt: skip
    return encode(cls(**typed))


CLASS = pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda cls: cls.mnemonic())


@CLASS
def test_encoders_agree_byte_for_byte(encoders, cls):
    """All fields least, all greatest, each one alone at the other end, and at random."""
    rng, fields = random.Random(cls.mnemonic()), fields_of(cls)
    for end in (0, 1):
        base = {item.name: extremes(item)[end] for item in fields}
        cases = [base] + [base | {item.name: extremes(item)[1 - end]} for item in fields]
        for values in cases:
            assert encoders[cls](values) == expected_word(cls, values), values
    for _ in range(500):
        values = {item.name: rng.randint(*extremes(item)) for item in fields}
        assert encoders[cls](values) == expected_word(cls, values), values


@CLASS
def test_encoders_refuse_what_has_no_encoding(encoders, cls):
    base = {item.name: extremes(item)[0] for item in fields_of(cls)}
    assert encoders[cls](base) is not None
    for item in fields_of(cls):
        low, high = extremes(item)
        wrong = [low - 1] if low else []
        if item.enum or item.bits < _room(item):
            wrong.append(high + 1)
        for value in wrong:
            assert encoders[cls](base | {item.name: value}) is None, (item.name, value)


# ---- Runtime, on registers that are a dict


class Registers:
    """Registers as the accelerator has them while it does nothing, and a log of what is done."""

    def __init__(self) -> None:
        self.values = {int(Register.IDENTITY): IDENTITY, int(Register.VERSION): VERSION}
        self.log: list[str] = []
        self.before_read: Callable[[int], None] = lambda address: None
        self.waits = iter(())

    def read32(self, address: int) -> int:
        self.before_read(address)
        return self.values.get(address, 0)

    def write32(self, address: int, value: int) -> None:
        name = Register(address).name
        self.log.append(f"{name} {value:#x}")
        width = {"PROGRAM_HIGH": 16, "PROGRAM_LENGTH": 24}.get(name, 32)
        self.values[address] = value & (1 << width) - 1

    def barrier(self) -> None:
        self.log.append("barrier")

    def wait(self) -> bool:
        self.log.append("wait")
        answer, self.values[Register.STATUS] = next(self.waits)
        return answer


@pytest.fixture
def registers() -> Registers:
    return Registers()


@pytest.fixture
def runtime(folder, registers) -> Runtime:
    return Runtime(shared_library(folder, folder / "cdmqta.c"), registers)


def test_init_tells_what_is_not_there(runtime, registers):
    assert runtime.result("init") == "OK"
    registers.values[Register.VERSION] = VERSION + 1
    assert runtime.result("init") == "WRONG_VERSION"
    registers.values[Register.IDENTITY] = 0xFFFFFFFF
    assert runtime.result("init") == "NO_DEVICE"


def test_a_program_starts_when_all_is_in_place(runtime, registers):
    """Registers, then the old interrupt, then memory; the start comes last."""
    program = Program(0x12_3456_7880, 5, 6, 7)
    assert runtime.result("start", ctypes.byref(program)) == "OK"
    assert registers.log == [
        "PROGRAM_LOW 0x34567880", "PROGRAM_HIGH 0x12", "PROGRAM_LENGTH 0x5", "WATCHDOG 0x6",
        "SEED 0x7", "INTERRUPT 0x1", "barrier", "CONTROL 0x3",
    ]  # fmt: skip
    runtime.poll(True)
    assert runtime.result("start", ctypes.byref(program)) == "OK"
    assert registers.log[-1] == "CONTROL 0x1", "no interrupt for one who polls"


@pytest.mark.parametrize(
    "status,result",
    [
        (Status.BUSY, "BUSY"),
        (Status.RESETTING, "BUSY"),
        (Status.ERROR | ErrorCode.READ_TIMEOUT << 8, "NEEDS_RESET"),
    ],
)
def test_no_start_where_it_would_not_be_taken(runtime, registers, status, result):
    registers.values[Register.STATUS] = int(status)
    assert runtime.result("start", ctypes.byref(Program(0, 1))) == result
    assert registers.log == []


@pytest.mark.parametrize("address,length", [(0, 0), (0, 1 << 24), (1 << 48, 1), (1 << 63, 1)])
def test_a_program_that_does_not_fit_the_registers_is_refused(runtime, registers, address, length):
    assert runtime.result("run", ctypes.byref(Program(address, length))) == "BAD_PROGRAM"
    assert not any(line.startswith("CONTROL") for line in registers.log)


@pytest.mark.parametrize("address", [8, 17, 1 << 40])
def test_a_header_with_sizes_checks_the_address(one_folder, registers, address):
    runtime = Runtime(shared_library(one_folder, one_folder / "cdmqta.c"), registers)
    assert runtime.result("run", ctypes.byref(Program(address, 1))) == "BAD_PROGRAM"
    assert registers.log == []


def test_the_hook_waits_as_often_as_it_returns_early(runtime, registers):
    registers.waits = iter([(True, Status.BUSY), (True, Status.BUSY), (True, Status.DONE)])
    registers.values[Register.STATUS] = Status.BUSY
    assert runtime.result("wait") == "OK"
    assert registers.log == ["wait", "wait", "wait", "barrier"]


def test_a_wait_for_nothing_ends(runtime, registers):
    assert runtime.result("wait") == "IDLE"
    assert registers.log == ["barrier"]


def test_a_wait_is_given_up(runtime, registers):
    registers.waits = iter([(True, Status.BUSY), (False, Status.BUSY)])
    registers.values[Register.STATUS] = Status.BUSY
    assert runtime.result("wait") == "GAVE_UP"
    assert registers.log == ["wait", "wait"]


def test_a_reset_is_waited_for(runtime, registers):
    reads = []

    def resetting(address: int) -> None:
        reads.append(address)
        registers.values[Register.STATUS] = Status.RESETTING if len(reads) < 4 else 0

    registers.before_read = resetting
    assert runtime.result("reset", 3) == "GAVE_UP"
    assert (registers.log, reads) == (["CONTROL 0x4"], [Register.STATUS] * 3)
    reads.clear()
    assert runtime.result("reset", 0) == "OK"
    assert reads == [Register.STATUS] * 4


def test_a_counter_is_read_as_it_was_at_one_time(runtime, registers):
    """Its low word overflows at each place between the reads of its two words."""
    address = counter_address("macs")
    at = next(index for index, each in enumerate(COUNTERS) if each.name == "macs")
    for ahead in range(6):
        value = start = (7 << 32) - ahead

        def grow(address_read: int) -> None:
            nonlocal value
            value += 1
            registers.values |= {address: value & 0xFFFFFFFF, address + 4: value >> 32}

        registers.before_read = grow
        found = runtime.call("read_counter", at)
        assert start < found <= value, ahead
        assert value - start <= 5, "high, low, high, and once more at most"


def test_state_after_an_error(runtime, registers):
    status = Status.ERROR | ErrorCode.TOKEN_DEADLOCK << 8
    registers.values |= {Register.STATUS: status, Register.ERROR_INSTRUCTION: 12}
    registers.values[Register.WAITING] = 0x210
    assert runtime.result("wait") == "STOPPED"
    assert runtime.call("status") == status
    assert runtime.call("last_error") == ErrorCode.TOKEN_DEADLOCK
    assert runtime.call("error_instruction") == 12
    assert runtime.call("waiting") == 0x210


def test_names(runtime):
    assert [runtime.name("counter", at) for at in range(len(COUNTERS))] == [
        counter.name for counter in COUNTERS
    ]
    assert {error: runtime.name("error", error) for error in ErrorCode} == {
        error: error.name for error in ErrorCode
    }
    meanings = [runtime.name("result", at) for at in range(len(RESULTS))]
    assert len(set(meanings)) == len(RESULTS) and meanings[0] == "done"
    for kind, beyond in (("counter", len(COUNTERS)), ("result", len(RESULTS)), ("error", 200)):
        assert runtime.name(kind, beyond) == "unknown"
        assert runtime.name(kind, -1) == "unknown"


def test_registers_in_memory(one_folder):
    """Without hooks, the context is the address of the registers."""
    text = """
    uint64_t cycles(void *registers)
    {
        const struct cdmqta_device device = { .context = registers };

        cdmqta_write32(&device, CDMQTA_REGISTER_SEED, 99);
        if (cdmqta_init(&device) != CDMQTA_RESULT_OK)
            return 0;
        return cdmqta_read_counter(&device, CDMQTA_COUNTER_CYCLES);
    }
    """
    memory = (ctypes.c_uint32 * 128)()
    memory[Register.IDENTITY // 4], memory[Register.VERSION // 4] = IDENTITY, VERSION
    at = counter_address("cycles") // 4
    memory[at], memory[at + 1] = 5, 6
    function = library(one_folder, "plain", text).cycles
    function.restype = ctypes.c_uint64
    assert function(memory) == 6 << 32 | 5
    assert memory[Register.SEED // 4] == 99


# ---- Command


def test_the_command_writes_two_files(command):
    done = command("firmware", "-o", "out", "--set", "rows=12", "--json", "f.json")
    config = Config.preset("paper").replace(rows=12)
    assert (done.code, done.err) == (0, "")
    assert Path("out/cdmqta.h").read_text() == header(config)
    assert Path("out/cdmqta.c").read_text() == source()
    size = len(header(config).encode())
    assert done.out.splitlines()[0] == f"out/cdmqta.h: {size:,} bytes"
    assert json.loads(Path("f.json").read_text()) == {
        "files": ["out/cdmqta.h", "out/cdmqta.c"],
        "digest": config.digest(),
    }


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((), "Missing option '-o' / '--output'."),
        (("-o", "a.file"), "--output: cannot make a.file: File exists"),
        (("-o", "a.file/x"), "--output: cannot make a.file/x: Not a directory"),
        (("-o", "full"), "cannot write full/cdmqta.c: Is a directory"),
        (
            ("-o", "full", "--json", "full/cdmqta.h"),
            "output cdmqta.h full/cdmqta.h and --json full/cdmqta.h are one file",
        ),
        (
            ("-o", "x", "--preset", "big"),
            "--preset: unknown preset 'big'; accepted: tiny, small, paper",
        ),
        (("-o", "x", "--set", "rows=1"), "--set rows=1: rows must be at least 2, not 1"),
    ],
)
def test_bad_input(refused, arguments, message):
    Path("a.file").touch()
    Path("full/cdmqta.c").mkdir(parents=True)
    refused(("firmware", *arguments), message)
