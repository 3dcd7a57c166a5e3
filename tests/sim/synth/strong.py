"""The library of `small` with stronger cells, and random netlists of its cells."""

from __future__ import annotations

import numpy as np

from sim.synth.liberty_reader import parse_liberty

from .small import TEXT, check, module, output, pin, timing


def _cells() -> str:
    negative, positive = "negative_unate", "positive_unate"
    both = timing("A", negative, 0.1, 0.06) + timing("B", negative, 0.12, 0.07)
    edge = "timing_type : rising_edge;"
    return "".join(
        [
            f"cell (INV2) {{ area : 2; {pin('A', 4)}"
            f"{output('ZN', '!A', timing('A', '', 0.05, 0.04))} }}\n",
            f"cell (NAND2) {{ area : 3; {pin('A', 4)} {pin('B', 6)}"
            f"{output('ZN', '!(A & B)', both)} }}\n",
            f"cell (BUF2) {{ area : 2.5; {pin('A', 3)}"
            f"{output('Z', 'A', timing('A', positive, 0.1, 0.1)).replace(': 20', ': 40')} }}\n",
            'cell (DFF2) { area : 6; ff ("IQ", "IQN") { next_state : "D"; clocked_on : "CK"; }\n'
            f"{pin('D', 1, check('setup_rising', 0.05, 0.07))}{pin('CK', 1, 'clock : true;')}"
            f"{output('Q', 'IQ', timing('CK', 'non_unate', 0.3, 0.35, edge))} }}\n",
        ]
    ).replace("cell (NAND2)", "cell (NAND_2)")


LIBRARY = parse_liberty((TEXT.rstrip().removesuffix("}") + _cells() + "}").encode(), "strong.lib")

PINS = {"INV": ("A",), "NAND": ("A", "B"), "XOR": ("A", "B"), "DFF": ("D",)}
OUT = {"INV": "ZN", "NAND": "ZN", "XOR": "Z", "DFF": "Q"}


def logic(rng: np.random.Generator, cells: int, inputs: int, outputs: int) -> dict:
    """Return a module of random gates and flip-flops; a few of its nets drive very much."""
    clock, bits = 2, list(range(3, 3 + inputs))
    made, free = {}, 3 + inputs
    for number in range(cells):
        kind = rng.choice(list(PINS))
        loud = bits[: max(2, len(bits) // 8)]
        ends = [int(rng.choice(loud if rng.random() < 0.5 else bits)) for _ in PINS[kind]]
        pins = dict(zip(PINS[kind], ends, strict=True)) | {OUT[kind]: free}
        made[f"c{number}"] = (kind, pins | ({"CK": clock} if kind == "DFF" else {}))
        bits.append(free)
        free += 1
    out = [int(bit) for bit in rng.choice(bits[inputs:], outputs, replace=False)]
    return module({"clk": clock, "x": bits[:inputs]}, {"y": out}, made)


def tree(seed: int) -> dict[str, dict]:
    """Return a design of a module that holds two others several times."""
    rng = np.random.default_rng(seed)
    inside = {name: logic(rng, int(rng.integers(8, 60)), 4, 4) for name in ("left", "right")}
    top = logic(rng, 40, 6, 6)
    known = list(range(3, 49))
    for copy in range(6):
        outs = list(range(100 + 4 * copy, 104 + 4 * copy))
        top["cells"][f"u{copy}"] = {
            "type": ("left", "right")[copy % 2],
            "attributes": {},
            "connections": {
                "clk": [2],
                "x": [int(b) for b in rng.choice(known[:12] if copy % 3 else known, 4)],
                "y": outs,
            },
        }
        known += outs
    top["ports"]["y"]["bits"] = top["ports"]["y"]["bits"][:2] + known[-8:]
    top["netnames"].pop("y")
    top["attributes"]["top"] = "1"
    return {"top": top, **inside}
