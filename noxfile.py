"""Sessions: `nox -s tests` is what CI runs; `nox -l` lists the others."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.error_on_external_run = True


def install(session: nox.Session, *extras: str) -> None:
    """Install the project with the versions it is tested with."""
    names = f".[{','.join(extras)}]" if extras else "."
    session.install("-c", "constraints.txt", "-e", names)


@nox.session
def tests(session: nox.Session) -> None:
    """The default tests: units, models, compiler, quick proofs, and small RTL systems."""
    install(session, "test")
    session.run("pytest", "-n", "2", "-m", "not nightly and not formal", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """The long tests: many random programs and the large array."""
    install(session, "test")
    session.run("pytest", "-n", "2", "-m", "nightly", *session.posargs)


@nox.session
def formal(session: nox.Session) -> None:
    """All proofs, with the time each took."""
    install(session, "test")
    session.run("pytest", "-n", "2", "--durations=0", "tests/formal", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure and print: the project's own speed, and the cycles of the 64x64 RTL."""
    install(session, "test")
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session
def figures(session: nox.Session) -> None:
    """Write docs/figure6.md and what the README shows of it: the paper's Figure 6, again."""
    install(session, "plot")
    session.run("python", "docs/figure6.py", *session.posargs)


@nox.session
def reports(session: nox.Session) -> None:
    """Fine-tune the built-in example by every method with three seeds, and write docs/reports."""
    install(session, "train")
    session.run("python", "docs/training_reports.py", *session.posargs)


@nox.session
def silicon(session: nox.Session) -> None:
    """Measure elements, designs and FPGAs again, and write what pages and README show of them."""
    install(session, "plot")
    session.run("python", "-m", "sim.synth.record", *session.posargs)
    session.run("python", "docs/silicon_pages.py")
    session.run("python", "docs/fpga_table.py")
    session.run("python", "docs/generate.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Style."""
    session.install("-c", "constraints.txt", "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
