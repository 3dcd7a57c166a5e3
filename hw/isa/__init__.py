"""The contract: configuration, instructions, registers and integer numerics (standard library only).

Hardware, simulator and compiler meet only here; none of them guesses about another.
"""
