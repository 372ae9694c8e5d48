"""Everything that happened: blocks, transactions and the latest accounts, in one SQLite file.

A round (a basechain block and the masterchain block that commits it) is one database transaction, so a process killed
at any moment leaves whole rounds behind. Without a path the data lives in a temporary file of SQLite's own that
disappears with the process.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocoon_sandbox.blocks.sealed import Round, SealedBlock
from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.tlb.ids import MASTERCHAIN, BlockId, BlockRef

__all__ = ["QueueChange", "Store", "StoredBlock", "StoredTransaction"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    workchain INTEGER, seqno INTEGER, root_hash BLOB, file_hash BLOB, gen_utime INTEGER, start_lt INTEGER,
    end_lt INTEGER, signature BLOB, boc BLOB, PRIMARY KEY (workchain, seqno));
CREATE INDEX IF NOT EXISTS blocks_lt ON blocks (workchain, end_lt);
CREATE INDEX IF NOT EXISTS blocks_utime ON blocks (workchain, gen_utime);
CREATE TABLE IF NOT EXISTS transactions (
    workchain INTEGER, account BLOB, lt INTEGER, hash BLOB, message BLOB, seqno INTEGER, boc BLOB,
    PRIMARY KEY (workchain, account, lt));
CREATE INDEX IF NOT EXISTS transactions_hash ON transactions (hash);
CREATE INDEX IF NOT EXISTS transactions_message ON transactions (message);
CREATE TABLE IF NOT EXISTS accounts (
    workchain INTEGER, account BLOB, boc BLOB, PRIMARY KEY (workchain, account)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue (
    workchain INTEGER, key BLOB, lt INTEGER, envelope BLOB, PRIMARY KEY (workchain, key)) WITHOUT ROWID;
"""
_BLOCK = "workchain, seqno, root_hash, file_hash, gen_utime, start_lt, end_lt, signature"


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A row of `blocks` without its bytes."""

    id: BlockId
    gen_utime: int
    start_lt: int
    end_lt: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """A transaction's bag of cells and where it is."""

    workchain: int
    account: bytes
    lt: int
    hash: bytes
    seqno: int
    boc: bytes


@dataclass(frozen=True, slots=True)
class QueueChange:
    """Outbound queue rows that came (workchain, key, logical time, envelope's bag) and went (workchain, key)."""

    added: list[tuple[int, bytes, int, bytes]]
    removed: list[tuple[int, bytes]]


class Store:
    """The database; may be used from several threads."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(str(path) if path else "", check_same_thread=False, isolation_level=None)
        if path:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
        else:
            self._db.execute("PRAGMA journal_mode=MEMORY")
            self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database; it must not be used any more."""
        with self._lock:
            self._db.close()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for table in ("meta", "blocks", "transactions", "accounts", "queue"):
                self._db.execute(f"DELETE FROM {table}")

    def meta(self, key: str) -> bytes | None:
        """A named value."""
        row = self._one("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else bytes(row[0])

    def put_meta(self, values: dict[str, bytes]) -> None:
        """Set named values."""
        with self._lock:
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    def put_zerostate(self, block: BlockId, utime: int, boc: bytes) -> None:
        """Record a chain's block 0, whose bytes are the state itself."""
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, 0, 0, x'', ?)",
                (block.workchain, block.seqno, block.root_hash, block.file_hash, utime, boc),
            )

    def put_accounts(self, accounts: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Record accounts (workchain, id, bag of the ShardAccount)."""
        with self._lock:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", accounts)
            self._db.execute("COMMIT")

    def put_round(
        self,
        sealed: Round,
        transactions: Iterable[tuple[StoredTransaction, bytes]],
        accounts: Iterable[tuple[int, bytes, bytes]],
        queue: QueueChange,
        meta: dict[str, bytes],
    ) -> None:
        """Record a round at once; transactions come with their inbound message's hash."""
        with self._lock:
            self._db.execute("BEGIN")
            try:
                for block in (sealed.shard, sealed.master):
                    self._put_block(block)
                self._db.executemany(
                    "INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(t.workchain, t.account, t.lt, t.hash, message, t.seqno, t.boc) for t, message in transactions],
                )
                self._db.executemany("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", accounts)
                self._db.executemany("INSERT OR REPLACE INTO queue VALUES (?, ?, ?, ?)", queue.added)
                self._db.executemany("DELETE FROM queue WHERE workchain = ? AND key = ?", queue.removed)
                self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _put_block(self, block: SealedBlock) -> None:
        key, header = block.id, block.header
        self._db.execute(
            "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key.workchain,
                key.seqno,
                key.root_hash,
                key.file_hash,
                header.gen_utime,
                header.start_lt,
                header.end_lt,
                block.signature,
                block.boc,
            ),
        )

    def block(self, workchain: int, seqno: int) -> StoredBlock | None:
        """A block by number."""
        return self._block("workchain = ? AND seqno = ?", (workchain, seqno))

    def last(self, workchain: int) -> StoredBlock | None:
        """The newest block, zerostates not counted."""
        return self._block("workchain = ? AND seqno > 0 ORDER BY seqno DESC LIMIT 1", (workchain,))

    def block_by_lt(self, workchain: int, lt: int) -> StoredBlock | None:
        """The first block that ends at logical time `lt` or later."""
        return self._block("workchain = ? AND end_lt >= ? AND seqno > 0 ORDER BY end_lt LIMIT 1", (workchain, lt))

    def block_by_utime(self, workchain: int, utime: int) -> StoredBlock | None:
        """The first block made at unix time `utime` or later."""
        return self._block(
            "workchain = ? AND gen_utime >= ? AND seqno > 0 ORDER BY gen_utime, seqno LIMIT 1", (workchain, utime)
        )

    def boc(self, block: BlockId) -> bytes:
        """A block's bytes (a zerostate's for seqno 0)."""
        row = self._one("SELECT boc FROM blocks WHERE workchain = ? AND seqno = ?", (block.workchain, block.seqno))
        if row is None:
            raise SandboxError(f"block {block} is not in the database")
        return bytes(row[0])

    def transaction(self, workchain: int, account: bytes, lt: int) -> StoredTransaction | None:
        """A transaction by account and logical time."""
        return self._transaction("workchain = ? AND account = ? AND lt = ?", (workchain, account, lt))

    def transaction_by_hash(self, digest: bytes) -> StoredTransaction | None:
        """A transaction by its hash."""
        return self._transaction("hash = ?", (digest,))

    def transaction_by_message(self, digest: bytes) -> StoredTransaction | None:
        """The transaction that a message (by the hash of its cell) caused; of several, the first."""
        return self._transaction("message = ? ORDER BY lt LIMIT 1", (digest,))

    def accounts(self) -> list[tuple[int, bytes, bytes]]:
        """All accounts: workchain, id, bag of the ShardAccount."""
        with self._lock:
            rows = self._db.execute("SELECT workchain, account, boc FROM accounts").fetchall()
        return [(row[0], bytes(row[1]), bytes(row[2])) for row in rows]

    def queue(self, workchain: int) -> list[tuple[int, int, bytes]]:
        """A chain's outbound queue, oldest first: key, logical time, bag of the message's envelope."""
        with self._lock:
            query = "SELECT key, lt, envelope FROM queue WHERE workchain = ? ORDER BY lt"
            rows = self._db.execute(query, (workchain,)).fetchall()
        return [(int.from_bytes(row[0], "big"), row[1], bytes(row[2])) for row in rows]

    def master_refs(self) -> list[BlockRef]:
        """All masterchain blocks in order, the zerostate first."""
        with self._lock:
            query = "SELECT seqno, root_hash, file_hash, end_lt FROM blocks WHERE workchain = -1 ORDER BY seqno"
            rows = self._db.execute(query).fetchall()
        return [BlockRef(BlockId(MASTERCHAIN, row[0], bytes(row[1]), bytes(row[2])), row[3]) for row in rows]

    def queue_rows(self) -> QueueChange:
        """All that is in the queues."""
        with self._lock:
            rows = self._db.execute("SELECT workchain, key, lt, envelope FROM queue").fetchall()
        return QueueChange([(row[0], bytes(row[1]), row[2], bytes(row[3])) for row in rows], [])

    def truncate(
        self,
        seqno: int,
        accounts: Iterable[tuple[int, bytes, bytes | None]],
        queue: QueueChange,
        meta: dict[str, bytes],
    ) -> None:
        """Forget all blocks after `seqno`; `accounts` changed since (None: did not exist), `queue` is what it was."""
        with self._lock:
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM blocks WHERE seqno > ?", (seqno,))
            self._db.execute("DELETE FROM transactions WHERE seqno > ?", (seqno,))
            for workchain, account, boc in accounts:
                if boc is None:
                    self._db.execute("DELETE FROM accounts WHERE workchain = ? AND account = ?", (workchain, account))
                else:
                    self._db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", (workchain, account, boc))
            self._db.execute("DELETE FROM queue")
            self._db.executemany("INSERT INTO queue VALUES (?, ?, ?, ?)", queue.added)
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))
            self._db.execute("COMMIT")

    def _block(self, where: str, values: tuple[int, ...]) -> StoredBlock | None:
        row = self._one(f"SELECT {_BLOCK} FROM blocks WHERE {where}", values)
        if row is None:
            return None
        block = BlockId(row[0], row[1], bytes(row[2]), bytes(row[3]))
        return StoredBlock(block, row[4], row[5], row[6], bytes(row[7]))

    def _transaction(self, where: str, values: tuple[object, ...]) -> StoredTransaction | None:
        columns = "workchain, account, lt, hash, seqno, boc"
        row = self._one(f"SELECT {columns} FROM transactions WHERE {where}", values)
        return None if row is None else StoredTransaction(row[0], bytes(row[1]), row[2], bytes(row[3]), row[4], row[5])

    def _one(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        with self._lock:
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row
