"""The timing model: what the hardware does in each cycle, without the numbers it computes."""
