"""The voucher book: per channel the best voucher, what was earned, and every receipt, on disk before it is relied on.

A file of its own beside the journal, written by a thread of its own: what several streams have to save at one moment
becomes one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pytoniq_core import Address

from .database import Database
from .errors import JournalError

__all__ = ["ChannelRecord", "CountedReceipt", "VoucherBook"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE channel (
    escrow TEXT NOT NULL, epoch INTEGER NOT NULL,
    cumulative INTEGER NOT NULL, chain BLOB NOT NULL, key_epoch INTEGER NOT NULL, signature BLOB NOT NULL,
    earned INTEGER NOT NULL, receipts INTEGER NOT NULL, head BLOB NOT NULL, next_seq INTEGER NOT NULL,
    closing INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (escrow, epoch)
) STRICT;
CREATE TABLE receipt (
    escrow TEXT NOT NULL, epoch INTEGER NOT NULL, number INTEGER NOT NULL,
    key_epoch INTEGER NOT NULL, receipt BLOB NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (escrow, epoch, number)
) STRICT
"""
_COLUMNS = "escrow, epoch, cumulative, chain, key_epoch, signature, earned, receipts, head, next_seq, closing"
_UPSERT = f"""
INSERT INTO channel ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (escrow, epoch) DO UPDATE SET cumulative = excluded.cumulative, chain = excluded.chain,
key_epoch = excluded.key_epoch, signature = excluded.signature, earned = excluded.earned, receipts = excluded.receipts,
head = excluded.head, next_seq = excluded.next_seq, closing = excluded.closing, done = 0
"""
_SEQ_BLOCK = 256


@dataclass(frozen=True, slots=True)
class CountedReceipt:
    """A receipt in its compact form (`stream.receipts`), with its place in the chain."""

    number: int
    key_epoch: int
    receipt: bytes
    signature: bytes


@dataclass(slots=True)
class ChannelRecord:
    """One incarnation of one escrow. `signature` is empty while there is no voucher; `closing`: the worker has agreed
    to end it. `next_seq`: numbers below have been taken, or will never be.
    """

    escrow: Address
    epoch: int
    cumulative: int = 0
    chain: int = 0
    key_epoch: int = 0
    signature: bytes = b""
    earned: int = 0
    receipts: int = 0
    head: int = 0
    next_seq: int = 1
    closing: bool = False
    _reserved: int = field(default=0, repr=False)

    def take_seq(self) -> tuple[int, bool]:
        """(a number never given out before, whether the record must be saved before it is used)."""
        seq, self.next_seq = self.next_seq, self.next_seq + 1
        must_save = seq >= self._reserved
        if must_save:
            self._reserved = seq + _SEQ_BLOCK
        return seq, must_save

    @property
    def row(self) -> tuple[object, ...]:
        """What is stored: a whole block of numbers counts as taken, so that a crash repeats none."""
        return (
            _raw(self.escrow),
            self.epoch,
            self.cumulative,
            self.chain.to_bytes(32, "big"),
            self.key_epoch,
            self.signature,
            self.earned,
            self.receipts,
            self.head.to_bytes(32, "big"),
            max(self.next_seq, self._reserved),
            int(self.closing),
        )


class VoucherBook:
    """For one event loop. Any method may raise a JournalError; then nothing of it may be relied on."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1, "voucher-book")
        self._database = self._thread.submit(Database, path, version=_VERSION, schema=_SCHEMA).result()
        self._rows: dict[tuple[str, int], tuple[object, ...]] = {}
        self._receipts: list[tuple[object, ...]] = []
        self._next: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    def close(self) -> None:
        self._thread.submit(self._database.close).result()
        self._thread.shutdown()

    async def load(self, escrow: Address, epoch: int) -> ChannelRecord:
        """A new record if the channel is not known."""
        where = f"SELECT {_COLUMNS} FROM channel WHERE escrow = ? AND epoch = ?"
        rows = await self._run(lambda: self._database.read(where, _raw(escrow), epoch))
        return _record(rows[0]) if rows else ChannelRecord(escrow, epoch)

    async def save(self, record: ChannelRecord, *receipts: CountedReceipt) -> None:
        """Returns when it is on the disk. The record's values count as they are now."""
        name = _raw(record.escrow)
        self._rows[name, record.epoch] = record.row
        self._receipts += [
            (name, record.epoch, found.number, found.key_epoch, found.receipt, found.signature) for found in receipts
        ]
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        written = self._next
        if self._writer is None or self._writer.done():
            # a task of its own: whoever began it may be cancelled while others wait for the same write
            self._writer = asyncio.create_task(self._write_all())
        await asyncio.shield(written)

    async def receipts(self, escrow: Address, epoch: int, first: int, limit: int) -> list[CountedReceipt]:
        query = (
            "SELECT number, key_epoch, receipt, signature FROM receipt WHERE escrow = ? AND epoch = ? AND number >= ? "
            "ORDER BY number LIMIT ?"
        )
        rows = await self._run(lambda: self._database.read(query, _raw(escrow), epoch, first, limit))
        return [CountedReceipt(*row) for row in rows]

    async def claimable(self) -> list[ChannelRecord]:
        """Channels whose last voucher may not have been claimed."""
        query = f"SELECT {_COLUMNS} FROM channel WHERE done = 0 AND signature != x''"
        return [_record(row) for row in await self._run(lambda: self._database.read(query))]

    async def channels(self) -> list[ChannelRecord]:
        """Every channel there ever was."""
        query = f"SELECT {_COLUMNS} FROM channel ORDER BY escrow, epoch"
        return [_record(row) for row in await self._run(lambda: self._database.read(query))]

    async def finish(self, record: ChannelRecord) -> None:
        """The chain has paid this record's voucher, or the channel is gone."""

        def write() -> None:
            with self._database.write() as sql:
                sql.execute(
                    "UPDATE channel SET done = 1 WHERE escrow = ? AND epoch = ? AND cumulative = ?",
                    (_raw(record.escrow), record.epoch, record.cumulative),
                )

        await self._run(write)

    async def _write_all(self) -> None:
        """Transactions until nothing is left to write; who saves meanwhile goes with the next one."""
        while (waiting := self._next) is not None:
            rows, receipts = list(self._rows.values()), self._receipts
            self._rows, self._receipts, self._next = {}, [], None
            try:
                await self._run(partial(self._write, rows, receipts))
            except JournalError as error:
                waiting.set_exception(error)
                waiting.exception()  # whoever waits is told; perhaps nobody does any more
                continue
            waiting.set_result(None)

    def _write(self, rows: list[tuple[object, ...]], receipts: list[tuple[object, ...]]) -> None:
        with self._database.write() as sql:
            sql.executemany(_UPSERT, rows)
            sql.executemany("INSERT OR REPLACE INTO receipt VALUES (?, ?, ?, ?, ?, ?)", receipts)

    async def _run[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _record(row: tuple[Any, ...]) -> ChannelRecord:
    escrow, epoch, cumulative, chain, key_epoch, signature, earned, receipts, head, next_seq, closing = row
    hashes = (int.from_bytes(found, "big") for found in (chain, head))
    return ChannelRecord(
        Address(escrow), epoch, cumulative, next(hashes), key_epoch, signature, earned, receipts, next(hashes),
        next_seq, bool(closing),
    )  # fmt: skip


def _raw(address: Address) -> str:
    return f"{address.wc}:{address.hash_part.hex()}"
