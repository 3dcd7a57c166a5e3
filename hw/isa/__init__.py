"""The contract: configuration, instructions, registers and integer numerics.

It needs the standard library only. Hardware, simulator and compiler meet only here; none of them
guesses about another.
"""
