"""The runtime for firmware as a shared library, called from Python, its hooks in Python."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from hw.isa.config import Config
from hw.isa.registers import COUNTERS
from sw.firmware.header import header, source

__all__ = [
    "GCC",
    "RESULTS",
    "STRICT",
    "Hooks",
    "Program",
    "Runtime",
    "compiled",
    "loaded",
    "shared_library",
    "written",
]

GCC = shutil.which("gcc")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffreestanding")
RESULTS = (
    "OK", "NO_DEVICE", "WRONG_VERSION", "BUSY", "NEEDS_RESET", "BAD_PROGRAM", "IDLE", "STOPPED",
    "GAVE_UP",
)  # fmt: skip
"""Members of ``enum cdmqta_result``."""


def written(folder: Path, config: Config | None) -> Path:
    """Write header and runtime, and return the folder."""
    (folder / "cdmqta.h").write_text(header(config))
    (folder / "cdmqta.c").write_text(source())
    return folder


def compiled(arguments: Sequence[str | Path], compiler: str = "gcc") -> None:
    """Run a compiler; what it prints is in the message of the failure."""
    done = subprocess.run([compiler, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def shared_library(folder: Path, *sources: Path) -> Path:
    """Return a library of C sources, compiled as firmware is, whose headers are in `folder`."""
    library = folder / f"{sources[0].stem}.so"
    compiled([*STRICT, "-O2", "-shared", "-fPIC", "-I", folder, *sources, "-o", library])
    return library


def loaded(folder: Path, name: str, text: str) -> ctypes.CDLL:
    """Return C code that uses the header, compiled together with the runtime and loaded."""
    file = folder / f"{name}.c"
    file.write_text(f'#include "cdmqta.h"\n{text}')
    return ctypes.CDLL(str(shared_library(folder, file, folder / "cdmqta.c")))


_READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
_WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
_BARRIER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_WAIT = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


class _Device(ctypes.Structure):
    """``struct cdmqta_device``."""

    _fields_ = (
        ("context", ctypes.c_void_p),
        ("read32", _READ),
        ("write32", _WRITE),
        ("barrier", _BARRIER),
        ("wait", _WAIT),
    )


class Program(ctypes.Structure):
    """``struct cdmqta_program``."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("instructions", ctypes.c_uint32),
        ("watchdog", ctypes.c_uint32),
        ("seed", ctypes.c_uint32),
    )


class Hooks(Protocol):
    """What the C code calls."""

    def read32(self, address: int) -> int: ...

    def write32(self, address: int, value: int) -> None: ...

    def barrier(self) -> None: ...

    def wait(self) -> bool: ...


class Runtime:
    """The functions of the library, on one device.

    An exception of a hook cannot pass through C: it is raised when the function has returned.

    Parameters
    ----------
    library : Path
        What `shared_library` made of the runtime.
    hooks : Hooks
    """

    def __init__(self, library: Path, hooks: Hooks) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.cdmqta_read_counter.restype = ctypes.c_uint64
        for name in ("read32", "status", "error_instruction", "waiting"):
            getattr(self._library, f"cdmqta_{name}").restype = ctypes.c_uint32
        self._raised: BaseException | None = None
        # Kept here: the structure does not keep the functions it points to.
        self._hooks = (
            _READ(self._guarded(hooks.read32, 0)),
            _WRITE(self._guarded(hooks.write32, None)),
            _BARRIER(self._guarded(hooks.barrier, None)),
            _WAIT(self._guarded(hooks.wait, False)),
        )
        self._device = _Device(None, *self._hooks)

    def _guarded(self, hook: Callable[..., Any], failed: Any) -> Callable[..., Any]:
        def call(context: int | None, *arguments: int) -> Any:
            if self._raised is not None:
                return failed
            try:
                return hook(*arguments)
            except BaseException as error:
                self._raised = error
                return failed

        return call

    def poll(self, polls: bool) -> None:
        """Let the runtime poll instead of calling the hook that waits, or call it again."""
        self._device.wait = _WAIT() if polls else self._hooks[3]

    def call(self, name: str, *arguments: Any) -> int:
        """Return what the function ``cdmqta_<name>`` returns for the device."""
        return self.foreign(getattr(self._library, f"cdmqta_{name}"), *arguments)

    def foreign(self, function: Callable[..., int], *arguments: Any) -> int:
        """Return what a C function returns for the device."""
        value = function(ctypes.byref(self._device), *arguments)
        if self._raised is not None:
            raise self._raised
        return value

    def result(self, name: str, *arguments: Any) -> str:
        """Return the result that a function returns, by name."""
        return RESULTS[self.call(name, *arguments)]

    def counters(self) -> dict[str, int]:
        """Return all counters."""
        return {each.name: self.call("read_counter", at) for at, each in enumerate(COUNTERS)}

    def name(self, kind: str, number: int) -> str:
        """Return the name that the C code has for a counter, an error or a result."""
        function = getattr(self._library, f"cdmqta_{kind}_name")
        function.restype = ctypes.c_char_p
        return function(number).decode()
