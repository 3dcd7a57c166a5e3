"""The timing model: what the hardware does in each cycle, without the numbers it computes.

`run` takes the program that the hardware takes, and returns its counters as the hardware counts
them. `core.step` is a cycle of the whole machine; each unit of `hw` has its file here. `repeat`
jumps over what has been walked before.
"""

from .model import run

__all__ = ["run"]
