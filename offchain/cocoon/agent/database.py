"""The SQLite file under the journal: durable, exclusive, versioned, and never silently broken."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import JournalCorrupt, JournalError, JournalFull, JournalInUse

__all__ = ["Database"]

_FULL = {"SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"}
_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED"}


class Database:
    """One file, one process. Every error of SQLite's comes out as a JournalError.

    A commit is on the disk when it returns (WAL, synchronous=FULL). The file stays locked while it is open; the kernel
    releases the lock of a killed process.
    """

    def __init__(self, path: Path, *, version: int, schema: str) -> None:
        self._path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=2.0)
            try:
                self._prepare(version, schema)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        self._connection.close()

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on the disk afterwards, or none of it and an error raised."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _prepare(self, version: int, schema: str) -> None:
        for setting in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {setting}")
        if (found := self._connection.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            raise JournalCorrupt(
                f"{self._path} is damaged ({found}): move it away; the agent rebuilds it from the chain"
            )
        (existing,) = self._connection.execute("PRAGMA user_version").fetchone()
        if existing == 0:
            tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if tables:
                raise JournalCorrupt(f"{self._path} is a database, but not a journal: name another file")
            self._connection.executescript(f"BEGIN;{schema};PRAGMA user_version={version};COMMIT;")
        elif existing != version:
            raise JournalCorrupt(
                f"{self._path} has layout {existing}, this release reads {version}: "
                f"finish its jobs with the release that wrote it, or move it away"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise JournalFull(f"can't write {self._path}: {error}; free or unlock the disk and restart") from error
        except sqlite3.Error as error:
            name = str(getattr(error, "sqlite_errorname", "") or "")
            if name in _FULL or name.startswith("SQLITE_IOERR"):
                raise JournalFull(f"can't write {self._path}: {error}; free or unlock the disk and restart") from error
            if name in _BUSY:
                raise JournalInUse(f"another agent has {self._path} open: stop it first") from error
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise JournalCorrupt(
                    f"{self._path} is damaged ({error}): move it away; the agent rebuilds it from the chain"
                ) from error
            raise JournalError(f"the journal {self._path} failed: {error}") from error
