"""Reports of the built-in example in docs/reports: ``python docs/training_reports.py``.

Each is what `cdmqta train` writes, over three seeds; all take about forty minutes of two
cores. Runs in the folder of `--work` go on where they stopped, and are not repeated.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

__all__ = ["REPORTS", "SEEDS", "keep"]

FOLDER = Path(__file__).parent / "reports"
SEEDS = 3
REPORTS: dict[str, tuple[str, ...]] = {
    "lora": (),
    "tuneqdm": ("--method", "tuneqdm"),
    "policies": ("--policies",),
}
"""Options of `cdmqta train`, by the folder of the report."""


def keep(made: Path, name: str) -> None:
    """Copy a report and its pictures into docs, with a line on where it is from."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for picture in made.glob("*.png"):
        shutil.copyfile(picture, folder / picture.name)
    title, rest = (made / "report.md").read_text(encoding="utf-8").split("\n", 1)
    command = " ".join(["cdmqta train", *REPORTS[name], f"--seeds {SEEDS}"])
    source = f"Written by `{command}` (`python docs/training_reports.py {name}`)."
    (folder / "report.md").write_text(f"{title}\n\n{source}\n{rest}", encoding="utf-8")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(REPORTS)))
@click.option("--work", type=click.Path(path_type=Path), help="Folder of the runs; it is kept.")
def main(names: tuple[str, ...], work: Path | None) -> None:
    """Write the reports NAMES, or all."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in names or REPORTS:
            made = (work or Path(temporary)) / name
            options = [*REPORTS[name], "--seeds", str(SEEDS), "-o", str(made)]
            subprocess.run([sys.executable, "-m", "sw", "train", *options], check=True)
            keep(made, name)


if __name__ == "__main__":
    main()
