"""Imports go downwards only, and what is heavy is imported where it is used."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
ABOVE = {"hw": ("sim", "sw", "tests"), "sim": ("sw", "tests"), "sw": ("tests",)}
"""What each package may not import, at any time."""
MAY_EMIT = (
    "sim.builder",
    "sim.rtl",
    "sim.synth.design",
    "sim.synth.lanes",
    "sim.synth.stimulus",
    "sim.toolchain",
    "sw.cli",
)
"""Modules outside hw that import it, beyond hw.isa, when they need it."""
MAY_WATCH = ("sim.synth.stimulus",)
"""Modules outside hw that run it in Amaranth's simulator, to see what happens inside."""
MAY_SIMULATE = ("sim.bench", "sim.builder", "sim.lite")
"""Modules that import cocotb; none of them is imported before a simulation is asked for."""
TRAINING = ("sw.train", "sw.example")
"""Packages that need torch throughout."""
HEAVY = ("torch", "amaranth", "cocotb", "cocotb_tools")


@dataclass(frozen=True)
class Import:
    """An import of `name` by the module `module`; `later` if not when that is imported itself."""

    module: str
    line: int
    name: str
    later: bool

    def of(self, *packages: str) -> bool:
        """Tell whether what is imported is one of `packages`, or inside one."""
        return any(self.name == each or self.name.startswith(f"{each}.") for each in packages)


def modules() -> list[tuple[str, Path]]:
    """Return every module of the program and of the golden model, with its file."""
    found = []
    for folder in ("hw", "sim", "sw", "tests/golden"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.name.startswith("test_"):
                parts = path.relative_to(ROOT).with_suffix("").parts
                found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


def imports_of(module: str, source: str, *, package: bool = False) -> list[Import]:
    """Return the imports of a module's source, in order."""
    folder = module if package else module.rpartition(".")[0]
    found: list[Import] = []

    def visit(node: ast.AST, later: bool) -> None:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), folder)
            names = [f"{source}.{alias.name}" for alias in node.names]
        else:
            names = []
        found.extend(Import(module, node.lineno, name, later) for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child, later or _is_later(node))

    visit(ast.parse(source), False)
    return found


def _is_later(node: ast.AST) -> bool:
    """Tell whether what is inside runs later, or, for types only, never."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return True
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


SOURCES = modules()
NAMES = [module for module, _ in SOURCES]


def complaint(item: Import) -> str | None:
    """Return which rule an import breaks."""
    package = item.module.partition(".")[0]
    if item.module.startswith("tests.golden"):
        return "the golden model is independent" if item.of("hw", "sim", "sw") else None
    if item.of(*ABOVE[package]):
        return "imports go downwards only"
    if item.module.startswith("hw.isa"):
        known = item.of("hw.isa") or item.name.partition(".")[0] in sys.stdlib_module_names
        return None if known else "hw.isa needs the standard library only"
    if package != "hw" and item.of("hw") and not item.of("hw.isa"):
        allowed = item.later and item.module in MAY_EMIT
        return None if allowed else f"{package} meets hardware in hw.isa only"
    if item.of("amaranth") and package != "hw":
        watches = item.later and item.module in MAY_WATCH
        return None if watches else "only hw describes hardware"
    if item.of("cocotb", "cocotb_tools") and item.module not in MAY_SIMULATE:
        return "only the simulator's own modules need cocotb"
    if item.of("torch") and not item.later:
        return None if trains(item.module) else "torch is imported when it is used"
    if trains(item.name) and not trains(item.module) and not item.later:
        return "what needs torch is imported when it is used"
    return None


def trains(module: str) -> bool:
    """Tell whether a module is of a package that needs torch. Its commands are told without."""
    package = next((each for each in TRAINING if f"{module}.".startswith(f"{each}.")), None)
    return package is not None and not f"{module}.".startswith(f"{package}.command.")


def complaints(imports: list[Import]) -> list[str]:
    """Return a line for each import that breaks a rule."""
    return [
        f"{item.module}, line {item.line}, imports {item.name}: {rule}"
        for item in imports
        if (rule := complaint(item))
    ]


@pytest.mark.parametrize("module,path", SOURCES, ids=NAMES)
def test_imports_go_downwards(module, path):
    source = path.read_text(encoding="utf-8")
    assert complaints(imports_of(module, source, package=path.name == "__init__.py")) == []


@pytest.mark.parametrize("module,path", SOURCES, ids=NAMES)
def test_no_import_hides_in_a_call(module, path):
    """Names computed at run time would pass by the rules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = getattr(node, "attr", getattr(node, "id", None))
        assert name not in ("import_module", "__import__"), f"line {node.lineno}"


def test_the_rules_see_the_whole_program():
    names = set(NAMES)
    assert {"hw", "hw.isa", "hw.isa.config", "hw.top", "sim.rtl", "sw.cli"} <= names
    assert {"tests.golden.numerics", "tests.golden.lora"} <= names
    path = ROOT / "sim" / "rtl.py"
    found = imports_of("sim.rtl", path.read_text(encoding="utf-8"))
    named = {(item.name, item.later) for item in found}
    assert {("hw.isa.config.Config", False), ("sim.result.RunResult", False)} <= named
    assert ("sim.builder.Design", True) in named


@pytest.mark.parametrize(
    "module,source,rule",
    [
        ("hw.isa.config", "import numpy", "hw.isa needs the standard library only"),
        ("hw.isa.config", "def f():\n import numpy", "hw.isa needs the standard library only"),
        ("hw.isa.config", "from ..layout import SCALE", "hw.isa needs the standard library only"),
        ("hw.pe", "from sim.result import Event", "imports go downwards only"),
        ("hw.pe", "def f():\n  import sw.cli", "imports go downwards only"),
        ("sim.rtl", "def f():\n  from sw import cli", "imports go downwards only"),
        ("sim.rtl", "if TYPE_CHECKING:\n  from sw import cli", "imports go downwards only"),
        ("sw.cli", "from tests.golden import lora", "imports go downwards only"),
        ("sim.rtl", "import hw", "sim meets hardware in hw.isa only"),
        ("sim.rtl", "from hw import emit", "sim meets hardware in hw.isa only"),
        ("sim.rtl", "try:\n  import hw.emit\nexcept ImportError: pass", "hardware in hw.isa only"),
        ("sim.dram", "def f():\n  from hw.emit import emit", "sim meets hardware in hw.isa only"),
        ("sw.cli", "class A:\n  from hw.emit import emit", "sw meets hardware in hw.isa only"),
        ("sw.cli", "def f():\n  import amaranth", "only hw describes hardware"),
        ("sim.synth.stimulus", "import amaranth", "only hw describes hardware"),
        ("sim.dram", "def f():\n  import amaranth.sim", "only hw describes hardware"),
        ("sim.rtl", "import cocotb", "only the simulator's own modules need cocotb"),
        ("sw.demo", "import torch", "torch is imported when it is used"),
        ("hw.pe", "if True:\n  from torch import nn", "torch is imported when it is used"),
        ("sw.train.command", "import torch", "torch is imported when it is used"),
        (
            "sw.cli",
            "from .train.adapt import adapt",
            "what needs torch is imported when it is used",
        ),
        ("tests.golden.lora", "def f():\n  import hw.isa", "the golden model is independent"),
    ],
)
def test_a_planted_import_is_found(module, source, rule):
    (line,) = complaints(imports_of(module, source))
    assert line.startswith(f"{module}, line ") and line.endswith(rule)


@pytest.mark.parametrize(
    "module,source",
    [
        ("hw.isa.config", "import json\nfrom .instructions import Load"),
        ("hw.pe", "import amaranth\nfrom .isa.config import Config"),
        ("sim.rtl", "from hw.isa import config\ndef f():\n  from hw.emit import emit"),
        ("sw.cli", "import numpy\nfrom sim import rtl\nfrom . import gemm"),
        ("sw.demo", "def f():\n  import torch"),
        ("sw.train.adapt", "import torch\nfrom .context import Context"),
        (
            "sw.cli",
            "from .train.command import train_command\ndef f():\n  from .train import adapt",
        ),
        ("sim.bench", "import cocotb"),
        ("tests.golden.lora", "import torch"),
    ],
)
def test_a_proper_import_is_let_by(module, source):
    assert complaints(imports_of(module, source)) == []


def python(*arguments: str, folder: Path = ROOT) -> str:
    """Run Python on the program's folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_contract_needs_the_standard_library_only():
    """Without any installed package, every module of hw.isa is imported."""
    names = [name for name in NAMES if name.startswith("hw.isa")]
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n"
    code += "".join(f"import {name}\n" for name in names)
    code += "print(sorted(name for name in sys.modules if 'site-packages' in "
    code += "str(getattr(sys.modules[name], '__file__', ''))))"
    assert python("-I", "-S", "-c", code) == "[]\n"


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, json, sw.cli; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(python("-c", code))}
    assert {"sw", "sim", "hw", "numpy", "click"} <= loaded
    assert loaded.isdisjoint(HEAVY)


WITHOUT = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None
try:
    import torch
except ImportError:
    print("blocked")
from sw.cli import main
main(["gemm", "a.npy", "b.npy", "-o", "c.npy", "--preset", "tiny", "--requantise", "row"])
main(["compile", "lora:5x6x7:r2", "-o", "site.prog", "--preset", "tiny"])
main(["run", "site.prog"])
"""


def test_products_are_computed_without_torch_amaranth_and_cocotb(tmp_path):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, shape, dtype=np.int8) for shape in ((5, 7), (7, 3)))
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{WITHOUT}"
    assert python("-c", code, folder=tmp_path).startswith("blocked\n")
    assert np.load(tmp_path / "c.npy").shape == (5, 3)
    assert np.load(tmp_path / "c.scales.npy").shape == (5,)


def test_netlists_are_kept_by_the_sources_they_depend_on() -> None:
    """`sim.synth.flow` and all of its package that it imports, one way or another."""
    from sim.synth.flow import MAKERS

    package, paths = "sim.synth.", dict(SOURCES)
    found, more = set(), ["sim.synth.flow"]
    while more:
        module = more.pop()
        found.add(module)
        for item in imports_of(module, paths[module].read_text(encoding="utf-8")):
            source = item.name if item.name in paths else item.name.rpartition(".")[0]
            if source.startswith(package) and source not in found:
                more.append(source)
    assert sorted(f"{package}{name}" for name in MAKERS) == sorted(found)
