"""Random programs: drawn from a seed, lowered by hand, expected by torch, made small on failure.

`draw.draw` makes a `case.Case`, `lower.lower` its instructions, `expect.expect` what DRAM holds
afterwards, `rungs` compares, and `minimise.minimise` shrinks a case that fails.
"""
