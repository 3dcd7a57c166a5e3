"""The command line on program files that are none, and on runs that cannot be."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from pathlib import Path

import pytest

from sw.program_file import FORMAT, MAGIC

from .command import snapshot


def foreign() -> dict[str, tuple[bytes, str]]:
    """Return files that hold no programs, and what is said of each."""
    whole = Path("g.prog").read_bytes()
    changed = bytearray(whole)
    changed[200] ^= 1
    empty = zlib.compress(json.dumps({"isa": 2, "programs": []}).encode())
    body = MAGIC + struct.pack("<IQQ", FORMAT, len(empty), 0) + empty
    return {
        "empty": (b"", f"is not a program file: it does not start with {MAGIC!r}"),
        "foreign": (b"\x7fELF\x02\x01", f"is not a program file: it does not start with {MAGIC!r}"),
        "short": (whole[:20], "is truncated: 20 bytes are no whole header"),
        "cut": (whole[:-1], f"is truncated: it has {len(whole) - 1} of {len(whole)} bytes"),
        "long": (whole + b"\0", "is damaged: its checksum does not match its contents"),
        "changed": (bytes(changed), "is damaged: its checksum does not match its contents"),
        "hollow": (body + hashlib.sha256(body).digest(), "holds no program"),
    }


@pytest.mark.parametrize("name", ["empty", "foreign", "short", "cut", "long", "changed"])
def test_files_that_hold_no_programs(refused, files, name):
    data, message = foreign()[name]
    Path(name).write_bytes(data)
    for program in ("run", "disassemble"):
        refused((program, name), f"{name} {message}")


def test_files_that_are_not_there(refused):
    refused(("run", "none.prog"), "cannot read none.prog: No such file or directory")
    refused(("disassemble", "."), "cannot read .: Is a directory")
    refused(
        ("assemble", "none.txt", "-o", "x.prog"),
        "none.txt: cannot be read: No such file or directory",
    )


def test_a_file_of_no_programs(refused, files):
    data, message = foreign()["hollow"]
    Path("hollow").write_bytes(data)
    refused(("run", "hollow"), f"hollow {message}")


def test_texts_that_are_no_programs(refused, files):
    text = Path("g.txt").read_text()
    Path("bare.txt").write_text("halt\n")
    Path("wrong.txt").write_text(text.replace("halt\n", "hult\n"))
    refused(
        ("assemble", "bare.txt", "-o", "x.prog"),
        "bare.txt: the text must start with a line '#!program' or '#!step'",
    )
    line = len(text.splitlines())
    refused(
        ("assemble", "wrong.txt", "-o", "x.prog"),
        f"wrong.txt: line {line}: unknown instruction 'hult'; "
        "accepted: load, execute, store, absmax, halt",
    )
    refused(("assemble", "g.prog", "-o", "x.prog"), "g.prog: is not text")


def edited(command, source: str, *changes: tuple[str, str]) -> str:
    """Return a program file assembled from a text in which something is replaced."""
    text = Path(source).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("edited.txt").write_text(text)
    assert command("assemble", "edited.txt", "-o", "edited.prog").code == 0
    return "edited.prog"


@pytest.mark.parametrize(
    "source,change,message",
    [
        ("g", ('"kind": "gemm"', '"kind": "song"'),
         "holds a job of kind 'song'; accepted: gemm, lora"),
        ("g", ('"name": "A"', '"name": "Z"'), "does not describe a whole job: 'A'"),
        ("l", ('"r": 2', '"r": 0'), "does not describe a whole job: r must be"),
        ("l", ('"r": 2', '"s": 2'), "does not describe a whole job: 'r'"),
        ("l", ('"n": 4', '"n": 5'),
         "does not describe a whole job: input 'X.row' must be 4x4, not 5x4"),
    ],
)  # fmt: skip
def test_files_that_describe_no_job(command, files, source, change, message):
    name = edited(command, f"{source}.txt", change)
    before = snapshot()
    done = command("run", name)
    assert (done.code, done.out, snapshot()) == (2, "", before)
    assert done.err.startswith(f"cdmqta: {name} {message}") and done.err.count("\n") == 1


def test_two_jobs_in_a_file(command, refused, files):
    text = Path("g.txt").read_text()
    Path("gg.txt").write_text(text + text)
    refused(("run", edited(command, "gg.txt")), "edited.prog holds 2 programs, but its job is one")


def test_a_program_whose_outcome_is_undefined(command, files):
    name = edited(command, "g.txt", ("signal_store=1 ", ""))
    done = command("run", name)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"cdmqta: edited\.prog: instruction \d+ \(.*\) .+\n", done.err), done.err


def test_a_program_without_products_runs(command, files):
    products = re.search(r'"products": (\[.*?\])', Path("g.txt").read_text())[1]
    assert command("run", edited(command, "g.txt", (products, "[]"))).code == 0


@pytest.mark.parametrize(
    "options,message",
    [
        (["--set", "rows=8"], "g.prog is compiled for rows = 4, not 8; "),
        (["--preset", "paper"], "g.prog is compiled for rows = 4, not 64; "),
        (["--config", "deep.toml"], "g.prog is compiled for queue_depth = 4, not 8; "),
    ],
)
def test_runs_on_other_hardware(refused, files, options, message):
    Path("deep.toml").write_text("queue_depth = 8\n")
    refused(
        ("run", "g.prog", *options),
        message + "a run may change clock_mhz, dram_latency, dram_gbps",
    )


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("g.prog", "--trace", "t.json"),
         "--trace needs --backend timing or rtl, not functional"),
        (("g.prog", "--waves", "w.vcd"), "--waves needs --backend rtl, not functional"),
        (("g.prog", "--backend", "rtl", "--waves", "w.fst"),
         "--waves must name a .vcd file, not 'w.fst'"),
    ],
)  # fmt: skip
def test_what_cannot_be_recorded(refused, files, arguments, message):
    refused(("run", *arguments), message)
