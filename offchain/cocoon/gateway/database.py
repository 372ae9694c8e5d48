"""The gateway's one SQLite file: keys, budgets, receipts. Each table's owner runs its own statements on it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .errors import GatewayError

__all__ = ["open_database"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE keys (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest BLOB NOT NULL UNIQUE, hint TEXT NOT NULL,
    budget_nano INTEGER, spent_nano INTEGER NOT NULL DEFAULT 0, reserved_nano INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL, revoked INTEGER
) STRICT;
CREATE TABLE receipts (
    id TEXT PRIMARY KEY, key_id INTEGER NOT NULL, created INTEGER NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE INDEX receipts_by_time ON receipts (created);
"""


def open_database(path: Path | None) -> sqlite3.Connection:
    """path: None keeps everything in memory. GatewayError if the file can't be used."""
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=5)
        db.execute("PRAGMA journal_mode=WAL")
        # Survives a crash of the process; a power cut may forget the last budget entries, never a voucher.
        db.execute("PRAGMA synchronous=NORMAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise GatewayError(
                f"{path} was written by another version of cocoon ({version}); use that, or another file"
            )
    except (OSError, sqlite3.Error) as error:
        raise GatewayError(
            f"the gateway's database {path} can't be used: {error}; choose another --data-dir"
        ) from error
    return db
