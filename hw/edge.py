"""The array's edges: skew of operands and control, once."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .array import pack
from .isa.config import Config
from .isa.pipeline import TURNS
from .pe import control_layout

__all__ = ["Edge", "delayed", "delayed_in_turns", "delayed_where", "turns", "valid_line"]


def delayed(m: Module, value: Any, cycles: int, name: str, *, reset: bool = False) -> Value:
    """Return `value` as it was `cycles` earlier, through one shift register named `name`.

    Data needs no reset; what makes data count (a valid bit) does.
    """
    width = len(value)
    line = Signal(width * cycles, name=name, reset_less=not reset)
    m.d.sync += line.eq(Cat(value, line[: width * (cycles - 1)]))
    return line[width * (cycles - 1) :]


def delayed_where(m: Module, value: Any, taken: list[Any], name: str) -> Value:
    """Return `value` as it was ``len(taken)`` cycles earlier where it counts.

    Bit n of `taken` tells, n cycles after a value, that it counts; others are not clocked.
    """
    for age, takes in enumerate(taken):
        later = Signal(len(value), name=f"{name}_{age + 1}", reset_less=True)
        with m.If(takes):
            m.d.sync += later.eq(value)
        value = later
    return value


def valid_line(m: Module, valid: Any, cycles: int, name: str) -> list[Any]:
    """Return `valid` as it is, and as it was 1 to ``cycles - 1`` cycles earlier."""
    line = Signal(cycles - 1, name=name)
    m.d.sync += line.eq(Cat(valid, line[:-1]))
    return [valid, *line]


def turns(m: Module) -> Signal:
    """Return a bit for each turn, of which one is set, the next one in the next cycle."""
    turn = Signal(TURNS, init=1)
    m.d.sync += turn.eq(turn.rotate_left(1))
    return turn


def delayed_in_turns(m: Module, value: Any, cycles: int, name: str, turn: Signal) -> Value:
    """Return `value` as it was `cycles` earlier, for a fraction of what `delayed` takes to clock.

    Each of the short registers takes the value of every cycle that is its turn. What stands at its
    end when its turn comes is that of as many turns ago as it has places.
    """
    width, places = len(value), cycles // TURNS
    if rest := cycles % TURNS:
        value = delayed(m, value, rest, f"{name}_rest")
    if not places:
        return value
    ends = []
    for index in range(TURNS):
        line = Signal(width * places, name=f"{name}_{index}", reset_less=True)
        with m.If(turn[index]):
            m.d.sync += line.eq(Cat(value, line[: width * (places - 1)]))
        ends.append(line[width * (places - 1) :] & turn[index].replicate(width))
    late = Signal(width, name=f"{name}_late")
    m.d.comb += late.eq(reduce(or_, ends))
    return late


def _lane(words: list[Signal], lane: int) -> Value:
    """Return a lane of each word, side by side."""
    lanes = [word.word_select(lane, 8) for word in words]
    return Cat(lanes) if len(lanes) > 1 else lanes[0]


class Edge(wiring.Component):
    """Skew the left operand down the rows, the right operand along the columns, and drive control.

    Row r of the array takes lane ``rows - 1 - r``, so that the stationary tile enters and results
    leave in rising order.

    Members (all of one issue cycle u)
    -------
    left, right : In, a word of 8 bits a row, or a column, for each product of an element
        Words read in cycle u, so these show cycle u-1's addresses.
    left_enable, right_enable : In, a bit for each product
        In cycle u+1, whether the words of `left` and `right` count; zeros enter otherwise.
    wave, os, first, last : In(1)
        A wave is issued in u, its dataflow, and whether it is the first or last of its fold.
    load_first, load_last : In(1)
        The first or last row of a stationary tile is issued in u.
    a, control, b : Out
        To the array.

    Timing
    ------
    A wave issued in u enters the array's first element in u+3, its right operand in u+2.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        products = config.macs_per_element
        super().__init__(
            {
                "left": In(8 * products * config.rows),
                "right": In(8 * products * config.columns),
                "left_enable": In(products),
                "right_enable": In(products),
                "wave": In(1),
                "os": In(1),
                "first": In(1),
                "last": In(1),
                "load_first": In(1),
                "load_last": In(1),
                "a": Out(8 * products * config.rows),
                "control": Out(control_layout(config).size * config.rows),
                "b": Out(8 * products * config.columns),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        columns = self._config.columns
        left, right = self._words(m)
        # `w` takes an OS operand out of `b`; where there is no `w`, it comes a cycle later.
        late = 0 if self._config.weight_stationary else 1
        lanes = self._lanes(m, left)
        turn = turns(m)

        def skewed(value: Any, cycles: int, name: str) -> Value:
            return delayed_in_turns(m, value, cycles, f"skew_{name}", turn)

        m.d.comb += [
            self.a.eq(pack([skewed(lane, 2 + row, f"a_{row}") for row, lane in enumerate(lanes)])),
            self.b.eq(
                pack(
                    [
                        skewed(_lane(right, column), 1 + late + column, f"b_{column}")
                        for column in range(columns)
                    ]
                )
            ),
            self.control.eq(pack(self._controls(m))),
        ]
        return m

    def _words(self, m: Module) -> tuple[list[Signal], list[Signal]]:
        """Return the words of both operands, zero where they do not count."""
        found = []
        for name, lanes in (("left", self._config.rows), ("right", self._config.columns)):
            words, enable = getattr(self, name), getattr(self, f"{name}_enable")
            several = self._config.macs_per_element > 1
            found.append([])
            for place in range(self._config.macs_per_element):
                word = Signal(8 * lanes, name=f"{name}_{place}" if several else name)
                with m.If(enable[place]):
                    m.d.comb += word.eq(words.word_select(place, 8 * lanes))
                found[-1].append(word)
        return found[0], found[1]

    def _lanes(self, m: Module, words: list[Signal]) -> list[Any]:
        """Return the left operand of each row of the array.

        In OS each word is an index of the reduction and has a lane for each row; in WS they are one
        after the other, and each row takes as many lanes of them as an element has products.
        """
        config, products = self._config, self._config.macs_per_element
        order = [config.rows - 1 - row for row in range(config.rows)]
        across = [_lane(words, lane) for lane in order]
        if products == 1 or not config.weight_stationary:
            return across
        along = [Cat(words).word_select(lane, 8 * products) for lane in order]
        if not config.output_stationary:
            return along
        is_os, lanes = Signal(name="left_os"), []
        m.d.sync += is_os.eq(self.os)
        for row, pair in enumerate(zip(across, along, strict=True)):
            lane = Signal(8 * products, name=f"lane_{row}")
            m.d.comb += lane.eq(Mux(is_os, *pair))
            lanes.append(lane)
        return lanes

    def _controls(self, m: Module) -> list[Any]:
        """Return the control of each row, as the array takes it.

        With u for a wave's issue and R for rows, row r takes the wave in u+3+r. `b` shifts for an
        OS wave in u+2+r, and for a tile whose rows are issued in l..l+R-1 in l+2+r..l+R+1: the
        start travels down, the stop is one cycle for all. Sums of a fold whose last wave is issued
        in e move down in e+R+3..e+R+2+r: the start is one cycle for all, the stop travels down.
        """
        rows = self._config.rows
        layout = control_layout(self._config)
        # Bit n of a line is its input n+1 cycles ago.
        wave = self._line(m, self.wave, rows + 2, "wave")
        os = self._line(m, self.wave & self.os, rows + 2, "os")
        first = self._line(m, self.wave & self.first, rows + 2, "first")
        last = self._line(m, self.wave & self.last, rows + 2, "last")
        shifts, drains = self._loads(m, os), self._drains(m)
        controls = []
        for row in range(rows):
            control = Signal(layout, name=f"control_{row}")
            values = {
                "valid": wave[2 + row],
                "os": os[2 + row],
                "first": first[2 + row],
                "last": last[2 + row],
                "shift_b": shifts[row],
                "shift_p": drains[row],
            }
            if not self._config.drain_overlap:
                # No wave is there while sums leave: what enters beside the control is zero.
                values["valid"] |= drains[row]
            m.d.comb += [control[name].eq(values[name]) for name in layout.members]
            controls.append(control)
        return controls

    def _loads(self, m: Module, os: Signal) -> list[Any]:
        """Return in which rows `b` shifts."""
        rows = self._config.rows
        if not self._config.weight_stationary:
            return [Const(0)] * rows
        load = self._line(m, self.load_first, rows + 1, "load")
        load_stop = self._line(m, self.load_last, 2, "load_stop")[1]
        shifts = []
        for row in range(rows):
            loading, loads = Signal(name=f"loading_{row}"), Signal(name=f"loads_{row}")
            m.d.comb += loads.eq(load[1 + row] | loading)
            m.d.sync += loading.eq(loads & ~load_stop)
            shifts.append(loads | os[1 + row])
        return shifts

    def _drains(self, m: Module) -> list[Any]:
        """Return in which rows finished sums of OS move down."""
        rows = self._config.rows
        if not self._config.output_stationary:
            return [Const(0)] * rows
        drain = self._line(m, self.wave & self.os & self.last, 2 * rows + 1, "drain")
        moves: list[Any] = [Const(0)]
        for row in range(1, rows):
            draining, drains = Signal(name=f"draining_{row}"), Signal(name=f"drains_{row}")
            m.d.comb += drains.eq(drain[rows + 2] | draining)
            m.d.sync += draining.eq(drains & ~drain[rows + 1 + row])
            moves.append(drains)
        return moves

    @staticmethod
    def _line(m: Module, value: Any, length: int, name: str) -> Signal:
        line = Signal(length, name=f"line_{name}")
        m.d.sync += line.eq(Cat(value, line[:-1]))
        return line
