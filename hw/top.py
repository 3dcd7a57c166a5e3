"""The accelerator: read it beside the picture in the README."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from .axi import ReadMaster, WriteMaster, read_members, write_members
from .controller import Controller
from .execute import ExecuteEngine
from .isa.config import Config
from .isa.instructions import Engine
from .isa.registers import ACTIVITY, COUNTERS, TRACE, ErrorCode
from .load import LoadEngine
from .registers import Registers, lite_members
from .shared import Builder
from .store import StoreEngine
from .watchdog import Watchdog

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Everything between a register write and an interrupt.

    Members
    -------
    m_axi_... : AXI4 master to DRAM
    s_axil_... : AXI4-Lite slave, see `hw.isa.registers`
    irq : Out(1)
    trace : Out
        Pulses for timelines, see `TRACE`, a cycle after what they tell. It may be left open.
    activity : Out
        What goes on in the cycle before, see `ACTIVITY`; for timelines, too, and may be left open.
    """

    def __init__(self, config: Config, builder: Builder | None = None) -> None:
        self._config, self._builder = config, builder or Builder()
        members: dict[str, wiring.Member] = {
            "irq": Out(1),
            "trace": Out(len(TRACE)),
            "activity": Out(len(ACTIVITY)),
        }
        self._reads, self._writes = read_members(config), write_members(config)
        for name, member in (self._reads | self._writes).items():
            members[f"m_axi_{name}"] = member
        for name, member in lite_members().items():
            members[f"s_axil_{name}"] = member
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, builder = self._config, self._builder
        m.submodules.registers = registers = Registers(config)
        m.submodules.watchdog = Watchdog()
        m.submodules.reader = reader = ReadMaster(config)
        m.submodules.writer = writer = WriteMaster(config)
        # A reset by the host: the bus masters flush, and all that works on a program starts anew.
        reset = Signal(name="soft_reset")
        m.d.comb += reset.eq(registers.resetting)
        builder.soft_reset, resets = reset, ResetInserter(reset)
        m.submodules.controller = controller = resets(Controller(config))
        m.submodules.load = load = resets(LoadEngine(config, builder))
        m.submodules.execute = execute = resets(ExecuteEngine(config, builder))
        m.submodules.store = store = resets(StoreEngine(config, builder))

        # DRAM -> load -> buffers -> feed -> array -> accumulate -> requantise -> store -> DRAM
        connect(m, load.bursts, reader.load)
        connect(m, reader.load_data, load.beats)
        connect(m, load.left, execute.write_left)
        connect(m, load.right, execute.write_right)
        connect(m, load.accumulate_scale, execute.write_scale)
        connect(m, load.row_scale, store.row_scale)
        connect(m, load.column_scale, store.column_scale)
        m.d.comb += [
            execute.read_enable.eq(store.read_enable),
            execute.read_address.eq(store.read_address),
            store.read_data.eq(execute.read_data),
            store.half_busy.eq(execute.half_busy),
            store.half_used.eq(execute.half_used),
            store.answered.eq(writer.answered),
            store.seed.eq(registers.seed),
        ]
        connect(m, store.accumulate_scale, execute.write_update)
        connect(m, store.bursts, writer.bursts)
        connect(m, store.beats, writer.beats)

        # program -> controller -> engines, and their tokens
        connect(m, controller.bursts, reader.fetch)
        connect(m, reader.fetch_data, controller.beats)
        for source, engine in (
            (controller.load, load),
            (controller.execute, execute),
            (controller.store, store),
        ):
            m.d.comb += [
                engine.i.p.eq(source.p),
                engine.i.valid.eq(source.valid),
                source.ready.eq(engine.i.ready),
            ]
        self._tokens(m)
        self._state(m)
        self._watch(m)
        steps = self._steps(m)
        self._count(m, steps)
        self._show(m, steps)
        self._ports(m)
        return m

    def _tokens(self, m: Module) -> None:
        """Carry tokens between engines, and pulses to the trace port."""
        units = m.submodules
        controller, load = units.controller, units.load
        execute, store = units.execute, units.store
        m.d.comb += [
            controller.load_signal_execute.eq(load.signal_execute),
            controller.load_signal_store.eq(load.signal_store),
            controller.execute_signal_load.eq(execute.signal_load),
            controller.execute_signal_store.eq(execute.signal_store),
            controller.store_signal_load.eq(store.signal_load),
            controller.store_signal_execute.eq(store.signal_execute),
        ]
        for bit, (engine, kind) in enumerate(TRACE):
            unit = {Engine.LOAD: load, Engine.EXECUTE: execute, Engine.STORE: store}[engine]
            pulse = {
                "start": lambda unit=unit: unit.i.valid & unit.i.ready,
                "read": lambda unit=unit: unit.read_end,
                "done": lambda unit=unit: unit.end,
            }[kind]()
            m.d.sync += self.trace[bit].eq(pulse)

    def _state(self, m: Module) -> None:
        """Start, stop, and tell the registers."""
        units = m.submodules
        controller, registers = units.controller, units.registers
        reader, writer = units.reader, units.writer
        load, execute, store = units.load, units.execute, units.store
        m.d.comb += [
            controller.start.eq(registers.start),
            controller.base.eq(registers.base),
            controller.length.eq(registers.length),
            controller.idle.eq(~(load.busy | execute.busy | store.busy) & writer.idle),
            controller.fault.eq(
                Mux(
                    reader.error,
                    ErrorCode.READ_RESPONSE,
                    Mux(writer.error, ErrorCode.WRITE_RESPONSE, 0),
                )
            ),
            registers.running.eq(controller.running),
            registers.done.eq(controller.done),
            registers.error.eq(controller.error),
            registers.dispatched.eq(controller.dispatched),
            registers.waiting.eq(controller.waiting),
            registers.clean.eq(reader.idle & writer.idle),
            reader.flush.eq(registers.resetting),
            writer.flush.eq(registers.resetting),
            registers.fed.eq(execute.fed),
            registers.written.eq(execute.written),
            self.irq.eq(registers.irq),
        ]

    def _watch(self, m: Module) -> None:
        """Tell the watchdog what moves, and the controller what the watchdog finds."""
        units = m.submodules
        watchdog, controller = units.watchdog, units.controller
        reader, writer = units.reader, units.writer
        steps = (
            reader.moves, writer.moves, controller.retired, self.trace.any(),
            units.load.moves, units.execute.moves, units.store.moves,
        )  # fmt: skip
        m.d.comb += [
            watchdog.limit.eq(units.registers.watchdog),
            watchdog.running.eq(controller.running),
            watchdog.moves.eq(Cat(steps).any()),
            watchdog.reads.eq(reader.outstanding),
            watchdog.writes.eq(~writer.idle),
            controller.timeout.eq(watchdog.error),
        ]

    @staticmethod
    def _waits(controller: Controller) -> dict[str, Any]:
        """Return the steps of the counters of instructions that wait for tokens."""
        steps = {}
        for engine in Engine:
            bits = controller.waiting.word_select(engine, 4) & ~controller.error.any().replicate(4)
            steps[f"{engine.name.lower()}_stalled_on_token"] = bits.any()
            for peer in Engine:
                if peer != engine:
                    name = f"{engine.name.lower()}_stalled_on_{peer.name.lower()}"
                    steps[name] = bits[peer]
        return steps

    def _steps(self, m: Module) -> dict[str, Any]:
        """Return what each counter grows by in a cycle."""
        units = m.submodules
        bus = self._config.bus_bytes
        return {
            "cycles": units.controller.running,
            "array_cycles": 0,  # counted between `fed` and `written`
            "instructions": units.controller.retired,
            "macs": units.execute.macs,
            "dram_read_bytes": Mux(units.reader.beat, bus, 0),
            "dram_write_bytes": Mux(units.writer.beat, bus, 0),
            "load_busy": units.load.busy,
            "execute_busy": units.execute.busy,
            "store_busy": units.store.busy,
            "array_fed": units.execute.array_fed,
            "load_stalled_on_dram": units.load.stalled_on_dram,
            "load_stalled_on_memory": units.load.stalled_on_memory,
            "store_stalled_on_dram": units.store.stalled_on_dram,
            "store_stalled_on_memory": units.store.stalled_on_memory,
            "saturations": units.store.saturations,
            "accumulate_saturations": units.execute.accumulate_saturations,
            **self._waits(units.controller),
        }

    @staticmethod
    def _count(m: Module, steps: dict[str, Any]) -> None:
        """Lead the steps to the counters."""
        missing = {counter.name for counter in COUNTERS} ^ set(steps)
        if missing:
            raise TypeError(f"counters declared and built differ: {', '.join(sorted(missing))}")
        for index, counter in enumerate(COUNTERS):
            target = m.submodules.registers.increments.word_select(index, Registers.INCREMENT)
            m.d.comb += target.eq(steps[counter.name])

    def _show(self, m: Module, steps: dict[str, Any]) -> None:
        """Lead what goes on to the activity port."""
        execute, store = m.submodules.execute, m.submodules.store
        levels = {"output_write": execute.written}
        for half in range(2):
            levels |= {
                f"input_write_{half}": execute.left_writes[half],
                f"input_read_{half}": execute.left_reads[half],
                f"weight_write_{half}": execute.right_writes[half],
                f"weight_read_{half}": execute.right_reads[half],
                f"output_add_{half}": execute.half_busy[half],
                f"output_store_{half}": store.read_enable & (store.read_address[-1] == half),
            }
        for bit, name in enumerate(ACTIVITY):
            m.d.sync += self.activity[bit].eq(levels[name] if name in levels else steps[name])

    def _ports(self, m: Module) -> None:
        """Give the buses their flat top-level names."""
        groups = (
            ("m_axi", m.submodules.reader, self._reads),
            ("m_axi", m.submodules.writer, self._writes),
            ("s_axil", m.submodules.registers, lite_members()),
        )
        for prefix, unit, members in groups:
            for name, member in members.items():
                inner, outer = getattr(unit, name), getattr(self, f"{prefix}_{name}")
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
