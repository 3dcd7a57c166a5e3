"""The store engine: `hw.store.StoreEngine`, with its gate and its decoder.

Loads of scales are not modelled: entries that are made here go first, and nothing waits for them.
"""

from __future__ import annotations

from hw.isa.instructions import Axis, Format, Opcode
from hw.isa.pipeline import MAXIMA_DEPTH, MAXIMUM_BYTES

from . import fifo, maxima, pack, retire, rowwalk
from .compiled import compiled
from .flags import shift
from .record import record
from .wires import NONE

__all__ = ["STORE", "step"]

STORE = record(
    walk=rowwalk.WALK, line=1, block_inside=1, block_lanes=1, block_end=1,
    unfinished=1, unfinished_scales=1, bank=1,
    maxima=maxima.MAXIMA, pack=pack.PACK, retire=retire.RETIRE,
)  # fmt: skip
"""The matrix that is read, and what comes of the words before. No other maximum may come while a
block of columns is inside; its lanes, and whether it is its matrix's last, until it is in the
lanes' queue. Absmaxes that are not through, from the reading of their last words on. `bank`: 1
and on, of the word that was read in the cycle before, 0 if none was."""

_ABSMAX, _INT32 = int(Opcode.ABSMAX), int(Format.INT32)
_BY_ROW, _BY_COLUMN = int(Axis.ROW), int(Axis.COLUMN)


@compiled(inline="always")
def step(s, h, w, code):
    """Set the store engine's wires, and end the cycle.

    Parameters
    ----------
    s, h, w : record of STORE, of SHAPE, of WIRES
    code : array of CODE
    """
    _step(s, h, w, code[w.store_index if w.store_valid else 0])


@compiled
def _step(s, h, w, i):
    """Do as `step` says; `i` is the instruction at the input if there is one."""
    if not retire.busy(s.retire):
        # Whatever an instruction does is over when it ends.
        _idle(w)
        if w.store_valid:
            _accept(s, h, i)
        return
    w.store_busy = 1
    entering = _gate(s, h, w)
    reads = w.store_read != NONE
    ends = reads and s.walk.outer_left == 1 and s.walk.inner_left == 1
    # An instruction leaves orders and uses before it ends: they have room if endings have.
    free = ends or not s.walk.outer_left
    w.store_ready = 1 if free and retire.has_room(s.retire) else 0
    _collect(s, h, w)
    if reads:
        _read(s, h, entering, ends)
    if w.store_valid and w.store_ready:
        _accept(s, h, i)


@compiled
def _idle(w):
    w.store_ready, w.store_read = 1, NONE
    w.write_burst = w.write_beat = 0
    w.row_scale_made = w.column_scale_made = w.update_made = 0
    w.store_end = w.store_to_load = w.store_to_execute = w.store_busy = 0
    w.store_stalled_on_dram = w.store_stalled_on_memory = 0


@compiled
def _gate(s, h, w):
    """Say whether a word is read, as `hw.storegate.StoreGate`; return the lines it enters."""
    w.store_read, w.store_stalled_on_memory = NONE, 0
    walk, before = s.walk, s.bank
    s.bank = 0
    if not walk.outer_left:
        return 0
    entering = walk.each
    if walk.inner_left == 1:
        entering |= walk.each_last
        if walk.outer_left == 1:
            entering |= walk.at_end
    unmade = walk.needs_scales and s.unfinished_scales
    unmade = unmade or (walk.needs_maxima and s.unfinished)
    if unmade:
        return entering
    if walk.needs_factor:
        walk.needs_factor = 0
        return entering
    if walk.rescaled and s.line & rowwalk.MULTIPLIED:
        return entering
    full = entering & walk.claims and s.pack.boxes[walk.kind].used == walk.depth
    if full or (entering & (rowwalk.ROW | rowwalk.BLOCK) and s.block_inside):
        return entering
    half = 1 if walk.address & h.output_depth else 0
    late = before == 1 + 2 * half + (walk.address & 1)
    if w.half_busy[half] or (late and w.half_used[half]):
        w.store_stalled_on_memory = 1
    else:
        w.store_read, s.bank = half, 1 + 2 * half + (walk.address & 1)
    return entering


@compiled
def _collect(s, h, w):
    """End a cycle of all behind the output memory."""
    line, m = s.line, s.maxima
    made = m.line
    w.row_scale_made = 1 if made & maxima.ROW_SCALE_MADE else 0
    w.column_scale_made = 1 if made & maxima.COLUMN_SCALE_MADE else 0
    w.update_made = 1 if made & maxima.UPDATE_MADE else 0
    claims = False
    if line or made or m.left or m.uses.inner or m.uses.out:
        block = line & rowwalk.BLOCK_VALID != 0
        claims, released = maxima.step(
            m,
            line & rowwalk.ROW_VALID != 0,
            line & rowwalk.ROW_END != 0,
            block,
            s.block_lanes,
            s.block_end,
            s.pack.boxes[pack.MAXIMA].used != MAXIMA_DEPTH,
        )
        if block:
            s.block_lanes = s.block_end = 0
        if released:
            s.block_inside = 0
        if made & maxima.DONE:
            s.unfinished -= 1
        if made & maxima.DONE_SCALES:
            s.unfinished_scales -= 1
        s.line = shift(line, rowwalk.KEEP, 0)
    pack.step(
        s.pack,
        h,
        w,
        line & rowwalk.WIDE_VALID != 0,
        line & rowwalk.NARROW_VALID != 0,
        made & maxima.DRAM_VALID != 0,
    )
    if claims:
        s.pack.boxes[pack.MAXIMA].used += 1
    retire.step(s.retire, h, w, made & maxima.DONE != 0)
    burst_waits = w.write_burst and not w.write_burst_ready
    beat_waits = w.write_beat and not w.write_beat_ready
    w.store_stalled_on_dram = 1 if burst_waits or beat_waits else 0


@compiled
def _read(s, h, entering, ends):
    """End a cycle in which a word is read, which `ends` its matrix."""
    walk = s.walk
    s.line |= entering
    if entering & walk.claims:
        s.pack.boxes[walk.kind].used += 1
    if entering & rowwalk.BLOCK:
        s.block_inside, s.block_end = 1, 1 if ends else 0
        s.block_lanes = walk.last_lanes if walk.outer_left == 1 else h.columns
    if not ends:
        rowwalk.advance(walk)
        return
    if walk.reduces:
        s.unfinished += 1
        s.unfinished_scales += walk.to_scales
    rowwalk.clear(walk)


@compiled
def _accept(s, h, i):
    """End a cycle in which an instruction is taken: hand it to every unit with a part in it."""
    rowwalk.start(s.walk, h, i)
    reduces = i.opcode == _ABSMAX
    writes = not reduces or i.to_dram != 0
    fifo.push(
        s.retire.endings,
        s.retire.ending,
        retire.ending_of(writes, reduces, i.signal_load, i.signal_execute),
    )
    if reduces:
        use = maxima.use_of(i.axis == _BY_COLUMN, i.to_dram, i.to_scales, i.to_updates)
        fifo.push(s.maxima.uses, s.maxima.use, use)
    if not writes:
        return
    if reduces:
        rows, row_words, size = 1, _count(i), MAXIMUM_BYTES
        kind, last_bytes = pack.MAXIMA, MAXIMUM_BYTES
    else:
        rows, row_words, size = i.rows, s.walk.inner_count, 4 if i.format == _INT32 else 1
        kind, last_bytes = s.walk.kind, size * s.walk.last_lanes
    fifo.push(s.pack.orders, s.pack.order, pack.order_of(kind, rows, row_words, last_bytes))
    row_bytes = size * (row_words if reduces else i.columns)
    region = retire.region_of(
        h, i.dram >> h.bus_bits, i.pitch >> h.bus_bits, rows, (row_bytes + h.bus - 1) >> h.bus_bits
    )
    fifo.push(s.retire.regions, s.retire.region, region)


@compiled
def _count(i):
    """Return the maxima of an absmax."""
    if i.axis == _BY_COLUMN:
        return i.columns
    return i.rows if i.axis == _BY_ROW else 1
