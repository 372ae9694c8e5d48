"""The bot's SQLite file: budgets, costs, receipts. Never a word of what was asked or answered."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..sqlite_file import open_sqlite
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
    return open_sqlite(path, _SCHEMA, _VERSION, of="the bot", refusal=BotError, synchronous="NORMAL")
