"""The whole machine, cycle by cycle: `hw.top.Accelerator` with its DRAM."""

from __future__ import annotations

from hw.isa.instructions import Engine
from hw.isa.registers import ACTIVITY, COUNTERS, DATA_COUNTERS

from . import bus, control, execute, load, store
from .bus import BUS
from .compiled import compiled
from .control import CONTROL
from .execute import EXECUTE
from .load import LOAD
from .record import record
from .store import STORE
from .wires import NONE, WIRES

__all__ = ["COUNTS", "MACHINE", "MODELLED", "RUN", "activity", "pulses", "step"]

MODELLED = tuple(item.name for item in COUNTERS if item.name not in DATA_COUNTERS)

_LOAD, _EXECUTE, _STORE = (int(engine) for engine in Engine)
(
    LOAD_ON_EXECUTE, LOAD_ON_STORE, LOAD_ON_DRAM, LOAD_ON_MEMORY, INPUT_WRITE, WEIGHT_WRITE,
    EXECUTE_ON_LOAD, EXECUTE_ON_STORE, INPUT_READ, WEIGHT_READ, OUTPUT_ADD, OUTPUT_WRITE,
    STORE_ON_LOAD, STORE_ON_EXECUTE, STORE_ON_DRAM, STORE_ON_MEMORY, OUTPUT_STORE,
) = (
    ACTIVITY.index(name)
    for name in (
        "load_stalled_on_execute", "load_stalled_on_store", "load_stalled_on_dram",
        "load_stalled_on_memory", "input_write_0", "weight_write_0",
        "execute_stalled_on_load", "execute_stalled_on_store", "input_read_0", "weight_read_0",
        "output_add_0", "output_write", "store_stalled_on_load", "store_stalled_on_execute",
        "store_stalled_on_dram", "store_stalled_on_memory", "output_store_0",
    )
)  # fmt: skip
"""Bits of activity; of what has banks or halves, that of the first."""
HANDSHAKES = len(ACTIVITY)

COUNTS = record(**dict.fromkeys(MODELLED, 1))
"""The counters of `hw.isa.registers.COUNTERS` but those in `DATA_COUNTERS`."""

MACHINE = record(control=CONTROL, bus=BUS, load=LOAD, execute=EXECUTE, store=STORE)
"""All that the next cycles depend on, but for the program."""

RUN = record(
    machine=MACHINE, wires=WIRES, counts=COUNTS, now=1, fed=1, first=1, written=1,
    folds=1, beats=1, waits=1, waited=1, shakes=1,
)  # fmt: skip
"""A run: `now` is the cycle; `fed` whether an operand has been read, `first` in which cycle;
`written` is the cycle of the last result, `folds` counts those that the array took, `beats` those
of the program that fetch asked for. Of the last cycle, `shakes` are the handshakes of AXI and
`waits` is who lacked tokens; `waited` is that of the cycle before, as Register.WAITING has it."""


@compiled(inline="always")
def step(r, h, code, folds):
    """Go through one cycle."""
    m, w, n, now = r.machine, r.wires, r.counts, r.now
    w.fetch_burst = control.fetch_offers(m.control, h)
    free = bus.offer(m.bus, h, w, now, w.fetch_burst > 0)
    w.fetch_taken = 1 if free and w.fetch_burst else 0
    control.offer(m.control, w)
    execute.step(m.execute, h, w, code, folds)
    store.step(m.store, h, w, code)
    load.step(m.load, h, w, code)
    idle = not (w.load_busy or w.execute_busy or w.store_busy) and m.bus.write.pending == 0
    room = control.fetch_has_room(m.control, h)
    comes = m.bus.read.beats.out and m.bus.read.owners[0] == bus.FETCH and room
    r.folds += w.fold_taken
    r.beats += w.fetch_burst if w.fetch_taken else 0
    waits = control.finish(m.control, h, w, code, comes, idle)
    r.shakes = bus.finish(m.bus, h, w, n, now, room)
    _count(r, w, n, waits)
    r.waited, r.waits = r.waits, waits
    r.now = now + 1


@compiled
def _count(r, w, n, waits):
    """Count this cycle."""
    n.cycles += 1
    n.instructions += w.retired
    if w.fed and not r.fed:
        r.fed, r.first = 1, r.now
    if w.written:
        r.written = r.now
        n.array_cycles = r.now - r.first + 1
    n.macs += w.macs
    n.array_fed += w.array_fed
    n.load_busy += w.load_busy
    n.execute_busy += w.execute_busy
    n.store_busy += w.store_busy
    n.load_stalled_on_dram += w.load_stalled_on_dram
    n.load_stalled_on_memory += w.load_stalled_on_memory
    n.store_stalled_on_dram += w.store_stalled_on_dram
    n.store_stalled_on_memory += w.store_stalled_on_memory
    if waits:
        _count_waits(n, waits)


@compiled
def _count_waits(n, waits):
    """Count engines that wait for tokens, given as Register.WAITING has it."""
    n.load_stalled_on_token += 1 if waits & 15 else 0
    n.load_stalled_on_execute += waits >> _EXECUTE & 1
    n.load_stalled_on_store += waits >> _STORE & 1
    n.execute_stalled_on_token += 1 if waits >> 4 & 15 else 0
    n.execute_stalled_on_load += waits >> 4 + _LOAD & 1
    n.execute_stalled_on_store += waits >> 4 + _STORE & 1
    n.store_stalled_on_token += 1 if waits >> 8 & 15 else 0
    n.store_stalled_on_load += waits >> 8 + _LOAD & 1
    n.store_stalled_on_execute += waits >> 8 + _EXECUTE & 1


@compiled
def pulses(w):
    """Return the bits of `hw.isa.registers.TRACE` of the last cycle, from its wires."""
    bits = (1 if w.load_valid and w.load_ready else 0) | w.load_end << 1
    bits |= (4 if w.execute_valid and w.execute_ready else 0) | w.execute_read_end << 3
    bits |= w.execute_end << 4
    return bits | (32 if w.store_valid and w.store_ready else 0) | w.store_end << 6


@compiled
def _part(part, first):
    """Return the bit of a bank or half from bit `first` on, or 0 if there is none."""
    return 0 if part == NONE else 1 << first + part


@compiled
def _wait(waits, engine, peer, bit):
    return (waits >> 4 * engine + peer & 1) << bit


@compiled
def activity(r):
    """Return the bits of `sim.intervals.SIGNALS` of the last cycle: ACTIVITY, then handshakes."""
    w, waits = r.wires, r.waited
    bits = _wait(waits, _LOAD, _EXECUTE, LOAD_ON_EXECUTE) | _wait(
        waits, _LOAD, _STORE, LOAD_ON_STORE
    )
    bits |= w.load_stalled_on_dram << LOAD_ON_DRAM | w.load_stalled_on_memory << LOAD_ON_MEMORY
    bits |= _part(w.left_write, INPUT_WRITE) | _part(w.right_write, WEIGHT_WRITE)
    bits |= _wait(waits, _EXECUTE, _LOAD, EXECUTE_ON_LOAD)
    bits |= _wait(waits, _EXECUTE, _STORE, EXECUTE_ON_STORE)
    bits |= _part(w.left_read, INPUT_READ) | _part(w.right_read, WEIGHT_READ)
    bits |= w.half_busy[0] << OUTPUT_ADD | w.half_busy[1] << OUTPUT_ADD + 1
    bits |= w.written << OUTPUT_WRITE
    bits |= _wait(waits, _STORE, _LOAD, STORE_ON_LOAD) | _wait(
        waits, _STORE, _EXECUTE, STORE_ON_EXECUTE
    )
    bits |= w.store_stalled_on_dram << STORE_ON_DRAM | w.store_stalled_on_memory << STORE_ON_MEMORY
    return bits | _part(w.store_read, OUTPUT_STORE) | r.shakes << HANDSHAKES
