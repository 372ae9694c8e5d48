"""What a worker's own files say: jobs, vouchers, money earned. Read in the agent's process, or while none runs."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..agent.jobs import JobState, Outcome
from ..agent.journal import Journal
from ..agent.vouchers import ChannelRecord, VoucherBook

__all__ = ["Books", "ChannelBook", "open_books", "read_books"]


@dataclass(frozen=True, slots=True)
class ChannelBook:
    """A channel that vouchers came over. promised_nano: by its best voucher; earned_nano: for what was done."""

    escrow: str
    epoch: int
    promised_nano: int
    earned_nano: int
    receipts: int
    is_ending: bool


@dataclass(frozen=True, slots=True)
class Books:
    """jobs: how many by state; outcomes: of those that ended. forced_nano: fees of delivered ones. escrows: all that
    this worker has ever seen. open_jobs: (what, state, latest time) of each.
    """

    jobs: dict[str, int]
    outcomes: dict[str, int]
    forced_nano: int
    channels: tuple[ChannelBook, ...]
    escrows: tuple[str, ...]
    open_jobs: tuple[tuple[str, str, int], ...]

    @property
    def unfinished(self) -> int:
        """Forced jobs that this agent can still do something about."""
        return sum(count for state, count in self.jobs.items() if state not in (JobState.SETTLED, JobState.LOST))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Books:
        channels = tuple(ChannelBook(**channel) for channel in found["channels"])
        open_jobs = tuple((what, state, until) for what, state, until in found["open_jobs"])
        return cls(**{**found, "channels": channels, "escrows": tuple(found["escrows"]), "open_jobs": open_jobs})


async def read_books(journal: Journal, vouchers: VoucherBook, fees: dict[int, int] | None = None) -> Books:
    """fees: of delivered jobs, by their id, kept between calls: a job is read once more after it has ended, then never
    again. A JournalError if the books can't be relied on.
    """
    fees = {} if fees is None else fees
    outline, channels = journal.outline(), await vouchers.channels()
    for job_id, _, outcome, _ in outline:
        if outcome == Outcome.DELIVERED and job_id not in fees:
            receipt = journal.job(job_id).receipt
            fees[job_id] = 0 if receipt is None else receipt.fee_nano
    unsettled = [state for state in JobState if state != JobState.SETTLED]
    return Books(
        jobs=dict(Counter(str(state) for _, state, _, _ in outline)),
        outcomes=dict(Counter(str(outcome) for _, _, outcome, _ in outline if outcome is not None)),
        forced_nano=sum(fees.values()),
        channels=tuple(_channel(record) for record in channels),
        escrows=tuple(sorted({escrow for _, _, _, escrow in outline} | {_raw(record) for record in channels})),
        open_jobs=tuple(
            (str(job), str(job.state), 0 if job.terms is None else job.terms.deadline)
            for job in journal.jobs(*unsettled)
        ),
    )


async def open_books(data: Path) -> Books | None:
    """The books in an agent's data directory; None if there are none yet. JournalInUse while its agent runs."""
    journal, vouchers = data / "journal.sqlite", data / "vouchers.sqlite"
    if not journal.is_file() or not vouchers.is_file():
        return None
    with contextlib.closing(Journal(journal)) as opened, contextlib.closing(VoucherBook(vouchers)) as book:
        return await read_books(opened, book)


def _channel(record: ChannelRecord) -> ChannelBook:
    return ChannelBook(_raw(record), record.epoch, record.cumulative, record.earned, record.receipts, record.closing)


def _raw(record: ChannelRecord) -> str:
    name: str = record.escrow.to_str(is_user_friendly=False)
    return name
