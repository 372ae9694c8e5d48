"""The bot's SQLite file: budgets, costs, receipts. Never a word of what was asked or answered."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .errors import BotError

__all__ = ["open_database"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE days (
    user_id INTEGER NOT NULL, day INTEGER NOT NULL, spent_nano INTEGER NOT NULL DEFAULT 0,
    reserved_nano INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (day, user_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE chats (
    chat_id INTEGER PRIMARY KEY, model TEXT, bot_id INTEGER, last_message INTEGER NOT NULL DEFAULT 0,
    answers INTEGER NOT NULL DEFAULT 0, spent_nano INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE receipts (
    id TEXT PRIMARY KEY, chat_id INTEGER NOT NULL, created INTEGER NOT NULL, fee_nano INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX receipts_by_chat ON receipts (chat_id, created);
"""


def open_database(path: Path | None) -> sqlite3.Connection:
    """path: None keeps everything in memory. BotError if the file can't be used."""
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=5)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise BotError(f"{path} was written by another version of cocoon ({version}); use that, or another file")
    except (OSError, sqlite3.Error) as error:
        raise BotError(f"the bot's database {path} can't be used: {error}; choose another data_dir") from error
    return db
