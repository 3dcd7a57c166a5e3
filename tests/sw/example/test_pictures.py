"""What pictures of the example show, read from their axes."""

from __future__ import annotations

import math

import pytest

from sw.example import pictures
from sw.example.pictures import quantisation, trade
from sw.example.runs import Outcome
from sw.example.verdict import Verdict
from sw.train.history import History
from sw.train.mac_energy import MacEnergy
from sw.train.memory import Memory
from sw.train.monitor import Measure

VERDICT = Verdict(0.1, 0.2, [], [], *[1.0] * 7)
VALUES = {"X": (2.0, 3.0), "B": (0.0, 0.1), "H": (5000.0, 6000.0), "dH": (0.0, 4000.0)}


@pytest.fixture
def drawn(monkeypatch):
    """Return figures instead of bytes."""
    monkeypatch.setattr(pictures, "render", lambda figure, suffix: figure)


def outcome(method="int8", energy=None, values=VALUES, saturations=(0, 0)) -> Outcome:
    """Return a run of two steps of a layer that trains and one that does not."""
    history = History()
    for step, limited in enumerate(saturations):
        measures = [Measure("k", "absmax", name, each[step]) for name, each in values.items()]
        measures += [Measure("k", "absmax", "A", 1.0), Measure("k", "snr_db", "Y", 40.0)]
        measures += [Measure("q", "absmax", "X", 1e9), Measure("a.QK", "snr_db", "dB", -99.0)]
        history.add(step, {"loss": 1.0, "saturations": limited}, measures)
    return Outcome(method, 0, VERDICT, 0.0, True, Memory(1, 2, 3), energy, history)


def lines(axes) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_integers_have_an_axis_of_their_own(drawn):
    noise, real, sums, _ = quantisation([outcome()]).axes
    assert lines(noise) == {"Y": [40.0, 40.0]}
    assert lines(real).keys() == {"X", "B", "A"} and lines(sums).keys() == {"H", "dH"}
    assert lines(real)["X"] == [2.0, 3.0]  # not of the layer that is quantised only
    assert real.get_yscale() == sums.get_yscale() == "log"


def test_what_is_zero_at_the_start_has_no_line_there(drawn):
    _, real, sums, _ = quantisation([outcome()]).axes
    for axes, name in ((real, "B"), (sums, "dH")):
        first, second = lines(axes)[name]
        assert math.isnan(first) and second == VALUES[name][1]


@pytest.mark.parametrize("saturations,top", [((0, 0), 1), ((4, 6), 10.5)])
def test_limited_elements_start_from_zero(drawn, saturations, top):
    axes = quantisation([outcome(saturations=saturations)]).axes[3]
    assert axes.get_ylim() == (0, top)
    assert list(axes.get_lines()[0].get_ydata()) == [saturations[0], sum(saturations)]


def test_nothing_on_the_chip(drawn):
    axes = quantisation([outcome(values={"X": (2.0, 3.0)})]).axes[2]
    assert not axes.get_lines() and [each.get_text() for each in axes.texts] == ["none"]


def test_energy_is_that_of_a_step(drawn):
    """Of many MACs that take little each, a step takes more."""
    few, many = MacEnergy(1e6, 2e-6, 1e-6), MacEnergy(4e6, 4e-6, 3e-6)
    axes = trade([outcome("fp32"), outcome("few", few), outcome("many", many)]).axes[0]
    at = {text.get_text(): text.xy[0] for text in axes.texts}
    assert at == {"few": pytest.approx(2.0), "many": pytest.approx(4.0)}
    assert "without buffers and DRAM" in axes.get_xlabel()
