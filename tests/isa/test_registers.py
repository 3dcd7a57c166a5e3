"""Registers, status bits, error codes and counters: no two in one place."""

from __future__ import annotations

import re

import pytest

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


def test_registers_are_words_of_their_own():
    addresses = [int(register) for register in Register]
    assert all(address % 4 == 0 for address in addresses)
    assert addresses == sorted(set(addresses)), "an alias would hide behind an equal address"
    assert len(addresses) == len(Register.__members__)


def test_counters_come_after_all_other_registers():
    assert max(Register) is Register.COUNTERS
    assert Register.COUNTERS % 8 == 0


def test_the_identity_spells_a_name():
    assert IDENTITY.to_bytes(4, "little") == b"CQTA"
    assert VERSION == 1


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
