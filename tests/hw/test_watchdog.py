"""The watchdog's count and its verdict."""

from __future__ import annotations

import pytest

from hw.isa.registers import ErrorCode
from hw.watchdog import Watchdog

from .bench import simulate

LIMIT = 10


def verdicts(limit: int, moves: list[int], **levels: int) -> list[int]:
    """Return the error of each cycle, where `moves` says in which something moves."""
    dut = Watchdog()
    found = []

    async def bench(ctx):
        for name, value in {"limit": limit, "running": 1, **levels}.items():
            ctx.set(getattr(dut, name), value)
        for move in moves:
            ctx.set(dut.moves, move)
            found.append(ctx.get(dut.error))
            await ctx.tick()

    simulate(dut, bench)
    return found


@pytest.mark.parametrize(
    "reads, writes, error",
    [
        (0, 0, ErrorCode.TOKEN_DEADLOCK),
        (0, 1, ErrorCode.WRITE_TIMEOUT),
        (1, 0, ErrorCode.READ_TIMEOUT),
        (1, 1, ErrorCode.READ_TIMEOUT),
    ],
)
def test_it_waits_for_as_many_quiet_cycles_as_it_may(reads, writes, error) -> None:
    found = verdicts(LIMIT, [0] * (LIMIT + 1), reads=reads, writes=writes)
    assert found == [0] * LIMIT + [error]


def test_whatever_moves_begins_the_count_again() -> None:
    moves = [0] * (LIMIT - 1) + [1]
    found = verdicts(LIMIT, moves * 3 + [0] * (LIMIT + 1))
    assert found == [0] * (4 * LIMIT) + [ErrorCode.TOKEN_DEADLOCK]


@pytest.mark.parametrize(
    "levels", [{"limit": 0}, {"running": 0}], ids=lambda each: next(iter(each))
)
def test_it_is_silent_without_a_limit_or_a_program(levels) -> None:
    options = {"limit": LIMIT, **levels}
    assert not any(verdicts(options.pop("limit"), [0] * 100, **options))
