"""Receipts of past answers, each for the key that asked. Answers themselves are never kept."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

from .receipts import Proof

__all__ = ["ReceiptArchive"]

_PRUNE_EVERY = 500


class ReceiptArchive:
    def __init__(self, db: sqlite3.Connection, *, keep_days: int) -> None:
        self._db, self._keep_sec, self._written = db, keep_days * 86400, 0

    def put(self, receipt_id: str, key_id: int, proof: Proof) -> None:
        now = int(time.time())
        self._db.execute(
            "INSERT INTO receipts VALUES (?, ?, ?, ?)", (receipt_id, key_id, now, json.dumps(proof.to_json(receipt_id)))
        )
        if self._written % _PRUNE_EVERY == 0:
            self._db.execute("DELETE FROM receipts WHERE created < ?", (now - self._keep_sec,))
        self._written += 1

    def get(self, receipt_id: str, key_id: int) -> dict[str, Any] | None:
        """None if there is none of this name, or it is another key's."""
        row = self._db.execute(
            "SELECT document FROM receipts WHERE id = ? AND key_id = ?", (receipt_id, key_id)
        ).fetchone()
        return None if row is None else json.loads(row[0])
