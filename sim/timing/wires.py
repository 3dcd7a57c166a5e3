"""What units tell one another within a cycle."""

from __future__ import annotations

from .record import record

__all__ = ["NONE", "WIRES"]

NONE = -1
"""No bank or half of a memory."""

WIRES = record(
    # Fetch to bus: beats of the burst that is offered, 0 for none, and whether it is taken; whether
    # an instruction is dispatched.
    fetch_burst=1, fetch_taken=1, retired=1,
    # Controller to engines: an instruction's tokens are there, and which it is; and back.
    load_valid=1, load_index=1, load_ready=1,
    execute_valid=1, execute_index=1, execute_ready=1,
    store_valid=1, store_index=1, store_ready=1,
    # Bus to engines.
    read_burst_ready=1, beat_valid=1,
    write_burst_ready=1, write_beat_ready=1, answered=1,
    # Engines to bus: beats of the burst that is offered, 0 for none.
    read_burst=1, beat_ready=1,
    write_burst=1, write_beat=1,
    # Execute: banks of operand memories that are read, NONE without; halves of sums in which old
    # ones are read, and in which any are written.
    left_read=1, right_read=1, half_busy=2, half_used=2,
    fed=1, array_fed=1, written=1, macs=1, fold_taken=1,
    execute_read_end=1, execute_end=1, execute_busy=1,
    execute_to_load=1, execute_to_store=1,
    # Store: entries made on the chip, which go before those that are loaded.
    row_scale_made=1, column_scale_made=1, update_made=1,
    store_read=1,
    store_end=1, store_busy=1, store_to_load=1, store_to_execute=1,
    store_stalled_on_dram=1, store_stalled_on_memory=1,
    # Load.
    left_write=1, right_write=1,
    load_end=1, load_busy=1, load_to_execute=1, load_to_store=1,
    load_stalled_on_dram=1, load_stalled_on_memory=1,
)  # fmt: skip
"""Values of one cycle: flags are 0 or 1, banks and halves are 0, 1 or `NONE`. Each unit sets all
of its own outputs in every cycle; they are combinational, as in the hardware, unless said otherwise
there."""
