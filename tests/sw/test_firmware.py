"""The C header says what `hw.isa` says, to a C compiler; `cdmqta firmware` writes it."""

from __future__ import annotations

import ctypes
import json
import random
import re
import shutil
import tomllib
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
)
from sw.firmware.header import header, source
from sw.firmware.text import WIDTH, comment

from .firmware_library import GCC, STRICT, compiled, loaded, written

pytestmark = pytest.mark.skipif(GCC is None, reason="gcc is not there to compile firmware with")

CONFIG = Config.preset("small").replace(rows=12, columns=20, address_bits=40)
PAGE = Path(__file__).parents[2] / "docs" / "firmware.md"
CPP = ("-std=c++11", "-x", "c++", *STRICT[1:])


@pytest.fixture(scope="module", params=[CONFIG, None], ids=["12x20", "any"])
def folder(request, tmp_path_factory) -> Path:
    """Header and runtime for an accelerator, and for any."""
    return written(tmp_path_factory.mktemp("firmware"), request.param)


@pytest.fixture(scope="module")
def one_folder(tmp_path_factory) -> Path:
    """Header and runtime for an accelerator."""
    return written(tmp_path_factory.mktemp("firmware"), CONFIG)


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
        loaded(one_folder, f"example{at}", text)


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
    found = loaded(one_folder, "numbers", text)
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
    found = loaded(one_folder, "encoders", functions)

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


def test_an_installed_package_has_the_files():
    """Files that are no modules are installed only where they are declared."""
    root = Path(__file__).parents[2]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "sw.firmware" in declared["packages"]
    folder = root / "sw" / "firmware"
    patterns = declared["package-data"]["sw.firmware"]
    found = {path.name for pattern in patterns for path in folder.glob(pattern)}
    assert found == {"cdmqta.h", "cdmqta.c"}
