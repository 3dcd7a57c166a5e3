"""Reading Liberty files."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from sim.synth.liberty import Direction, Sense
from sim.synth.liberty_reader import parse_liberty, read_liberty
from sim.synth.liberty_syntax import LibertyError

from .small import LIBRARY, TEXT, delay, setup

POWER = """
library (units) {
  time_unit : "10ps"; voltage_unit : "100mV"; capacitive_load_unit (0.1, pf);
  leakage_power_unit : "1uW"; pulling_resistance_unit : "1ohm"; nom_voltage : 1.8;
  power_lut_template (swapped) {
    variable_1 : total_output_net_capacitance; variable_2 : input_transition_time;
    index_1 ("1, 2"); index_2 ("3, 4, 5");
  }
  wire_load (w) { capacitance : 2; resistance : 3; slope : 1; fanout_length (2, 5); }
  cell (F) {
    area : 7; cell_leakage_power : 3; dont_use : true;
    leakage_power () { when : "D & !CK"; value : 2.5; }
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; clear : "!RN"; }
    pin (D, RN) { direction : input; capacitance : 4;
      internal_power () { when : "CK"; power (scalar) { values ("1.5"); } } }
    pin (CK) { direction : input; clock : true; capacitance : 1; }
    pin (Q) { direction : output; function : "IQ";
      internal_power () { related_pin : "CK RN";
        rise_power (swapped) { values ("1, 2, 3", "4, 5, 6"); }
        fall_power (swapped) { index_2 ("30, 40, 50"); values ("1, 2, 3", "4, 5, 6"); } } }
  }
}
"""


def test_a_table_is_what_it_was_made_of():
    """Between entries, and beyond them on every side."""
    arc = LIBRARY.cells["INV"].pins["ZN"].arcs[0]
    for slew in (0.0, 0.01, 0.07, 0.3, 1.0):
        for load in (0.0, 1.0, 6.5, 40.0, 90.0):
            assert arc.rise.at(slew, load) == pytest.approx(delay(0.10, slew, load), abs=1e-7)
    loads = np.array([2.0, 50.0])
    assert arc.fall.at(0.05, loads) == pytest.approx(delay(0.08, 0.05, loads), abs=1e-7)
    data, hold = LIBRARY.cells["DFF"].pins["D"].checks
    assert (data.kind, hold.kind) == ("setup_rising", "hold_rising")
    assert data.rise.at(0.2, 0.05) == pytest.approx(setup(0.05, 0.2, 0.05), abs=1e-7)


def test_cells_and_pins():
    nand, flop, gate = (LIBRARY.cells[name] for name in ("NAND", "DFF", "GATE"))
    assert (nand.area_um2, LIBRARY.cells["INV"].leakage_nw) == (1.5, 2.0)
    assert [pin.name for pin in nand.inputs] == ["A", "B"]
    (out,) = nand.outputs
    assert (out.direction, out.max_capacitance_ff) == (Direction.OUTPUT, 20.0)
    assert out.function({"A": 1, "B": 1}) is False
    assert [arc.related for arc in out.arcs] == ["A", "B"]
    assert (nand.pins["B"].rise_ff, nand.pins["B"].fall_ff) == (3.0, pytest.approx(2.7))
    assert flop.register.next_state.inputs == ("D",)
    assert flop.register.clocked_on.inputs == ("CK",)
    assert flop.pins["CK"].clock and not flop.pins["D"].clock
    assert gate.gating == "latch_posedge"
    roles = {name: pin.gate_role for name, pin in gate.pins.items()}
    assert roles == {"E": "enable", "CK": "clock", "GCK": "out"}
    assert LIBRARY.cells["LATCH"].latch.enable.inputs == ("G",)


def test_conditions_and_senses():
    low, high, other = LIBRARY.cells["XOR"].pins["Z"].arcs
    assert (low.sense, high.sense) == (Sense.POSITIVE, Sense.NEGATIVE)
    assert low.when({"B": 0}) and high.when({"B": 1}) and other.when is None
    # Where the file does not say, the function does.
    assert other.sense is Sense.NONE
    assert LIBRARY.cells["INV"].pins["ZN"].arcs[0].sense is Sense.NEGATIVE


def test_units():
    library = parse_liberty(POWER.encode(), "power.lib")
    cell = library.cells["F"]
    assert (library.voltage_v, cell.leakage_nw, cell.leakages[0].nw) == (1.8, 3000.0, 2500.0)
    assert cell.leakages[0].when({"D": 1, "CK": 0}) and cell.dont_use
    assert cell.pins["D"].capacitance_ff == cell.pins["RN"].rise_ff == pytest.approx(400.0)
    load = library.wire_loads["w"]
    assert load.ff_per_unit == pytest.approx(200.0)
    assert load.kohm_per_unit == pytest.approx(0.003)


def test_internal_power():
    """In fJ: a unit is 100 fF times (0.1 V)^2. Rows are slews, whichever axis comes first."""
    cell = parse_liberty(POWER.encode(), "power.lib").cells["F"]
    (power,) = cell.pins["Q"].powers
    assert power.related == ("CK", "RN")
    assert power.rise.rows == pytest.approx([0.03, 0.04, 0.05])
    assert power.rise.columns == pytest.approx([100.0, 200.0])
    assert power.rise.at(0.04, 200.0) == pytest.approx(5.0)
    assert power.fall.rows == pytest.approx([0.3, 0.4, 0.5])
    (hidden,) = cell.pins["RN"].powers
    assert hidden.related == () and hidden.when({"CK": 1})
    assert hidden.rise is hidden.fall and hidden.rise.at(0.7, 3.0) == pytest.approx(1.5)
    assert cell.register.clear({"RN": 0}) is True


def test_a_wire_by_fanout():
    load = LIBRARY.wire_loads[LIBRARY.default_wire_load]
    assert [load.length(fanout) for fanout in (0, 1, 2, 5)] == [0.0, 2.0, 6.0, 18.0]
    assert load.capacitance_ff(2) == 3.0 and load.resistance_kohm(2) == pytest.approx(1.2)
    sparse = parse_liberty(POWER.encode(), "power.lib").wire_loads["w"]
    assert [sparse.length(fanout) for fanout in (1, 2, 4)] == [4.0, 5.0, 7.0]


def test_packed_and_plain_are_the_same(tmp_path):
    plain, packed = tmp_path / "small.lib", tmp_path / "small.lib.gz"
    plain.write_text(TEXT)
    packed.write_bytes(gzip.compress(TEXT.encode()))
    one, other = read_liberty(plain), read_liberty(packed)
    assert one.digest == other.digest == LIBRARY.digest
    assert list(one.cells) == list(other.cells) == list(LIBRARY.cells)
    packed.write_bytes(gzip.compress(TEXT.encode())[:-20])
    with pytest.raises(LibertyError, match="small.lib.gz is a damaged gzip file: "):
        read_liberty(packed)
    with pytest.raises(LibertyError, match="none.lib cannot be read: No such file"):
        read_liberty(tmp_path / "none.lib")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_short(part):
    with pytest.raises(LibertyError) as raised:
        parse_liberty(TEXT[: int(len(TEXT) * part)].encode(), "cut.lib")
    assert str(raised.value).startswith("cut.lib is cut short: '")
    assert str(raised.value).endswith(", has no end")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text,what",
    [
        ("module m (a); endmodule", "is no Liberty file: it does not begin with 'library'"),
        ("", "is no Liberty file: it does not begin with 'library'"),
        ("cell (A) { }", "is no Liberty file: it does not begin with 'library'"),
        ("delay_model : table;", "is no Liberty file: it does not begin with 'library'"),
        ("library (l) { }", "holds no flip-flop (no cell with an 'ff' group): it has no cells"),
        (
            "library (l) { cell (A) { area : 1; } }",
            "holds no flip-flop (no cell with an 'ff' group): its 1 cells are combinational",
        ),
        (
            "library (l) {\n cell (A) {\n area : much; } }",
            ", line 2, cell A: area must be a number, not 'much'",
        ),
        (
            "library (l) {\n cell (A) {\n pin (B) { direction : up; } } }",
            ", line 3, pin B: direction must be one of input, output, not 'up'",
        ),
        (
            'library (l) {\n cell (A) { pin (B) { direction : output; function : "A |"; } } }',
            ", line 2, pin B: function 'A |' is no Boolean expression at its end",
        ),
        ("library (l) {\n a : 1;\n ???\n b : 2; }", ", line 3: '???' is no statement"),
        ('library (l) { time_unit : "1h"; }', "time_unit must be like 1ns, not '1h'"),
        ("library (l) { default_wire_load : w; cell (F) { ff (I) { next_state : D; "
         "clocked_on : C; } } }", ": default_wire_load 'w' is not in the file"),
        ("library (l) { cell (F) { ff (I) { next_state : D; } } }",
         ", line 1, ff I: lacks next_state or clocked_on"),
        (
            TEXT.replace("cell_rise (grid)", "cell_rise (lost)"),
            "there is no template 'lost'",
        ),
        (
            TEXT.replace('0.01, 0.1, 0.3"', '0.01, 0.3, 0.1"'),
            "an index must rise: '0.01, 0.3, 0.1'",
        ),
        (
            TEXT.replace('0.01, 0.1, 0.3"', '0.01, 0.1"'),
            "values; its axes want 6",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text, what):
    with pytest.raises(LibertyError) as raised:
        parse_liberty(text.encode(), "bad.lib")
    message = str(raised.value)
    assert message.startswith("bad.lib") and message.endswith(what) and "\n" not in message
