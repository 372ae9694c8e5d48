"""What each chat cost, its receipts, the model it chose, and which of its messages was taken last."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..gateway.receipts import Proof

__all__ = ["ChatCost", "ChatLedger", "Entry"]

_DAY_SEC = 86400


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer that has a receipt. created: unix time."""

    receipt_id: str
    created: int
    fee_nano: int


@dataclass(frozen=True, slots=True)
class ChatCost:
    """answers: all that cost something. last: the newest with a receipt, newest first."""

    answers: int
    spent_nano: int
    last: tuple[Entry, ...]


class ChatLedger:
    def __init__(self, db: sqlite3.Connection, *, keep_days: int = 90, clock: Callable[[], float] = time.time) -> None:
        self._db, self._keep_sec, self._clock = db, keep_days * _DAY_SEC, clock

    def take(self, bot_id: int, chat_id: int, message_id: int) -> bool:
        """False if this message was taken before: Telegram delivers again what a stopped bot did not confirm.

        Each bot counts its messages anew.
        """
        self._row(chat_id)
        done = self._db.execute(
            "UPDATE chats SET bot_id = :bot, last_message = :new "
            "WHERE chat_id = :chat AND (bot_id IS NOT :bot OR last_message < :new)",
            {"bot": bot_id, "chat": chat_id, "new": message_id},
        )
        return done.rowcount == 1

    def spent(self, chat_id: int, nano: int) -> None:
        """Count an answer that cost `nano`."""
        self._row(chat_id)
        self._db.execute(
            "UPDATE chats SET answers = answers + 1, spent_nano = spent_nano + ? WHERE chat_id = ?", (nano, chat_id)
        )

    def keep(self, chat_id: int, receipt_id: str, proof: Proof) -> None:
        now = int(self._clock())
        self._db.execute(
            "INSERT INTO receipts VALUES (?, ?, ?, ?, ?)",
            (receipt_id, chat_id, now, proof.fee_nano, json.dumps(proof.to_json(receipt_id))),
        )

    def prune(self) -> None:
        """Once, before serving: drop receipts that are older than they are kept."""
        self._db.execute("DELETE FROM receipts WHERE created < ?", (int(self._clock()) - self._keep_sec,))

    def cost(self, chat_id: int, newest: int) -> ChatCost:
        row = self._db.execute("SELECT answers, spent_nano FROM chats WHERE chat_id = ?", (chat_id,)).fetchone()
        found = self._db.execute(
            "SELECT id, created, fee_nano FROM receipts WHERE chat_id = ? ORDER BY created DESC, rowid DESC LIMIT ?",
            (chat_id, newest),
        )
        answers, spent = (0, 0) if row is None else row
        return ChatCost(answers, spent, tuple(Entry(*entry) for entry in found))

    def receipt(self, chat_id: int, receipt_id: str) -> str | None:
        """The document `cocoon receipt verify` reads; None if there is none of this name, or it is another chat's."""
        row = self._db.execute(
            "SELECT document FROM receipts WHERE id = ? AND chat_id = ?", (receipt_id, chat_id)
        ).fetchone()
        return None if row is None else str(row[0])

    def model(self, chat_id: int) -> str | None:
        """The id of the model this chat chose."""
        row = self._db.execute("SELECT model FROM chats WHERE chat_id = ?", (chat_id,)).fetchone()
        return None if row is None else row[0]

    def choose(self, chat_id: int, model_id: str) -> None:
        self._row(chat_id)
        self._db.execute("UPDATE chats SET model = ? WHERE chat_id = ?", (model_id, chat_id))

    def _row(self, chat_id: int) -> None:
        self._db.execute("INSERT OR IGNORE INTO chats (chat_id) VALUES (?)", (chat_id,))
