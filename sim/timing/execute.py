"""The execute engine in time: `hw.execute`, from walk to accumulator, without array and operands.

Nothing the array does holds anything up, so what a wave starts is known when it is issued: its sums
meet their operation R + 5 cycles later and are written another C + 2 later (`docs/pipeline.md`; R
and C are rows and columns). Those on their way are bits in lines that move by one each cycle.
"""

from __future__ import annotations

from hw.isa.pipeline import RESCALE, meeting_delay

from .compiled import compiled
from .lines import put, shift, words_of
from .record import record
from .wires import NONE

__all__ = ["EXECUTE", "step"]

_LARGEST = 256
"""Rows or columns of the largest array, see `hw.isa.config`."""
_MEET_WORDS = words_of.py_func(meeting_delay(_LARGEST, 1))
_WRITE_WORDS = words_of.py_func(meeting_delay(_LARGEST, 1) + _LARGEST + RESCALE - 1)
# The longest queue of instructions is that of two rows and all columns, see `_inside_depth`.
_INSIDE_WORDS = words_of.py_func((2 * 2 + _LARGEST + 16) // 2 + 4)

_RUNNING = record(
    waves=1, swapped=1, os=1, macs=1, last_macs=1, end=1, signal_store=1, accumulate=1,
    left=1, left_stride=1, right=1, right_stride=1, out=1, out_stride=1, out_rows=1,
)  # fmt: skip
"""The fold that runs, if `waves`, those left with that of this cycle, is not 0. `swapped`: it is
WS and its tile has left `b`, so that the next may come. Of operands, `left` and `right` are the
bank, and the stride is 1 if each word lies in the other bank than the one before."""

_TILE = record(rows=1, reads=1, bank=1, stride=1, ready=1, early=1)
"""The next stationary tile: rows left to issue, and how many of them are read; whether all are
loaded and wait; whether its fold has left the head while the last row is still to come."""

_DRAIN = record(rows=1, address=1, stride=1, accumulate=1, end=1, signal_store=1)
"""Result rows of an OS fold that are still to be issued."""

_LINES = record(
    written=1, ends=1, at_0=1, at_1=1, old_0=1, old_1=1, written_bits=_WRITE_WORDS,
    end_bits=_WRITE_WORDS, store_bits=_WRITE_WORDS, at_0_bits=_MEET_WORDS, at_1_bits=_MEET_WORDS,
    old_0_bits=_MEET_WORDS, old_1_bits=_MEET_WORDS,
)  # fmt: skip
"""Operations on their way: bit 0 is what happens in this cycle. Lines of results that are written,
of those which end an instruction, and which then send a token to STORE; of operations in each half;
and of those that add to sums there. The numbers count the bits that are set: an empty line need
not move."""

_INSIDE = record(level=1, signals=_INSIDE_WORDS, scales=_INSIDE_WORDS, read=1, written=1)
"""Instructions in the engine, the oldest in bit 0: whether it signals to LOAD, and scales; and ends
of them and of those behind them, see `hw.execute.ExecuteEngine`."""

EXECUTE = record(
    next_fold=1, folds=1, drained_after=1,
    busy_left_0=1, busy_left_1=1, used_left_0=1, used_left_1=1,
    running=_RUNNING, tile=_TILE, drain=_DRAIN, lines=_LINES, inside=_INSIDE,
)  # fmt: skip
"""`next_fold` is the place in the table of the fold at the head, 0 if no `folds` are left to hand
over: the one state that names a place. `drained_after`: rows of sums on their way out of the
array. `busy_left` and `used_left`: cycles for which old sums of a half may still be read, and
sums written."""


@compiled(inline="always")
def step(s, h, w, code, folds):
    """Do a cycle; `folds` is the table of `folds.expand`."""
    _cycle(s, h, w, code[w.execute_index if w.execute_valid else 0], folds[s.next_fold])


@compiled
def _cycle(s, h, w, instruction, head):
    """Do a cycle with the instruction that may come and the fold at the head."""
    ends = w.execute_read_end = 1 if s.running.waves == 1 and s.running.end else 0
    _results(s, s.lines, h, w)
    takes = _feed(s, h, w, head)
    comes = _walk(s, h, w, instruction, takes)
    _tokens(s.inside, w, instruction, comes, ends)


@compiled
def _results(s, lines, h, w):
    """Say what is written and which halves are busy, and move the lines."""
    w.half_busy[0] = 1 if s.busy_left_0 else 0
    w.half_busy[1] = 1 if s.busy_left_1 else 0
    w.half_used[0] = 1 if s.used_left_0 else 0
    w.half_used[1] = 1 if s.used_left_1 else 0
    if s.busy_left_0:
        s.busy_left_0 -= 1
    if s.busy_left_1:
        s.busy_left_1 -= 1
    if s.used_left_0:
        s.used_left_0 -= 1
    if s.used_left_1:
        s.used_left_1 -= 1
    _meet(s, lines, h)
    w.written = w.execute_end = w.execute_to_store = 0
    if lines.written:
        words = words_of(h.meeting + h.columns + RESCALE - 1)
        w.written = shift(lines.written_bits, words)
        lines.written -= w.written
        if lines.ends:
            w.execute_end = shift(lines.end_bits, words)
            w.execute_to_store = shift(lines.store_bits, words)
            lines.ends -= w.execute_end


@compiled
def _meet(s, lines, h):
    """Move the lines of operations until they meet their sums, and start to count from there."""
    words, time = words_of(h.meeting), h.columns + RESCALE
    if lines.at_0 and shift(lines.at_0_bits, words):
        lines.at_0 -= 1
        s.used_left_0 = time
    if lines.at_1 and shift(lines.at_1_bits, words):
        lines.at_1 -= 1
        s.used_left_1 = time
    if lines.old_0 and shift(lines.old_0_bits, words):
        lines.old_0 -= 1
        s.busy_left_0 = time - 2
    if lines.old_1 and shift(lines.old_1_bits, words):
        lines.old_1 -= 1
        s.busy_left_1 = time - 2


@compiled
def _feed(s, h, w, head):
    """Do the feed's cycle; return whether it takes the fold at the head."""
    fold, tile = s.running, s.tile
    finishing = fold.waves == 1
    waits = s.folds > 0
    if waits and not head.os and not tile.rows and not tile.ready:
        if not fold.waves or fold.swapped:
            tile.rows, tile.reads = h.rows, head.right_rows
            tile.bank, tile.stride = head.right, head.right_stride
    if finishing and fold.os:
        s.drained_after = h.rows - 1
    takes = False
    if waits and (not fold.waves or finishing):
        if head.os:
            takes = head.waves > s.drained_after if h.drain_overlap else s.drained_after == 0
        else:
            takes = tile.ready or (0 < tile.rows <= 2 and not tile.early)
        if takes and not head.turn:
            takes = not _clashes(h, fold, s.drain, head)
    w.fold_taken = 1 if takes else 0
    if s.drained_after:
        s.drained_after -= 1
    _reads(h, w, fold, tile)
    _issue(s, h)
    _load(tile, takes and not head.os)
    _run(h, fold)
    if takes:
        _take(fold, head)
    return takes


@compiled
def _clashes(h, fold, drain, head):
    """Return whether the first operation of the fold at the head would meet another in a bank.

    It follows the last one of the fold before in the next cycle, at an address of the same parity.
    """
    if not fold.waves:
        issues, last = drain.rows, drain.address + (drain.rows - 1) * drain.stride
    elif fold.os:
        issues, last = fold.out_rows, fold.out + (fold.out_rows - 1) * fold.out_stride
    else:
        issues, last = 1, fold.out
        if (last ^ head.out) & h.output_depth:
            return False
    return issues == (head.waves if head.os else 1) and (last ^ head.out) & 1 == 0


@compiled
def _reads(h, w, fold, tile):
    """Say which banks are read, and what the array is fed."""
    w.left_read = w.right_read = NONE
    w.array_fed = w.macs = 0
    if tile.reads:
        w.right_read = tile.bank
    if fold.waves:
        w.array_fed, w.macs = 1, fold.last_macs if fold.waves == 1 else fold.macs
        w.left_read = fold.left
        if fold.os:
            w.right_read = fold.right
    w.fed = 1 if fold.waves or tile.reads else 0


@compiled
def _load(tile, taken):
    """Issue a row of the tile; `taken` says that its fold leaves the head."""
    if tile.reads:
        tile.reads -= 1
        tile.bank ^= tile.stride
        if not tile.reads:
            tile.bank = tile.stride = 0
    if tile.rows == 1:
        tile.ready = 0 if tile.early or taken else 1
        tile.rows = tile.early = 0
    else:
        if taken:
            tile.ready = 0
            tile.early = 1 if tile.rows else 0
        if tile.rows:
            tile.rows -= 1


@compiled
def _issue(s, h):
    """Issue an operation for a WS wave, or for a result row of an OS fold that ends."""
    fold, drain = s.running, s.drain
    if fold.waves == 1 or (fold.waves and not fold.os):
        end = fold.waves == 1 and fold.end and (not fold.os or fold.out_rows == 1)
        _operate(s.lines, h, fold.out, fold.accumulate, end, fold.signal_store)
        if fold.os and fold.out_rows > 1:
            drain.rows, drain.accumulate = fold.out_rows - 1, fold.accumulate
            drain.address = (fold.out + fold.out_stride) & (2 * h.output_depth - 1)
            drain.stride, drain.end, drain.signal_store = (
                fold.out_stride, fold.end, fold.signal_store,
            )  # fmt: skip
    elif drain.rows:
        end = drain.rows == 1 and drain.end
        _operate(s.lines, h, drain.address, drain.accumulate, end, drain.signal_store)
        drain.rows -= 1
        drain.address = (drain.address + drain.stride) & (2 * h.output_depth - 1)
        if not drain.rows:
            drain.address = drain.stride = drain.accumulate = 0
            drain.end = drain.signal_store = 0


@compiled
def _operate(lines, h, address, accumulate, end, signal_store):
    """Put an operation at the start of the lines."""
    meets = h.meeting - 1
    if address & h.output_depth:
        put(lines.at_1_bits, meets)
        lines.at_1 += 1
        if accumulate:
            put(lines.old_1_bits, meets)
            lines.old_1 += 1
    else:
        put(lines.at_0_bits, meets)
        lines.at_0 += 1
        if accumulate:
            put(lines.old_0_bits, meets)
            lines.old_0 += 1
    written = meets + h.columns + RESCALE - 1
    put(lines.written_bits, written)
    lines.written += 1
    if end:
        put(lines.end_bits, written)
        lines.ends += 1
        if signal_store:
            put(lines.store_bits, written)


@compiled
def _run(h, fold):
    """Go on to the next wave, or end the fold."""
    if fold.waves > 1:
        fold.waves -= 1
        fold.left ^= fold.left_stride
        if fold.os:
            fold.right ^= fold.right_stride
        else:
            fold.out = (fold.out + fold.out_stride) & (2 * h.output_depth - 1)
            fold.swapped = 1
    elif fold.waves:
        fold.waves = fold.swapped = fold.os = fold.macs = fold.last_macs = 0
        fold.end = fold.signal_store = fold.accumulate = 0
        fold.left = fold.left_stride = fold.right = fold.right_stride = 0
        fold.out = fold.out_stride = fold.out_rows = 0


@compiled
def _take(fold, head):
    """Take the fold at the head into the register of the one that runs."""
    fold.waves, fold.os = head.waves, head.os
    fold.macs, fold.last_macs = head.macs, head.last_macs
    fold.end, fold.signal_store, fold.accumulate = head.end, head.signal_store, head.accumulate
    fold.left, fold.left_stride = head.left, head.left_stride
    fold.out, fold.out_stride = head.out, head.out_stride
    if head.os:
        # Results that a WS fold streams end with its waves.
        fold.right, fold.right_stride, fold.out_rows = head.right, head.right_stride, head.out_rows


@compiled
def _walk(s, h, w, instruction, takes):
    """Hand a fold over, and take an instruction; return whether one comes."""
    frees = s.folds == 0 or (takes and s.folds == 1)
    w.execute_ready = 1 if frees and s.inside.level != h.inside_depth else 0
    if takes:
        s.folds -= 1
        s.next_fold = s.next_fold + 1 if s.folds else 0
    if not (w.execute_valid and w.execute_ready):
        return False
    s.next_fold, s.folds = instruction.first_fold, instruction.folds
    return True


@compiled
def _tokens(inside, w, instruction, comes, ends):
    """Send a token to LOAD, in program order, and count the instructions in here."""
    w.execute_busy = 1 if inside.level or inside.written else 0
    w.execute_to_load = 0
    leaves = False
    if inside.level:
        done = inside.written if inside.scales[0] & 1 else inside.read
        leaves = done > 0
    if leaves:
        words = (inside.level + 63) >> 6
        w.execute_to_load = shift(inside.signals, words)
        shift(inside.scales, words)
        inside.level -= 1
        inside.read -= 1
        inside.written -= 1
    inside.read += ends
    inside.written += w.execute_end
    if comes:
        if instruction.signal_load:
            put(inside.signals, inside.level)
        if instruction.scale:
            put(inside.scales, inside.level)
        inside.level += 1
