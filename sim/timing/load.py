"""The load engine: rows of DRAM into words of the on-chip memories, as `hw.load.LoadEngine`.

What is left out tells nothing of time: data, and addresses in the scale memories.
"""

from __future__ import annotations

from hw.isa.instructions import Memory
from hw.isa.pipeline import LOADS_AHEAD

from . import bursts, fifo, regroup
from .bursts import CUTTER
from .compiled import compiled
from .fifo import BUFFERED
from .record import record
from .regroup import REGROUP
from .transpose import CHUNK_ENDS, LOAD_ENDS
from .wires import NONE

__all__ = ["LOAD", "step"]


_INPUT, _WEIGHT = int(Memory.INPUT), int(Memory.WEIGHT)
_ACCUMULATE_SCALE, _ROW_SCALE = int(Memory.ACCUMULATE_SCALE), int(Memory.ROW_SCALE)

_TASK = record(
    memory=1, transpose=1, packed=1, wide=1, rows=1, columns=1, base=1, step=1, line_step=1,
    signal_execute=1, signal_store=1,
)  # fmt: skip
"""An instruction that waits: what `hw.load` queues for the beats and for the words. Of places in
the operand memories, only the bank counts: they are modulo the words of two reads. `columns` are 0
once the beats are asked for. `wide`: as many words are written at once as the array reads."""

_CHUNKS = record(resting=1, beat=1, pitch=1, rows=1, row_beats=1, packed=1, upper=1)
"""Columns of a transposed load that wait for a chunk of them to be cut: `hw.chunks.Chunks`."""

_WORDS = record(
    active=1, memory=1, transpose=1, size=1, rows_left=1,
    place=1, line=1, chunk=1, first_line=1, step=1, line_step=1,
    signal_execute=1, signal_store=1,
)  # fmt: skip
"""The instruction whose words are written, `size` bytes each, 0 if transposed; then the tag of the
last word ends it, else its rows do. `place` is that of the word, `line` that where a line began,
`chunk` that where the next chunk begins."""

LOAD = record(
    takes=BUFFERED, writes=BUFFERED, tasks=(_TASK, LOADS_AHEAD + 1),
    rest=_CHUNKS, cutter=CUTTER, regroup=REGROUP, words=_WORDS,
)  # fmt: skip
"""Of the two queues of the hardware, `writes` is never the shorter one: `tasks` are what it holds,
and the last of them what `takes` does; one more place is always zero."""


@compiled(inline="always")
def step(s, h, w, code):
    """Set the load engine's wires, and end the cycle.

    Parameters
    ----------
    s, h, w : record of LOAD, of SHAPE, of WIRES
    code : array of CODE
    """
    if w.load_valid or s.words.active or s.writes.inner or s.writes.out or s.cutter.active:
        _work(s, h, w, code[w.load_index if w.load_valid else 0])
    else:
        _rest(w)


@compiled
def _work(s, h, w, load):
    """Do as `step` says; `load` is the instruction at the input if there is one."""
    word_taken, line, ends = _write(s.words, s.regroup, h, w)
    w.load_end = ends
    w.load_to_execute = ends and s.words.signal_execute
    w.load_to_store = ends and s.words.signal_store
    w.load_busy = 1 if s.words.active or fifo.level(s.writes) else 0

    follows = s.takes.out
    place = fifo.level(s.writes) - fifo.level(s.takes) if follows else 0
    turned = word_taken and s.words.transpose
    takes = regroup.step(s.regroup, h, w, turned, follows, s.tasks[place])
    if follows and takes:
        s.tasks[place].columns = 0

    room = fifo.has_room(s.takes, LOADS_AHEAD) and fifo.has_room(s.writes, LOADS_AHEAD)
    asked = _request(s, h, w, load, room)

    fresh = s.writes.out and (ends or not s.words.active)
    if fresh:
        _begin(s.words, h, s.tasks[0])
        for index in range(LOADS_AHEAD):
            s.tasks[index] = s.tasks[index + 1]
    elif ends:
        _clear(s.words)
    elif word_taken:
        _next_place(s.words, h, line)
    if asked:
        # What was in front has moved up.
        _note(s.tasks[fifo.level(s.writes) - (1 if fresh else 0)], h, load)
    fifo.advance(s.takes, asked, takes)
    fifo.advance(s.writes, asked, fresh)


@compiled
def _rest(w):
    """Set the wires of an engine that has nothing to do."""
    w.load_ready = 1
    w.load_end = w.load_to_execute = w.load_to_store = w.load_busy = 0
    w.read_burst = w.beat_ready = w.load_stalled_on_dram = w.load_stalled_on_memory = 0
    w.left_write = w.right_write = NONE


@compiled
def _write(words, g, h, w):
    """Write a word; return whether it is taken, how its line ends, and whether the load does."""
    w.left_write = w.right_write = NONE
    w.load_stalled_on_memory = 0
    if not words.active or not regroup.offered(g, h, words.size):
        return False, 0, 0
    if not _accepted(words, h, w):
        w.load_stalled_on_memory = 1
        return False, 0, 0
    line = regroup.give(g, h, words.size)
    if words.transpose:
        return True, line, 1 if line & LOAD_ENDS else 0
    return True, line, 1 if line and words.rows_left == 1 else 0


@compiled
def _accepted(words, h, w):
    """Offer a word to its memory; return whether that takes it."""
    bank = words.place >> h.together_bits
    if words.memory == _INPUT:
        if bank == w.left_read:
            return False
        w.left_write = bank
        return True
    if words.memory == _WEIGHT:
        if bank == w.right_read:
            return False
        w.right_write = bank
        return True
    if words.memory == _ACCUMULATE_SCALE:
        return not w.update_made
    return not (w.row_scale_made if words.memory == _ROW_SCALE else w.column_scale_made)


@compiled
def _request(s, h, w, load, room):
    """Hand rows to the cutter, and bursts to the bus; return whether an instruction is taken."""
    rest, cutter = s.rest, s.cutter
    w.read_burst = bursts.offer(cutter, h, h.burst_beats)
    sent = w.read_burst and w.read_burst_ready
    free = bursts.ready(cutter, h, h.burst_beats, True, sent)
    w.load_ready = 1 if free and room and not rest.resting else 0
    asked = w.load_ready and w.load_valid
    if not (asked or rest.resting or sent or cutter.waiting):
        return asked
    beat = pitch = rows = row_beats = 0
    comes = free and (asked or rest.resting)
    if comes:
        if asked:
            rest.beat, rest.pitch, rest.rows = (
                load.dram >> h.bus_bits,
                load.pitch >> h.bus_bits,
                load.rows,
            )
            rest.row_beats = (load.columns + h.bus - 1) >> h.bus_bits
            rest.packed = load.packed
            cut = _transposes(load)
        else:
            cut = True
        beat, pitch, rows = rest.beat & (h.page - 1), rest.pitch, rest.rows
        row_beats = _cut(rest, h, cut)
    bursts.advance(cutter, h, h.burst_beats, sent, comes, beat, pitch, rows, row_beats)
    return asked


@compiled
def _cut(rest, h, cut):
    """Return the beats of a row in the next chunk of what is at rest; the others stay."""
    chunk, packed = h.chunk_beats, rest.packed
    if cut and rest.row_beats > chunk:
        step = chunk
        if packed:
            step = rest.upper if chunk == 1 else chunk >> 1
            rest.upper = 1 - rest.upper if chunk == 1 else 0
        rest.resting = 1
        rest.beat = (rest.beat + step) & (h.page - 1)
        rest.row_beats -= chunk
        return (chunk + 1) >> 1 if packed else chunk
    row_beats = rest.row_beats
    rest.resting = rest.beat = rest.pitch = rest.rows = rest.row_beats = 0
    rest.packed = rest.upper = 0
    return (row_beats + 1) >> 1 if packed else row_beats


@compiled
def _transposes(load):
    """Return whether a load transposes: scales never do."""
    return load.transpose and (load.memory == _INPUT or load.memory == _WEIGHT)


@compiled
def _is_wide(h, load):
    """Return whether a load writes as many words at once as the array reads."""
    if not h.together_bits or load.memory != _INPUT or load.transpose or load.block_stride != 1:
        return False
    return ((load.base | load.row_stride) & ((1 << h.together_bits) - 1)) == 0


@compiled
def _note(task, h, load):
    """Keep what counts of an instruction that is taken."""
    task.memory, task.rows, task.columns = load.memory, load.rows, load.columns
    task.transpose, task.packed = 1 if _transposes(load) else 0, load.packed
    task.signal_execute, task.signal_store = load.signal_execute, load.signal_store
    task.base = task.step = task.line_step = task.wide = 0
    if load.memory == _INPUT or load.memory == _WEIGHT:
        task.base = load.base & h.bank_mask
        row, block = load.row_stride & h.bank_mask, load.block_stride & h.bank_mask
        if _is_wide(h, load):
            task.wide, block = 1, 1 << h.together_bits
        task.step, task.line_step = (row, block) if task.transpose else (block, row)


@compiled
def _begin(words, h, task):
    """Begin to write the words of an instruction."""
    words.active, words.memory, words.transpose = 1, task.memory, task.transpose
    words.size = 0 if task.transpose else regroup.word_size(h, task.memory, task.wide)
    words.rows_left = 0 if task.transpose else task.rows
    words.place = words.line = task.base
    words.chunk, words.first_line = 0, task.transpose
    words.step, words.line_step = task.step, task.line_step
    words.signal_execute, words.signal_store = task.signal_execute, task.signal_store


@compiled
def _clear(words):
    """Wait for an instruction."""
    words.active = words.memory = words.transpose = words.size = words.rows_left = 0
    words.place = words.line = words.chunk = words.first_line = 0
    words.step = words.line_step = words.signal_execute = words.signal_store = 0


@compiled
def _next_place(words, h, line):
    """Go on to the next word, after the end of a line to where the next line begins.

    The chunk after this one starts where the first line of this one would go on.
    """
    further = (words.place + words.step) & h.bank_mask
    if not line:
        words.place = further
        return
    begin = (words.line + words.line_step) & h.bank_mask
    if words.transpose:
        if words.first_line:
            words.chunk = further
        if line & CHUNK_ENDS:
            begin = words.chunk
        words.first_line = 1 if line & CHUNK_ENDS else 0
    else:
        words.rows_left -= 1
    words.place = words.line = begin
