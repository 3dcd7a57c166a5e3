"""The file in which finished points are kept: one SQLite database, a transaction a point."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from .point import ExploreError, Outcome, Point, Status

__all__ = ["Store"]

APPLICATION = 0x43444D51
"""SQLite's application id of these files: "CDMQ"."""
SCHEMA = 1
"""SQLite's user version of these files; raised when the table changes."""
BUSY = 30
"""Seconds to wait for another sweep that writes to the same file."""

_FIGURES = tuple(field.name for field in dataclasses.fields(Outcome))
_LABELS = ("config", "workload", "dataflow", "objective", "code")
_TABLE = """
CREATE TABLE IF NOT EXISTS points (
    key TEXT PRIMARY KEY,
    config TEXT NOT NULL,       -- JSON
    workload TEXT NOT NULL,
    dataflow TEXT NOT NULL,
    objective TEXT NOT NULL,
    code TEXT NOT NULL,         -- version of the code that computed it
    status TEXT NOT NULL,
    cycles INTEGER,
    seconds REAL,
    energy_j REAL,
    dram_energy_j REAL,
    area_um2 REAL,
    macs INTEGER,
    dram_read_bytes INTEGER,
    dram_write_bytes INTEGER,
    error TEXT,
    checksum TEXT NOT NULL      -- of all the others
) STRICT
"""


class Store:
    """Finished points by key.

    The database keeps SQLite's default rollback journal: between transactions, after a kill, too,
    the one file is all there is. Several sweeps may share it, at the same time as well.

    Parameters
    ----------
    path : Path
        Made if it is not there, or empty.

    Raises
    ------
    ExploreError
        The file is no database of this kind and version, is damaged, or cannot be written. What is
        there is left untouched.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._telling():
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode=rwc", uri=True, timeout=BUSY,
                isolation_level=None,
            )  # fmt: skip
        try:
            with self._telling():
                self._pragma("schema_version")  # undoes what a kill has left half done
                # An empty file is a new one: a kill may have left no more of it.
                self._check() if path.exists() and path.stat().st_size else self._make()
        except ExploreError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, keys: Iterable[str]) -> dict[str, Outcome]:
        """Return the outcomes that are kept of some keys.

        Raises
        ------
        ExploreError
            The file cannot be read, or is damaged.
        """
        found = {}
        query = f"SELECT checksum, {', '.join((*_LABELS, *_FIGURES))} FROM points WHERE key = ?"
        with self._telling():
            for key in keys:
                row = self._connection.execute(query, (key,)).fetchone()
                if row is None:
                    continue
                checksum, *values = row
                if checksum != _checksum(key, values):
                    raise ExploreError(
                        f"{self._path} is damaged: the checksum of point {key} does not match"
                    )
                status, *figures = values[len(_LABELS) :]
                found[key] = Outcome(Status(status), *figures)
        return found

    def put(self, point: Point, outcome: Outcome) -> None:
        """Keep a point: it is in the file when this returns, whatever happens then.

        Raises
        ------
        ExploreError
            The file cannot be written.
        """
        values = (
            json.dumps(point.config.to_mapping()), point.step.name, point.dataflow,
            point.objective, point.version, *dataclasses.astuple(outcome),
        )  # fmt: skip
        row = point.key, *values, _checksum(point.key, values)
        with self._telling():
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT OR REPLACE INTO points VALUES ({marks})", row)

    def _make(self) -> None:
        """Make the table, unless another sweep was faster."""
        self._connection.executescript(
            f"BEGIN EXCLUSIVE; PRAGMA application_id = {APPLICATION};"
            f"PRAGMA user_version = {SCHEMA}; {_TABLE}; COMMIT;"
        )

    def _check(self) -> None:
        """Refuse a file of another kind, without writing to it."""
        if self._pragma("application_id") != APPLICATION:
            raise ExploreError(f"{self._path} is a SQLite database, but not of finished points")
        version = self._pragma("user_version")
        if version != SCHEMA:
            raise ExploreError(
                f"{self._path} has schema version {version}, and only {SCHEMA} can be read: "
                "name another file"
            )
        complaint = self._pragma("quick_check")
        if complaint != "ok":
            raise ExploreError(f"{self._path} is damaged: {complaint}")
        self._connection.execute("BEGIN IMMEDIATE")  # fails if it may not be written
        self._connection.execute("ROLLBACK")

    def _pragma(self, name: str) -> int | str:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say in one line what SQLite complains of."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_NOTADB:
                raise ExploreError(f"{self._path} is not a SQLite database") from None
            if code is not None and code & 0xFF == sqlite3.SQLITE_CORRUPT:
                raise ExploreError(f"{self._path} is damaged: {error}") from None
            raise ExploreError(f"cannot use {self._path}: {error}") from None


def _checksum(key: str, values: Iterable[object]) -> str:
    text = json.dumps([key, *values])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
