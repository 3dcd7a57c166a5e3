"""Scale entries as the memories keep them, and the limits of sums."""

from __future__ import annotations

import pytest

from hw.isa.numerics import (
    INT32_MAX,
    MAX_REDUCTION,
    SHIFT_MAX,
    SHIFT_MIN,
    decode_scale,
    dot,
    encode_scale,
    wrap32,
)

MULTIPLIERS = (0, 1, (1 << 15) - 1, 1 << 15, (1 << 16) - 1)


@pytest.mark.parametrize("m", MULTIPLIERS)
def test_entries_keep_every_shift_of_the_hardware(m):
    for s in range(SHIFT_MIN, SHIFT_MAX + 1):
        entry = encode_scale(m, s)
        assert 0 <= entry < 1 << 24
        assert decode_scale(entry) == (m, s)


@pytest.mark.parametrize("s,kept", [(64, 63), (1000, 63), (-17, -16), (-1000, -16)])
def test_other_shifts_are_clamped(s, kept):
    assert decode_scale(encode_scale(40000, s)) == (40000, kept)


@pytest.mark.parametrize("m", [-1, 1 << 16])
def test_multipliers_that_do_not_fit(m):
    with pytest.raises(ValueError, match=f"^a scale multiplier must be from 0 to 65535, not {m}$"):
        encode_scale(m, 0)


@pytest.mark.parametrize(
    "entry,expected",
    [
        (0, (0, 0)),
        (0x00_3F_8000, (0x8000, 63)),
        (0x00_F0_FFFF, (0xFFFF, -16)),
        (0x00_7F_0001, (1, 63)),
        (0x00_80_0001, (1, -16)),
        (0x00_EF_0001, (1, -16)),
        (0xAB_05_1234, (0x1234, 5)),
    ],
)
def test_any_entry_decodes_to_a_shift_the_hardware_has(entry, expected):
    """The shift is signed and clamped; the byte above it does not count."""
    assert decode_scale(entry) == expected


def test_the_longest_reduction_is_the_last_that_cannot_overflow():
    assert MAX_REDUCTION == 131_071
    assert MAX_REDUCTION * 128 * 128 <= INT32_MAX < (MAX_REDUCTION + 1) * 128 * 128


def test_sums_wrap():
    assert wrap32(INT32_MAX + 1) == -INT32_MAX - 1
    assert wrap32(-INT32_MAX - 2) == INT32_MAX


def test_vectors_of_unequal_length():
    with pytest.raises(ValueError, match="zip"):
        dot([1, 2], [3])
