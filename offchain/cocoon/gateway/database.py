"""The gateway's one SQLite file: keys, budgets, receipts. Each table's owner runs its own statements on it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..sqlite_file import open_sqlite
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
    # A power cut may forget the last budget entries and receipts, never a voucher: those are the client's store's.
    # Nothing is held back to be written together: unsynced, a reservation or a settlement is 20 microseconds of a
    # request's 2000 and a receipt 50, in one transaction as in several, and a crash of the process forgets nothing.
    return open_sqlite(path, _SCHEMA, _VERSION, of="the gateway", refusal=GatewayError, synchronous="NORMAL")
