"""Registers, status bits, error codes and counters: no two in one place."""

from __future__ import annotations

import re

import pytest

from hw.isa.instructions import Engine
from hw.isa.registers import (
    ACTIVITY,
    COUNTERS,
    IDENTITY,
    TRACE,
    VERSION,
    Control,
    ErrorCode,
    Register,
    Status,
    counter_address,
)


def test_registers_are_words_of_their_own():
    addresses = [int(register) for register in Register]
    assert all(address % 4 == 0 for address in addresses)
    assert addresses == sorted(set(addresses)), "an alias would hide behind an equal address"
    assert len(addresses) == len(Register.__members__)


def test_counters_come_after_all_other_registers():
    assert max(Register) is Register.COUNTERS
    assert Register.COUNTERS % 8 == 0


def test_addresses_do_not_move():
    """Drivers of other languages know them by number."""
    assert {register.name: int(register) for register in Register} == {
        "IDENTITY": 0x00, "VERSION": 0x04, "CONTROL": 0x08, "STATUS": 0x0C, "PROGRAM_LOW": 0x10,
        "PROGRAM_HIGH": 0x14, "PROGRAM_LENGTH": 0x18, "INTERRUPT": 0x1C,
        "ERROR_INSTRUCTION": 0x20, "WATCHDOG": 0x24, "WAITING": 0x28, "SEED": 0x2C,
        "COUNTERS": 0x40,
    }  # fmt: skip


def test_no_register_lies_among_the_counters():
    words = {counter_address(counter.name) + half for counter in COUNTERS for half in (0, 4)}
    assert len(words) == 2 * len(COUNTERS)
    assert words & {int(register) for register in Register} == {int(Register.COUNTERS)}


def test_every_wait_of_an_engine_for_a_peer_has_a_bit_and_a_counter():
    """Register.WAITING: bit 4 * engine + peer, 12 bits in all; EXECUTE and STORE are peers too."""
    bits = {4 * engine + peer for engine in Engine for peer in Engine}
    assert len(bits) == 9 and max(bits) < 12
    names = [counter.name for counter in COUNTERS]
    for engine in Engine:
        mine = engine.name.lower()
        peers = {peer.name.lower() for peer in Engine if peer is not engine}
        for reason in peers | {"token"}:
            assert f"{mine}_stalled_on_{reason}" in names
    stalls = [name for name in names if "_stalled_on_" in name]
    assert len(stalls) == 3 * 3 + 2 * 2, "tokens of each engine; DRAM and memory of load and store"


def test_the_table_of_counters():
    assert len(COUNTERS) == 25
    assert [counter.name for counter in COUNTERS[:10]] == [
        "cycles", "array_cycles", "instructions", "macs", "dram_read_bytes", "dram_write_bytes",
        "load_busy", "execute_busy", "store_busy", "array_fed",
    ]  # fmt: skip
    assert [counter.name for counter in COUNTERS[-2:]] == ["saturations", "accumulate_saturations"]


def test_flags_and_codes_keep_their_values():
    assert (Control.START, Control.INTERRUPT_ENABLE, Control.RESET) == (1, 2, 4)
    assert (Status.BUSY, Status.DONE, Status.ERROR, Status.RESETTING) == (1, 2, 4, 8)
    assert [code.name for code in ErrorCode] == [
        "NONE", "ILLEGAL_INSTRUCTION", "PROGRAM_END", "READ_RESPONSE", "WRITE_RESPONSE",
        "READ_TIMEOUT", "WRITE_TIMEOUT", "TOKEN_DEADLOCK",
    ]  # fmt: skip


def test_every_pulse_of_the_trace_is_of_its_own():
    assert len(set(TRACE)) == len(TRACE) == 7
    assert {engine for engine, _ in TRACE} == set(Engine)
    for engine in Engine:
        events = [event for of, event in TRACE if of is engine]
        assert events[0] == "start" and events[-1] == "done"


def test_activity_names_each_stall_and_each_half_once():
    assert len(set(ACTIVITY)) == len(ACTIVITY) == 23
    stalls = {name for name in ACTIVITY if "_stalled_on_" in name}
    assert stalls == {
        counter.name
        for counter in COUNTERS
        if "_stalled_on_" in counter.name and not counter.name.endswith("_token")
    }
    for name in set(ACTIVITY) - stalls - {"output_write"}:
        assert name[:-1] + str(1 - int(name[-1])) in ACTIVITY


def test_the_identity_spells_a_name():
    assert IDENTITY.to_bytes(4, "little") == b"CQTA"
    assert VERSION == 2


def test_counters_have_names_of_their_own_and_say_what_they_count():
    names = [counter.name for counter in COUNTERS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    assert all(counter.doc and not counter.doc.endswith(".") for counter in COUNTERS)


def test_counters_take_two_words_each():
    addresses = [counter_address(counter.name) for counter in COUNTERS]
    assert addresses == list(range(0x40, 0x40 + 8 * len(COUNTERS), 8))


def test_an_unknown_counter():
    accepted = ", ".join(counter.name for counter in COUNTERS)
    message = f"no counter 'dreams'; there are: {accepted}"
    with pytest.raises(KeyError, match=re.escape(message)):
        counter_address("dreams")


@pytest.mark.parametrize("flags", [Control, Status])
def test_flags_are_single_bits(flags):
    members = flags.__members__.values()
    assert len({int(member) for member in members}) == len(members)
    assert all(int(member).bit_count() == 1 for member in members)


def test_status_flags_stay_below_the_error_code():
    assert max(Status) < 1 << 8


def test_error_codes_fit_their_byte_and_none_is_zero():
    assert ErrorCode.NONE == 0
    assert [int(code) for code in ErrorCode] == list(range(len(ErrorCode.__members__)))
    assert max(ErrorCode) < 1 << 8
