"""What a client must not forget: channel keys, response secrets, vouchers signed. Written before anything is sent.

One SQLite file, readable by its owner only: whoever holds it can sign vouchers on the deposits and read the answers.
Losing it costs the answers under way; the money still comes back through the wallet (BeginClose, FinishClose).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pytoniq_core import Address, Cell

from cocoon_sandbox.boc import to_boc

from ..crypto.statements import Channel as SignedChannel
from ..errors import ClientError
from ..sqlite_file import open_sqlite
from ..stream.receipts import RECEIPT_BYTES, pack_receipt, unpack_receipt
from ..wire.escrow import Binding, SignedReceipt

__all__ = ["ClientStore", "Evidence", "StoredChannel", "StoredJob", "StoredStreams"]

_VERSION = 3
_NOT_COUNTED = -1
_SCHEMA = """
CREATE TABLE channels (
    escrow TEXT PRIMARY KEY, registry TEXT NOT NULL, worker TEXT NOT NULL, salt INTEGER NOT NULL,
    client_key BLOB NOT NULL, voucher_nano INTEGER NOT NULL DEFAULT 0, voucher_epoch TEXT NOT NULL DEFAULT '0'
) STRICT;
CREATE TABLE jobs (
    escrow TEXT NOT NULL, request_digest TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER, secret BLOB NOT NULL,
    request BLOB NOT NULL, max_fee_nano INTEGER NOT NULL, posted_after_lt TEXT NOT NULL, binding BLOB NOT NULL,
    PRIMARY KEY (escrow, request_digest)
) STRICT;
CREATE TABLE hpke_keys (hash TEXT PRIMARY KEY, key BLOB NOT NULL) STRICT;
CREATE TABLE streams (
    escrow TEXT NOT NULL, epoch TEXT NOT NULL, verified_nano INTEGER NOT NULL, receipts INTEGER NOT NULL,
    chain BLOB NOT NULL, PRIMARY KEY (escrow, epoch)
) STRICT;
CREATE TABLE receipts (
    escrow TEXT NOT NULL, epoch TEXT NOT NULL, key_epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    number INTEGER NOT NULL, receipt BLOB NOT NULL, PRIMARY KEY (escrow, epoch, key_epoch, seq)
) STRICT;
"""


# apart from the rest: a store of this version from before there was such a table stays usable
_EVIDENCE = """
CREATE TABLE IF NOT EXISTS evidence (
    escrow TEXT NOT NULL, epoch TEXT NOT NULL, key_epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    registry TEXT NOT NULL, worker TEXT NOT NULL, salt INTEGER NOT NULL, client_key BLOB NOT NULL,
    session_key TEXT NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL, sent INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (escrow, epoch, key_epoch, seq)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class StoredChannel:
    """How a channel is found and signed for. `client_key` is the seed of the Ed25519 key vouchers are signed with."""

    escrow: Address
    registry: Address
    worker: Address
    salt: int
    client_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two receipts of one number, and what it takes to report them once the store has forgotten the channel.
    `session_key` signed both.
    """

    channel: StoredChannel
    session_key: int
    first: SignedReceipt = field(repr=False)
    second: SignedReceipt = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A forced job. `seq` is None until it is known that the escrow took the job.

    `binding` is what the channel relied on when it was posted: a restarted worker's new keys answer no old job.
    """

    escrow: Address
    epoch: int
    seq: int | None
    request: Cell
    secret: bytes = field(repr=False)
    max_fee_nano: int
    posted_after_lt: int
    binding: Binding

    @property
    def request_digest(self) -> int:
        return int.from_bytes(self.request.hash, "big")


@dataclass(frozen=True, slots=True)
class StoredStreams:
    """What the streams of a channel's incarnation came to: what they were worth, how many receipts, and their chain."""

    verified_nano: int = 0
    receipts: int = 0
    chain: int = 0


class ClientStore:
    """Every write is on disk when the call returns. ClientError if the file can't be used."""

    def __init__(self, path: Path | None = None) -> None:
        """path: None keeps everything in memory, for what may be lost with the process."""
        # streams write from a thread beside the event loop's; the lock makes it one at a time
        self._lock = threading.Lock()
        self._db = open_sqlite(
            path, _SCHEMA, _VERSION,
            of="the client", refusal=ClientError, synchronous="FULL", check_same_thread=False,
        )  # fmt: skip
        self._write(_EVIDENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # ---- channels ----

    def add_channel(self, channel: StoredChannel) -> None:
        self._write(
            "INSERT INTO channels (escrow, registry, worker, salt, client_key) VALUES (?, ?, ?, ?, ?)",
            _name(channel.escrow),
            _name(channel.registry),
            _name(channel.worker),
            channel.salt,
            channel.client_key,
        )

    def channel(self, escrow: Address) -> StoredChannel:
        """ClientError if this client has no such channel."""
        for channel in self.channels():
            if channel.escrow == escrow:
                return channel
        raise ClientError(f"this client's store has no channel {_name(escrow)}; use the file it was opened with")

    def channels(self) -> list[StoredChannel]:
        rows = self._db.execute("SELECT escrow, registry, worker, salt, client_key FROM channels")
        return [
            StoredChannel(Address(escrow), Address(registry), Address(worker), salt, key)
            for escrow, registry, worker, salt, key in rows
        ]

    def forget_channel(self, escrow: Address) -> None:
        """Once the chain shows that it is closed."""
        self._write("DELETE FROM channels WHERE escrow = ?", _name(escrow))

    def raise_voucher(self, escrow: Address, epoch: int, cumulative_nano: int) -> int:
        """Record that a voucher of this much is about to be signed; the most signed so far in this epoch."""
        row = self._db.execute(
            "SELECT voucher_nano FROM channels WHERE escrow = ? AND voucher_epoch = ?", (_name(escrow), str(epoch))
        ).fetchone()
        most = max(cumulative_nano, 0 if row is None else int(row[0]))
        self._write(
            "UPDATE channels SET voucher_nano = ?, voucher_epoch = ? WHERE escrow = ?", most, str(epoch), _name(escrow)
        )
        return most

    # ---- jobs ----

    def add_job(self, job: StoredJob) -> None:
        self._write(
            "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            _name(job.escrow),
            f"{job.request_digest:064x}",
            str(job.epoch),
            job.seq,
            job.secret,
            to_boc(job.request),
            job.max_fee_nano,
            str(job.posted_after_lt),
            to_boc(job.binding.to_cell()),
        )

    def set_seq(self, job: StoredJob, seq: int) -> None:
        self._write(
            "UPDATE jobs SET seq = ? WHERE escrow = ? AND request_digest = ?",
            seq,
            _name(job.escrow),
            f"{job.request_digest:064x}",
        )

    def jobs(self, escrow: Address) -> list[StoredJob]:
        """All jobs of a channel, oldest first."""
        rows = self._db.execute(
            "SELECT epoch, seq, request, secret, max_fee_nano, posted_after_lt, binding FROM jobs WHERE escrow = ? "
            "ORDER BY rowid",
            (_name(escrow),),
        )
        return [
            StoredJob(
                escrow,
                int(epoch),
                seq,
                Cell.one_from_boc(request),
                secret,
                max_fee,
                int(after),
                Binding.from_cell(Cell.one_from_boc(binding)),
            )
            for epoch, seq, request, secret, max_fee, after, binding in rows
        ]

    # ---- streams ----

    def streams(self, escrow: Address, epoch: int) -> StoredStreams:
        """All zero for a channel nothing was streamed over."""
        row = self._db.execute(
            "SELECT verified_nano, receipts, chain FROM streams WHERE escrow = ? AND epoch = ?",
            (_name(escrow), str(epoch)),
        ).fetchone()
        return StoredStreams() if row is None else StoredStreams(row[0], row[1], int.from_bytes(row[2], "big"))

    def voucher_nano(self, escrow: Address, epoch: int) -> int:
        """The most that was signed for in this epoch."""
        row = self._db.execute(
            "SELECT voucher_nano FROM channels WHERE escrow = ? AND voucher_epoch = ?", (_name(escrow), str(epoch))
        ).fetchone()
        return 0 if row is None else int(row[0])

    def save_streams(
        self,
        escrow: Address,
        epoch: int,
        now: StoredStreams,
        receipts: Iterable[tuple[int, SignedReceipt]],
        *,
        voucher_nano: int | None = None,
    ) -> None:
        """The state after `receipts` (each with its place in the chain), and a voucher that is about to be signed.

        May be called from any thread. ClientError if nothing of it could be written.
        """
        name, ident = _name(escrow), str(epoch)
        rows = [
            (name, ident, signed.receipt.domain.key_epoch, signed.receipt.seq, number, _packed(signed))
            for number, signed in receipts
        ]
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._db.executemany("INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?, ?)", rows)
                    self._db.execute(
                        "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)",
                        (name, ident, now.verified_nano, now.receipts, now.chain.to_bytes(32, "big")),
                    )
                    if voucher_nano is not None:
                        self._db.execute(
                            "UPDATE channels SET voucher_nano = CASE voucher_epoch WHEN ? THEN max(voucher_nano, ?) "
                            "ELSE ? END, voucher_epoch = ? WHERE escrow = ?",
                            (ident, voucher_nano, voucher_nano, ident, name),
                        )
                    self._db.execute("COMMIT")
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise ClientError(f"the client's store can't be written ({error}); nothing was sent") from error

    def keep_receipt(self, signed: SignedReceipt) -> None:
        """One that does not hold and yet is signed: another of its number makes it evidence. ClientError."""
        domain, receipt = signed.receipt.domain, signed.receipt
        self._write(
            "INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?, ?)",
            _name(domain.contract),
            str(domain.epoch),
            domain.key_epoch,
            receipt.seq,
            _NOT_COUNTED,
            _packed(signed),
        )

    def receipt(self, channel: SignedChannel, seq: int) -> SignedReceipt | None:
        """The receipt of a stream that has this number under this key of the worker's, if there is one."""
        row = self._db.execute(
            "SELECT receipt FROM receipts WHERE escrow = ? AND epoch = ? AND key_epoch = ? AND seq = ?",
            (_name(channel.escrow), str(channel.epoch), channel.key_epoch, seq),
        ).fetchone()
        if row is None:
            return None
        return SignedReceipt(unpack_receipt(row[0][:RECEIPT_BYTES], channel), row[0][RECEIPT_BYTES:])

    # ---- evidence against workers ----

    def keep_evidence(self, evidence: Evidence) -> None:
        """One pair for each number. ClientError."""
        stored, said = evidence.channel, evidence.first.receipt
        self._write(
            "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            _name(said.domain.contract), str(said.domain.epoch), said.domain.key_epoch, said.seq,
            _name(stored.registry), _name(stored.worker), stored.salt, stored.client_key,
            f"{evidence.session_key:064x}", to_boc(evidence.first.to_cell()), to_boc(evidence.second.to_cell()),
        )  # fmt: skip

    def unsent_evidence(self) -> list[Evidence]:
        """What the chain has not judged yet, oldest first."""
        rows = self._db.execute(
            "SELECT escrow, registry, worker, salt, client_key, session_key, first, second FROM evidence "
            "WHERE sent = 0 ORDER BY rowid"
        )
        return [
            Evidence(
                StoredChannel(Address(escrow), Address(registry), Address(worker), salt, client_key),
                int(key, 16),
                *(SignedReceipt.from_cell(Cell.one_from_boc(said)) for said in (first, second)),
            )
            for escrow, registry, worker, salt, client_key, key, first, second in rows
        ]

    def evidence_judged(self, signed: SignedReceipt) -> None:
        """The chain has judged the evidence with this receipt's number. ClientError."""
        domain = signed.receipt.domain
        self._write(
            "UPDATE evidence SET sent = 1 WHERE escrow = ? AND epoch = ? AND key_epoch = ? AND seq = ?",
            _name(domain.contract), str(domain.epoch), domain.key_epoch, signed.receipt.seq,
        )  # fmt: skip

    # ---- workers' keys (public, kept to save a search) ----

    def remember_key(self, key_hash: int, raw: bytes) -> None:
        self._write("INSERT OR REPLACE INTO hpke_keys VALUES (?, ?)", f"{key_hash:064x}", raw)

    def recall_key(self, key_hash: int) -> bytes | None:
        row = self._db.execute("SELECT key FROM hpke_keys WHERE hash = ?", (f"{key_hash:064x}",)).fetchone()
        return None if row is None else bytes(row[0])

    def _write(self, statement: str, *values: object) -> None:
        try:
            with self._lock:
                self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise ClientError(f"the client's store can't be written ({error}); nothing was sent") from error


def _packed(signed: SignedReceipt) -> bytes:
    return pack_receipt(signed.receipt) + signed.signature


def _name(address: Address) -> str:
    name: str = address.to_str(is_user_friendly=False)
    return name
