"""The journal refuses what does not follow, forgets nothing, and says clearly when it can't be relied on."""

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytoniq_core import Address, Cell, begin_cell

from cocoon.agent.errors import JournalConflict, JournalCorrupt, JournalFull
from cocoon.agent.jobs import STEPS, Accepted, JobKey, JobState, Outcome
from cocoon.agent.journal import Ended, Journal
from cocoon.agent.parcels import Parcel, ParcelState
from cocoon.crypto import statements
from cocoon.crypto.statements import Channel
from cocoon.crypto.usage import Usage
from cocoon.wire.common import AttestedKeys, Kind
from cocoon.wire.escrow import Binding, Receipt, RejectReason

ESCROW, WORKER = Address((0, b"\x11" * 32)), Address((0, b"\x22" * 32))
KEY = JobKey(ESCROW, 7, 1, 1000)
BINDING = Binding(
    model_id=5, key_epoch=1, channel_end=9, payout=WORKER, grace_sec=1, dispute_sec=1, min_duration_sec=1,
    floor_fee_nano=1, prompt_nano=1, cached_nano=1, completion_nano=1, volume_burn_bps=1, lease_end=1,
    keys=AttestedKeys(1, 2, 3),
)  # fmt: skip
TERMS = Accepted(10, 100, 50, BINDING, b"ciphertext")


def _receipt() -> Receipt:
    return statements.receipt(
        Channel(-239, ESCROW, 7, 1), Kind.FORCED_RECEIPT, seq=1, fee_nano=5, issued_at=1, request_digest=10,
        response_digest=11, model_id=5, usage=Usage(1, 0, 1, bytes(32)), measurement=3,
    )  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.sqlite")
    yield made
    made.close()


def _message(seqno: int = 1) -> Cell:
    cell: Cell = begin_cell().store_uint(seqno, 32).store_ref(begin_cell().store_uint(seqno, 64).end_cell()).end_cell()
    return cell


def _parcel(purpose: str = "job", job: int | None = 1) -> Parcel:
    return Parcel(purpose, ESCROW, 100, begin_cell().store_uint(job or 0, 32).end_cell(), job)


def _send(journal: Journal, *parcels: Parcel, seqno: int = 1) -> int:
    return journal.send(_message(seqno), seqno=seqno, valid_until=60, after_lt=0, now=1, parcels=parcels or [_parcel()])


def _signed(journal: Journal) -> None:
    journal.record(WORKER, 1001, [KEY])
    journal.accept(1, TERMS)
    journal.answer(1, _receipt(), b"response")
    journal.sign_receipt(1, _receipt(), b"response", b"\7" * 64)


def test_journal_reopened_knows_everything(journal: Journal, tmp_path: Path) -> None:
    _signed(journal)
    sending = _send(journal)
    job, opened, parcels = journal.job(1), journal.open_sending(), journal.parcels(ParcelState.OPEN)
    assert (job.state, job.terms, job.receipt, job.response) == (JobState.SENT, TERMS, _receipt(), b"response")
    assert job.signature == b"\7" * 64
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert again.job(1) == job
    found = again.open_sending()
    assert found is not None
    assert opened is not None
    assert (found.id, found.seqno, found.message.hash) == (sending, 1, opened.message.hash)
    assert again.parcels(ParcelState.OPEN) == parcels
    assert again.cursor(WORKER) == 1001
    again.close()


def test_journal_recorded_twice_changes_nothing(journal: Journal) -> None:
    for _ in range(2):
        journal.record(WORKER, 1001, [KEY])
        journal.record(WORKER, 900, [])
    assert journal.cursor(WORKER) == 1001
    assert [job.key for job in journal.jobs()] == [KEY]
    journal.record(WORKER, 1002, [Ended(ESCROW, 7, 1, Outcome.DELIVERED)])
    journal.record(WORKER, 1003, [KEY, Ended(ESCROW, 7, 1, Outcome.MISSED)])
    assert [(job.state, job.outcome) for job in journal.jobs()] == [(JobState.SETTLED, Outcome.DELIVERED)]


def test_journal_end_of_an_unknown_job_changes_nothing(journal: Journal) -> None:
    journal.record(WORKER, 1001, [KEY])
    for end in (
        Ended(WORKER, 7, 1, Outcome.DELIVERED),
        Ended(ESCROW, 8, 1, Outcome.MISSED),
        Ended(ESCROW, 7, 2, Outcome.MISSED),
    ):
        journal.record(WORKER, 1002, [end])
    assert journal.job(1).state == JobState.SEEN


def test_journal_new_job_of_an_escrow_ends_the_old_one(journal: Journal) -> None:
    journal.record(WORKER, 1001, [KEY])
    journal.record(WORKER, 1010, [replace(KEY, seq=2, posted_lt=1009), Ended(ESCROW, 7, 2, Outcome.REJECTED)])
    journal.record(WORKER, 1020, [replace(KEY, epoch=8, posted_lt=1019)])
    assert [(job.state, job.outcome) for job in journal.jobs()] == [
        (JobState.SETTLED, Outcome.FORGOTTEN),
        (JobState.SETTLED, Outcome.REJECTED),
        (JobState.SEEN, None),
    ]


def test_journal_step_out_of_order_is_refused(journal: Journal) -> None:
    """Every call in every state: it goes through exactly if the table of steps says so."""
    calls = {
        JobState.ACCEPTED: lambda: journal.accept(1, TERMS),
        JobState.ANSWERED: lambda: journal.answer(1, _receipt(), b"other"),
        JobState.REFUSING: lambda: journal.refuse(1, RejectReason.TOO_LONG, ""),
        JobState.SIGNED: lambda: journal.sign_receipt(1, _receipt(), b"other", b"\1" * 64),
        JobState.LOST: lambda: journal.lose(1, ""),
    }
    journal.record(WORKER, 1001, [KEY])
    for state in JobState:
        for to, call in calls.items():
            with journal._database.write() as sql:
                sql.execute("UPDATE job SET state = ?", (state,))
            if to in STEPS[state]:
                call()
                assert journal.job(1).state == to
            else:
                with pytest.raises(JournalConflict):
                    call()
                assert journal.job(1).state == state


def test_journal_second_message_under_way_is_refused(journal: Journal) -> None:
    _signed(journal)
    _send(journal)
    with pytest.raises(JournalConflict, match="compete for one seqno"):
        _send(journal, _parcel("other", None), seqno=2)


def test_journal_unsigned_job_is_never_sent(journal: Journal) -> None:
    journal.record(WORKER, 1001, [KEY])
    with pytest.raises(JournalConflict):
        _send(journal)
    assert journal.open_sending() is None
    assert journal.parcels(ParcelState.OPEN) == []


def test_journal_message_void_returns_its_jobs_to_signed(journal: Journal) -> None:
    _signed(journal)
    journal.sending_void(_send(journal), 2, state="expired")
    assert journal.job(1).state == JobState.SIGNED
    attempts = journal.attempts("job")
    assert (attempts.under_way, attempts.failures, attempts.last_failed_at) == (False, (None,), 2)


def test_journal_message_used_tracks_each_parcel(journal: Journal) -> None:
    _signed(journal)
    sending = _send(journal, _parcel(), _parcel("offer", None))
    first, second = journal.parcels(ParcelState.OPEN)
    journal.sending_used(sending, {first.id: 77}, 3)
    assert journal.open_sending() is None
    assert [(p.id, p.created_lt) for p in journal.parcels(ParcelState.LANDED)] == [(first.id, 77)]
    assert journal.attempts("job").under_way
    assert journal.attempts("offer").failures == (None,)
    journal.parcel_arrived(first.id, 305, 4)
    assert journal.job(1).state == JobState.SIGNED
    assert journal.attempts("job").failures == (305,)
    sending = _send(journal, seqno=2)
    (parcel,) = journal.parcels(ParcelState.OPEN)
    journal.sending_used(sending, {parcel.id: 88}, 5)
    journal.parcel_arrived(parcel.id, 0, 6)
    assert journal.job(1).state == JobState.SENT
    assert journal.attempts("job").failures == ()
    assert second.purpose == "offer"


def test_journal_end_of_a_job_ends_its_parcel_whichever_comes_first(journal: Journal) -> None:
    _signed(journal)
    sending = _send(journal)
    journal.record(WORKER, 1002, [Ended(ESCROW, 7, 1, Outcome.DELIVERED)])
    (parcel,) = journal.parcels(ParcelState.OPEN)
    journal.sending_used(sending, {parcel.id: 77}, 3)
    assert journal.parcels(ParcelState.LANDED) == []
    assert journal.job(1).outcome == Outcome.DELIVERED


def test_journal_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(os.urandom(5000))
    with pytest.raises(JournalCorrupt, match="move it away"):
        Journal(path)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as sql:
        sql.execute("CREATE TABLE t (x)")
    sql.close()
    with pytest.raises(JournalCorrupt, match="not a journal"):
        Journal(other)


def test_journal_of_another_version_is_refused(journal: Journal, tmp_path: Path) -> None:
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as sql:
        sql.execute("PRAGMA user_version = 9")
    sql.close()
    with pytest.raises(JournalCorrupt, match="layout 9"):
        Journal(tmp_path / "journal.sqlite")


def test_journal_damaged_inside_is_refused(journal: Journal, tmp_path: Path) -> None:
    for number in range(200):
        journal.record(WORKER, 1001 + number, [replace(KEY, epoch=number, posted_lt=number)])
    journal.close()
    path = tmp_path / "journal.sqlite"
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 4096):
        data[at : at + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(JournalCorrupt):
        Journal(path)


def test_journal_on_a_full_disk_writes_nothing_and_says_so(journal: Journal) -> None:
    journal.record(WORKER, 1001, [KEY])
    pages = journal._database.read("PRAGMA page_count")[0][0]
    journal._database.read(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalFull, match="free or unlock the disk"):
        journal.accept(1, replace(TERMS, ciphertext=bytes(100_000)))
    assert journal.job(1).state == JobState.SEEN
    journal._database.read("PRAGMA max_page_count = 100000")
    journal.accept(1, TERMS)


def test_journal_in_a_place_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalFull):
        Journal(tmp_path / "file" / "journal.sqlite")
