"""Reports of the built-in example in docs/reports: ``python docs/training_reports.py``.

Each is what `cdmqta train` writes, over three seeds, and says how long it took. The first begins
with an empty cache, the others find in it what all share. Runs in the folder of `--work` go on
where they stopped, and are not repeated.
"""

from __future__ import annotations

import os
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
    """Put a report and its pictures in the place of those in docs, with a line on its source."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
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
        folder = work or Path(temporary)
        environment = os.environ | {"CDMQTA_CACHE": str((folder / "cache").resolve())}
        for name in names or REPORTS:
            made = folder / name
            options = [*REPORTS[name], "--seeds", str(SEEDS), "-o", str(made)]
            command = [sys.executable, "-m", "sw", "train", *options]
            subprocess.run(command, check=True, env=environment)
            keep(made, name)


if __name__ == "__main__":
    main()
