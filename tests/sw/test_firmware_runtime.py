"""The C runtime keeps its word, on registers that are a dict."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.isa.config import Config
from hw.isa.registers import (
    COUNTERS,
    IDENTITY,
    VERSION,
    ErrorCode,
    Register,
    Status,
    counter_address,
)

from .firmware_library import GCC, RESULTS, Program, Runtime, loaded, shared_library, written

pytestmark = pytest.mark.skipif(GCC is None, reason="gcc is not there to compile firmware with")

CONFIG = Config.preset("small").replace(address_bits=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Header and runtime for any accelerator."""
    return written(tmp_path_factory.mktemp("firmware"), None)


@pytest.fixture(scope="module")
def one_folder(tmp_path_factory) -> Path:
    """Header and runtime for one accelerator."""
    return written(tmp_path_factory.mktemp("firmware"), CONFIG)


class Registers:
    """Registers as the accelerator has them while it does nothing, and a log of what is done."""

    def __init__(self) -> None:
        self.values = {int(Register.IDENTITY): IDENTITY, int(Register.VERSION): VERSION}
        self.log: list[str] = []
        self.before_read: Callable[[int], None] = lambda address: None
        self.waits = iter(())

    def read32(self, address: int) -> int:
        self.before_read(address)
        return self.values.get(address, 0)

    def write32(self, address: int, value: int) -> None:
        name = Register(address).name
        self.log.append(f"{name} {value:#x}")
        width = {"PROGRAM_HIGH": 16, "PROGRAM_LENGTH": 24}.get(name, 32)
        self.values[address] = value & (1 << width) - 1

    def barrier(self) -> None:
        self.log.append("barrier")

    def wait(self) -> bool:
        self.log.append("wait")
        answer, self.values[Register.STATUS] = next(self.waits)
        return answer


@pytest.fixture
def registers() -> Registers:
    return Registers()


@pytest.fixture
def runtime(folder, registers) -> Runtime:
    return Runtime(shared_library(folder, folder / "cdmqta.c"), registers)


def test_init_tells_what_is_not_there(runtime, registers):
    assert runtime.result("init") == "OK"
    registers.values[Register.VERSION] = VERSION + 1
    assert runtime.result("init") == "WRONG_VERSION"
    registers.values[Register.IDENTITY] = 0xFFFFFFFF
    assert runtime.result("init") == "NO_DEVICE"


def test_a_program_starts_when_all_is_in_place(runtime, registers):
    """Registers, then the old interrupt, then memory; the start comes last."""
    program = Program(0x12_3456_7880, 5, 6, 7)
    assert runtime.result("start", ctypes.byref(program)) == "OK"
    assert registers.log == [
        "PROGRAM_LOW 0x34567880", "PROGRAM_HIGH 0x12", "PROGRAM_LENGTH 0x5", "WATCHDOG 0x6",
        "SEED 0x7", "INTERRUPT 0x1", "barrier", "CONTROL 0x3",
    ]  # fmt: skip
    runtime.poll(True)
    assert runtime.result("start", ctypes.byref(program)) == "OK"
    assert registers.log[-1] == "CONTROL 0x1", "no interrupt for one who polls"


@pytest.mark.parametrize(
    "status,result",
    [
        (Status.BUSY, "BUSY"),
        (Status.RESETTING, "BUSY"),
        (Status.ERROR | ErrorCode.READ_TIMEOUT << 8, "NEEDS_RESET"),
    ],
)
def test_no_start_where_it_would_not_be_taken(runtime, registers, status, result):
    registers.values[Register.STATUS] = int(status)
    assert runtime.result("start", ctypes.byref(Program(0, 1))) == result
    assert registers.log == []


@pytest.mark.parametrize("address,length", [(0, 0), (0, 1 << 24), (1 << 48, 1), (1 << 63, 1)])
def test_a_program_that_does_not_fit_the_registers_is_refused(runtime, registers, address, length):
    assert runtime.result("run", ctypes.byref(Program(address, length))) == "BAD_PROGRAM"
    assert not any(line.startswith("CONTROL") for line in registers.log)


@pytest.mark.parametrize("address", [8, 17, 1 << 40])
def test_a_header_with_sizes_checks_the_address(one_folder, registers, address):
    runtime = Runtime(shared_library(one_folder, one_folder / "cdmqta.c"), registers)
    assert runtime.result("run", ctypes.byref(Program(address, 1))) == "BAD_PROGRAM"
    assert registers.log == []


def test_the_hook_waits_as_often_as_it_returns_early(runtime, registers):
    registers.waits = iter([(True, Status.BUSY), (True, Status.BUSY), (True, Status.DONE)])
    registers.values[Register.STATUS] = Status.BUSY
    assert runtime.result("wait") == "OK"
    assert registers.log == ["wait", "wait", "wait", "barrier"]


def test_a_wait_for_nothing_ends(runtime, registers):
    assert runtime.result("wait") == "IDLE"
    assert registers.log == ["barrier"]


def test_a_wait_is_given_up(runtime, registers):
    registers.waits = iter([(True, Status.BUSY), (False, Status.BUSY)])
    registers.values[Register.STATUS] = Status.BUSY
    assert runtime.result("wait") == "GAVE_UP"
    assert registers.log == ["wait", "wait"]


def test_a_reset_is_waited_for(runtime, registers):
    reads = []

    def resetting(address: int) -> None:
        reads.append(address)
        registers.values[Register.STATUS] = Status.RESETTING if len(reads) < 4 else 0

    registers.before_read = resetting
    assert runtime.result("reset", 3) == "GAVE_UP"
    assert (registers.log, reads) == (["CONTROL 0x4"], [Register.STATUS] * 3)
    reads.clear()
    assert runtime.result("reset", 0) == "OK"
    assert reads == [Register.STATUS] * 4


def test_a_counter_is_read_as_it_was_at_one_time(runtime, registers):
    """Its low word overflows at each place between the reads of its two words."""
    address = counter_address("macs")
    at = next(index for index, each in enumerate(COUNTERS) if each.name == "macs")
    for ahead in range(6):
        value = start = (7 << 32) - ahead

        def grow(address_read: int) -> None:
            nonlocal value
            value += 1
            registers.values |= {address: value & 0xFFFFFFFF, address + 4: value >> 32}

        registers.before_read = grow
        found = runtime.call("read_counter", at)
        assert start < found <= value, ahead
        assert value - start <= 5, "high, low, high, and once more at most"


def test_state_after_an_error(runtime, registers):
    status = Status.ERROR | ErrorCode.TOKEN_DEADLOCK << 8
    registers.values |= {Register.STATUS: status, Register.ERROR_INSTRUCTION: 12}
    registers.values[Register.WAITING] = 0x210
    assert runtime.result("wait") == "STOPPED"
    assert runtime.call("status") == status
    assert runtime.call("last_error") == ErrorCode.TOKEN_DEADLOCK
    assert runtime.call("error_instruction") == 12
    assert runtime.call("waiting") == 0x210


def test_names(runtime):
    assert [runtime.name("counter", at) for at in range(len(COUNTERS))] == [
        counter.name for counter in COUNTERS
    ]
    assert {error: runtime.name("error", error) for error in ErrorCode} == {
        error: error.name for error in ErrorCode
    }
    meanings = [runtime.name("result", at) for at in range(len(RESULTS))]
    assert len(set(meanings)) == len(RESULTS) and meanings[0] == "done"
    for kind, beyond in (("counter", len(COUNTERS)), ("result", len(RESULTS)), ("error", 200)):
        assert runtime.name(kind, beyond) == "unknown"
        assert runtime.name(kind, -1) == "unknown"


def test_registers_in_memory(one_folder):
    """Without hooks, the context is the address of the registers."""
    text = """
    uint64_t cycles(void *registers)
    {
        const struct cdmqta_device device = { .context = registers };

        cdmqta_write32(&device, CDMQTA_REGISTER_SEED, 99);
        if (cdmqta_init(&device) != CDMQTA_RESULT_OK)
            return 0;
        return cdmqta_read_counter(&device, CDMQTA_COUNTER_CYCLES);
    }
    """
    memory = (ctypes.c_uint32 * 128)()
    memory[Register.IDENTITY // 4], memory[Register.VERSION // 4] = IDENTITY, VERSION
    at = counter_address("cycles") // 4
    memory[at], memory[at + 1] = 5, 6
    function = loaded(one_folder, "plain", text).cycles
    function.restype = ctypes.c_uint64
    assert function(memory) == 6 << 32 | 5
    assert memory[Register.SEED // 4] == 99
