"""The journal: every fact the agent must not forget, on disk before anything is signed or sent because of it.

A job's row says how far it has come; `Sending` rows are signed external messages of the operator's wallet, kept so
that the same bytes are sent again until their wallet seqno is used or they have expired; their parcels are the
messages inside. Only ciphertexts are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from pytoniq_core import Address, Cell

from ..wire.codec import Struct
from ..wire.escrow import Binding, Receipt, RejectReason
from .database import Database
from .errors import JournalConflict, JournalOfAnother
from .jobs import ENDED, STEPS, Accepted, Job, JobKey, JobState, Outcome
from .parcels import Attempts, Parcel, ParcelState, Sending, TrackedParcel

__all__ = ["Ended", "Journal"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE cursor (account TEXT PRIMARY KEY, lt INTEGER NOT NULL) STRICT;
CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    escrow TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, posted_lt INTEGER NOT NULL,
    state TEXT NOT NULL,
    request_digest BLOB, max_fee_nano INTEGER, deadline INTEGER, binding BLOB, ciphertext BLOB,
    receipt BLOB, response BLOB, reason INTEGER, signature BLOB,
    outcome TEXT, note TEXT,
    UNIQUE (escrow, epoch, seq)
) STRICT;
CREATE INDEX job_by_state ON job (state);
CREATE TABLE sending (
    id INTEGER PRIMARY KEY,
    message BLOB NOT NULL, seqno INTEGER NOT NULL, valid_until INTEGER NOT NULL, after_lt INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;
CREATE TABLE parcel (
    id INTEGER PRIMARY KEY,
    sending INTEGER NOT NULL REFERENCES sending (id),
    purpose TEXT NOT NULL, job INTEGER REFERENCES job (id),
    destination TEXT NOT NULL, value_nano INTEGER NOT NULL, body_hash BLOB NOT NULL,
    state TEXT NOT NULL, created_lt INTEGER, exit_code INTEGER, at INTEGER NOT NULL
) STRICT;
CREATE INDEX parcel_by_purpose ON parcel (purpose, id);
CREATE INDEX parcel_by_state ON parcel (state)
"""
_JOB_COLUMNS = (
    "id, escrow, epoch, seq, posted_lt, state, request_digest, max_fee_nano, deadline, binding, ciphertext, "
    "receipt, response, reason, signature, outcome, note"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """The chain's word on a job."""

    escrow: Address
    epoch: int
    seq: int
    outcome: Outcome


class Journal:
    """Opens or makes the journal at `path`. Any method may raise a JournalError; then nothing of it was written."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, version=_VERSION, schema=_SCHEMA)

    def close(self) -> None:
        self._database.close()

    def claim(self, worker: Address, global_id: int) -> None:
        """Binds a new journal to this worker and network. JournalOfAnother if it is bound to others."""
        wanted = {"worker": _raw(worker), "global_id": str(global_id)}
        with self._database.write() as sql:
            for name, value in wanted.items():
                sql.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value))
        for name, value in wanted.items():
            found = self._database.read("SELECT value FROM about WHERE name = ?", name)[0][0]
            if found != value:
                raise JournalOfAnother(
                    f"this journal belongs to {name} {found}, not {value}: name another data directory"
                )

    # ---- what the chain says ----

    def cursor(self, account: Address) -> int:
        """The logical time up to which this account's transactions have been recorded; 0 at first."""
        found = self._database.read("SELECT lt FROM cursor WHERE account = ?", _raw(account))
        return int(found[0][0]) if found else 0

    def record(self, account: Address, lt: int, events: Sequence[JobKey | Ended]) -> None:
        """What the account's transactions up to `lt` say, in their order. Repeating it is harmless.

        A job admitted for an escrow ends whatever was open there: an escrow has one job at a time. An end counts only
        for a job that was admitted for the same escrow.
        """
        with self._database.write() as sql:
            for event in events:
                if isinstance(event, JobKey):
                    _admit(sql, event)
                else:
                    _end(sql, event)
            sql.execute(
                "INSERT INTO cursor VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET lt = max(lt, excluded.lt)",
                (_raw(account), lt),
            )

    # ---- jobs ----

    def job(self, job_id: int) -> Job:
        return _job(self._database.read(f"SELECT {_JOB_COLUMNS} FROM job WHERE id = ?", job_id)[0])

    def jobs(self, *states: JobState) -> list[Job]:
        """Jobs in these states, or all; the earliest deadline first, then the order of admission."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        order = "ORDER BY deadline IS NULL, deadline, posted_lt"
        return [_job(row) for row in self._database.read(f"SELECT {_JOB_COLUMNS} FROM job {where} {order}", *states)]

    def outline(self) -> list[tuple[int, JobState, Outcome | None, str]]:
        """(id, state, outcome, escrow) of every job there ever was, without reading what it holds."""
        rows = self._database.read("SELECT id, state, outcome, escrow FROM job")
        return [(i, JobState(state), None if end is None else Outcome(end), escrow) for i, state, end, escrow in rows]

    def accept(self, job_id: int, terms: Accepted) -> None:
        """seen -> accepted."""
        self._advance(
            job_id,
            JobState.ACCEPTED,
            request_digest=_hash(terms.request_digest),
            max_fee_nano=terms.max_fee_nano,
            deadline=terms.deadline,
            binding=_boc(terms.binding),
            ciphertext=terms.ciphertext,
        )

    def answer(self, job_id: int, receipt: Receipt, response: bytes) -> None:
        """accepted -> answered."""
        self._advance(job_id, JobState.ANSWERED, receipt=_boc(receipt), response=response)

    def refuse(self, job_id: int, reason: RejectReason, note: str) -> None:
        """accepted -> refusing. `note` is for the operator's eyes and must hold nothing of the request."""
        self._advance(job_id, JobState.REFUSING, reason=int(reason), note=note)

    def sign_receipt(self, job_id: int, receipt: Receipt, response: bytes, signature: bytes) -> None:
        """answered -> signed, or accepted -> signed where the signer remembers what the journal does not."""
        self._advance(
            job_id, JobState.SIGNED, receipt=_boc(receipt), response=response, signature=signature, reason=None
        )

    def sign_rejection(self, job_id: int, reason: RejectReason, signature: bytes) -> None:
        """refusing -> signed, or accepted -> signed where the signer remembers what the journal does not."""
        self._advance(job_id, JobState.SIGNED, reason=int(reason), signature=signature, receipt=None, response=None)

    def lose(self, job_id: int, note: str) -> None:
        """Any unsigned state -> lost."""
        self._advance(job_id, JobState.LOST, note=note)

    def _advance(self, job_id: int, to: JobState, **columns: Any) -> None:
        with self._database.write() as sql:
            _step(sql, job_id, to, **columns)

    # ---- messages of the wallet ----

    def open_sending(self) -> Sending | None:
        """The external message whose fate is unknown. There is at most one: they use the wallet's seqnos in turn."""
        rows = self._database.read("SELECT id, message, seqno, valid_until, after_lt FROM sending WHERE state = 'open'")
        if not rows:
            return None
        return Sending(rows[0][0], Cell.one_from_boc(rows[0][1]), *rows[0][2:])

    def parcels(self, state: ParcelState) -> list[TrackedParcel]:
        """Parcels in this state, oldest first."""
        rows = self._database.read(
            "SELECT id, sending, purpose, job, destination, body_hash, created_lt FROM parcel "
            "WHERE state = ? ORDER BY id",
            state,
        )
        return [TrackedParcel(i, s, purpose, job, Address(to), body, lt) for i, s, purpose, job, to, body, lt in rows]

    def attempts(self, purpose: str) -> Attempts:
        """Whether one is under way, and the failures since the last that went well."""
        rows = self._database.read(
            "SELECT state, exit_code, at FROM parcel WHERE purpose = ? ORDER BY id DESC LIMIT 32", purpose
        )
        failed: list[int | None] = []
        last = 0
        for state, exit_code, at in rows:
            if state == ParcelState.DONE:
                break
            if state == ParcelState.FAILED:
                failed.append(exit_code)
                last = max(last, at)
        under_way = bool(rows) and rows[0][0] in (ParcelState.OPEN, ParcelState.LANDED)
        return Attempts(under_way, tuple(failed), last)

    def send(
        self, message: Cell, *, seqno: int, valid_until: int, after_lt: int, now: int, parcels: Sequence[Parcel]
    ) -> int:
        """A signed message, before it is handed to the network; jobs in it go signed -> sent. Returns its id."""
        with self._database.write() as sql:
            if sql.execute("SELECT 1 FROM sending WHERE state = 'open'").fetchone():
                raise JournalConflict("a message of the wallet is under way: two would compete for one seqno")
            cursor = sql.execute(
                "INSERT INTO sending (message, seqno, valid_until, after_lt, state) VALUES (?, ?, ?, ?, 'open')",
                (message.to_boc(), seqno, valid_until, after_lt),
            )
            sending = int(cursor.lastrowid or 0)
            for parcel in parcels:
                sql.execute(
                    "INSERT INTO parcel (sending, purpose, job, destination, value_nano, body_hash, state, at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (sending, parcel.purpose, parcel.job, _raw(parcel.to), parcel.value_nano, parcel.body.hash,
                     ParcelState.OPEN, now),
                )  # fmt: skip
                if parcel.job is not None:
                    _step(sql, parcel.job, JobState.SENT)
        return sending

    def sending_used(self, sending: int, created: dict[int, int], now: int) -> None:
        """The wallet executed the message. created: per parcel id, the logical time of what left; others did not
        leave.
        """
        with self._database.write() as sql:
            _close(sql, sending, "used")
            for (parcel,) in sql.execute("SELECT id FROM parcel WHERE sending = ?", (sending,)).fetchall():
                if parcel in created:
                    sql.execute(
                        "UPDATE parcel SET state = ?, created_lt = ? WHERE id = ?",
                        (ParcelState.LANDED, created[parcel], parcel),
                    )
                else:
                    _fail(sql, parcel, None, now)
            # a job that ended meanwhile needs no answer of its escrow, which may be gone
            sql.execute(
                "UPDATE parcel SET state = ? "
                "WHERE sending = ? AND state = ? AND job IN (SELECT id FROM job WHERE state = ?)",
                (ParcelState.DONE, sending, ParcelState.LANDED, JobState.SETTLED),
            )

    def sending_void(self, sending: int, now: int, *, state: str) -> None:
        """The message can never be executed (`expired`), or another took its seqno (`superseded`)."""
        with self._database.write() as sql:
            _close(sql, sending, state)
            for (parcel,) in sql.execute("SELECT id FROM parcel WHERE sending = ?", (sending,)).fetchall():
                _fail(sql, parcel, None, now)

    def parcel_arrived(self, parcel: int, exit_code: int, now: int) -> None:
        """What became of a parcel where it arrived; 0 is success. A job whose parcel failed goes sent -> signed."""
        with self._database.write() as sql:
            if exit_code == 0:
                sql.execute(
                    "UPDATE parcel SET state = ?, exit_code = 0, at = ? WHERE id = ?", (ParcelState.DONE, now, parcel)
                )
            else:
                _fail(sql, parcel, exit_code, now)


def _admit(sql: Connection, key: JobKey) -> None:
    sql.execute(
        "INSERT OR IGNORE INTO job (escrow, epoch, seq, posted_lt, state) VALUES (?, ?, ?, ?, ?)",
        (_raw(key.escrow), key.epoch, key.seq, key.posted_lt, JobState.SEEN),
    )
    for (job_id,) in sql.execute(
        "SELECT id FROM job WHERE escrow = ? AND state != ? AND (epoch < ? OR epoch = ? AND seq < ?)",
        (_raw(key.escrow), JobState.SETTLED, key.epoch, key.epoch, key.seq),
    ).fetchall():
        _settle(sql, job_id, Outcome.FORGOTTEN)


def _end(sql: Connection, end: Ended) -> None:
    for (job_id,) in sql.execute(
        "SELECT id FROM job WHERE escrow = ? AND epoch = ? AND seq = ? AND state != ?",
        (_raw(end.escrow), end.epoch, end.seq, JobState.SETTLED),
    ).fetchall():
        _settle(sql, job_id, end.outcome)


def _close(sql: Connection, sending: int, state: str) -> None:
    """The message's fate is known; its bytes are of no use any more."""
    sql.execute("UPDATE sending SET state = ?, message = x'' WHERE id = ?", (state, sending))


def _step(sql: Connection, job_id: int, to: JobState, **columns: Any) -> None:
    sources = [state for state, nexts in STEPS.items() if to in nexts]
    sets = ", ".join(["state = ?", *(f"{name} = ?" for name in columns)])
    done = sql.execute(
        f"UPDATE job SET {sets} WHERE id = ? AND state IN ({', '.join('?' * len(sources))})",
        (to, *columns.values(), job_id, *sources),
    )
    if done.rowcount != 1:
        found = sql.execute("SELECT state FROM job WHERE id = ?", (job_id,)).fetchone()
        raise JournalConflict(f"job {job_id} is {found and found[0]} and can't become {to}")


def _settle(sql: Connection, job_id: int, outcome: Outcome) -> None:
    # what was large is on the chain now
    _step(sql, job_id, JobState.SETTLED, outcome=outcome, ciphertext=None, response=None)
    sql.execute(
        "UPDATE parcel SET state = ? WHERE job = ? AND state = ?", (ParcelState.DONE, job_id, ParcelState.LANDED)
    )


def _fail(sql: Connection, parcel: int, exit_code: int | None, now: int) -> None:
    sql.execute(
        "UPDATE parcel SET state = ?, exit_code = ?, at = ? WHERE id = ?", (ParcelState.FAILED, exit_code, now, parcel)
    )
    (job_id,) = sql.execute("SELECT job FROM parcel WHERE id = ?", (parcel,)).fetchone()
    if job_id is not None:
        (state,) = sql.execute("SELECT state FROM job WHERE id = ?", (job_id,)).fetchone()
        if state not in ENDED:  # the chain's word may have come first
            _step(sql, job_id, JobState.SIGNED)


def _job(row: tuple[Any, ...]) -> Job:
    (job_id, escrow, epoch, seq, posted_lt, state, digest, max_fee, deadline, binding, ciphertext,
     receipt, response, reason, signature, outcome, note) = row  # fmt: skip
    terms = None
    if digest is not None:
        terms = Accepted(
            int.from_bytes(digest, "big"), max_fee, deadline, Binding.from_cell(Cell.one_from_boc(binding)), ciphertext
        )
    return Job(
        id=job_id,
        key=JobKey(Address(escrow), epoch, seq, posted_lt),
        state=JobState(state),
        terms=terms,
        receipt=None if receipt is None else Receipt.from_cell(Cell.one_from_boc(receipt)),
        response=response,
        reason=None if reason is None else RejectReason(reason),
        signature=signature,
        outcome=None if outcome is None else Outcome(outcome),
        note=note,
    )


def _raw(address: Address) -> str:
    return f"{address.wc}:{address.hash_part.hex()}"


def _hash(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _boc(value: Struct) -> bytes:
    data: bytes = value.to_cell().to_boc()
    return data
