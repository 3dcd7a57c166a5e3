"""The processing element is its specification, for ever, in every variant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hw.isa.config import Config
from hw.pe import ProcessingElement

from .element import outcome
from .mutate import mutant
from .prove import Outcome

FLOWS = {
    "both": {},
    "both overlapped": {"drain_overlap": 1},
    "ws": {"output_stationary": 0},
    "os": {"weight_stationary": 0},
    "os overlapped": {"weight_stationary": 0, "drain_overlap": 1},
}
EXTRAS = {
    "": {},
    "registered": {"product_register": 1},
    "2 products": {"macs_per_element": 2},
    "4 products": {"macs_per_element": 4},
    "2 products registered": {"macs_per_element": 2, "product_register": 1},
    "4 products registered": {"macs_per_element": 4, "product_register": 1},
}


def with_extras(extras: Iterable[str]) -> list[Any]:
    """Return pairs of a flow and an extra; what is no more than both at once is not by default."""
    return [
        pytest.param(flow, extra, marks=pytest.mark.formal if extra and flow != "both" else ())
        for flow in FLOWS
        for extra in extras
    ]


def config_of(flow: str, extra: str = "") -> Config:
    return Config(**FLOWS[flow], **EXTRAS[extra])


@pytest.mark.parametrize("flow,extra", with_extras(EXTRAS))
def test_element_is_its_specification(tmp_path: Path, flow: str, extra: str) -> None:
    """For traces of any length (1-induction), all operands and all controls in every cycle.

    No assumption on the inputs: the element does what the page says even outside the protocol.
    Registers without reset hold anything at first, the same in both.
    """
    config = config_of(flow, extra)
    # Solved at once, z3 sees that both multiply the same; step by step it takes minutes.
    engine = "smtbmc z3 -- --noincr"
    found = outcome(tmp_path, config, ProcessingElement(config), depth=1, engine=engine)
    assert str(found) == "PASS"


SUM_IS_NOT_CLEARED = ('is_os & ~control["first"]', "is_os")
SUM_STAYS = ('(~is_os | control["last"])', "~is_os")
DRAIN_HURTS_A_SUM = (
    'moves.eq(~takes & control["shift_p"])',
    'moves.eq(control["shift_p"])',
)
SWAP = 'control.get("os", 0) | control["first"]'
PASSES = "passes.eq(~is_os)"

MUTATIONS = {
    ("both", "sum_is_not_cleared"): (SUM_IS_NOT_CLEARED, {"p"}),
    ("both", "adds_two_sums"): ((PASSES, "passes.eq(1)"), {"p"}),
    ("both", "swap_at_the_first_wave_only"): ((SWAP, 'control["first"]'), {"w"}),
    ("both overlapped", "sum_is_not_cleared"): (SUM_IS_NOT_CLEARED, {"acc", "p"}),
    ("both overlapped", "sum_stays"): (SUM_STAYS, {"p"}),
    ("both overlapped", "swap_at_the_last_wave"): (
        (SWAP, 'control.get("os", 0) | control["last"]'),
        {"w"},
    ),
    ("both overlapped", "multiplies_what_comes"): (
        ("return a, b, w", "return a, b, b"),
        {"acc", "p"},
    ),
    ("both overlapped", "drain_hurts_a_sum"): (DRAIN_HURTS_A_SUM, {"p"}),
    ("ws", "sum_from_above_is_lost"): ((PASSES, "passes.eq(0)"), {"p"}),
    ("ws", "swap_at_every_wave"): ((SWAP, "1"), {"w"}),
    ("os", "adds_two_sums"): ((PASSES, "passes.eq(1)"), {"p"}),
    ("os", "drain_takes_operands"): (
        ('control["valid"] & control.get("os", 1)', 'control["valid"]'),
        {"b"},
    ),
    ("os overlapped", "sum_is_not_cleared"): (SUM_IS_NOT_CLEARED, {"acc", "p"}),
    ("os overlapped", "sum_stays"): (SUM_STAYS, {"p"}),
    ("os overlapped", "drain_hurts_a_sum"): (DRAIN_HURTS_A_SUM, {"p"}),
}


def found_of(folder: Path, config: Config, change: tuple[str, str]) -> Outcome:
    return outcome(folder, config, mutant(ProcessingElement, change)(config), depth=6)


@pytest.mark.parametrize("flow,name", MUTATIONS)
def test_a_broken_element_is_found(tmp_path: Path, flow: str, name: str) -> None:
    change, claims = MUTATIONS[flow, name]
    found = found_of(tmp_path, config_of(flow), change)
    assert found.status == "FAIL" and set(found.claims) <= claims, found
    assert found.trace.exists()


NEVER_HOLDS = ('mac.enable.eq(control["valid"])', "mac.enable.eq(1)")
TOO_EARLY = ('_delayed(m, control, "late")', '_delayed(m, self.control_in, "late")')


@pytest.mark.parametrize("flow,extra", with_extras(["registered", "4 products registered"]))
@pytest.mark.parametrize("change,claim", [(NEVER_HOLDS, "held"), (TOO_EARLY, "late")])
def test_a_broken_register_of_products_is_found(
    tmp_path: Path, flow: str, extra: str, change: tuple[str, str], claim: str
) -> None:
    found = found_of(tmp_path, config_of(flow, extra), change)
    assert found.status == "FAIL" and found.claims, found
    assert all(name.startswith(claim) for name in found.claims), found


@pytest.mark.parametrize("flow,extra", with_extras(["2 products", "4 products"]))
def test_products_of_other_pairs_are_found(tmp_path: Path, flow: str, extra: str) -> None:
    turned = ("mac.w.eq(w)", "mac.w.eq(w.rotate_left(8))")
    found = found_of(tmp_path, config_of(flow, extra), turned)
    assert found.status == "FAIL" and set(found.claims) <= {"acc", "p"}, found
