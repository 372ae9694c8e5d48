"""What the journal knows about one job, and which steps a job can take."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pytoniq_core import Address

from ..crypto.statements import Channel
from ..signer.table import Slot
from ..wire.common import Kind
from ..wire.escrow import Binding, Receipt, RejectReason

__all__ = ["ENDED", "OPEN", "STEPS", "UNSIGNED", "Accepted", "Job", "JobKey", "JobState", "Outcome"]


class JobState(StrEnum):
    """`sent` may fall back to `signed`: a message that expired, or had no effect, is made anew."""

    SEEN = "seen"  # the worker admitted it
    ACCEPTED = "accepted"  # terms and ciphertext read from the chain
    ANSWERED = "answered"  # response and unsigned receipt stored
    REFUSING = "refusing"  # the request is the client's fault, reason stored
    SIGNED = "signed"
    SENT = "sent"
    SETTLED = "settled"  # the chain says how it ended
    LOST = "lost"  # can't be signed any more: its key is gone


STEPS: dict[JobState, frozenset[JobState]] = {
    JobState.SEEN: frozenset({JobState.ACCEPTED, JobState.LOST, JobState.SETTLED}),
    JobState.ACCEPTED: frozenset(
        {JobState.ANSWERED, JobState.REFUSING, JobState.SIGNED, JobState.LOST, JobState.SETTLED}
    ),
    JobState.ANSWERED: frozenset({JobState.SIGNED, JobState.LOST, JobState.SETTLED}),
    JobState.REFUSING: frozenset({JobState.SIGNED, JobState.LOST, JobState.SETTLED}),
    JobState.SIGNED: frozenset({JobState.SENT, JobState.SETTLED}),
    JobState.SENT: frozenset({JobState.SIGNED, JobState.SETTLED}),
    JobState.LOST: frozenset({JobState.SETTLED}),
    JobState.SETTLED: frozenset(),
}
UNSIGNED = (JobState.SEEN, JobState.ACCEPTED, JobState.ANSWERED, JobState.REFUSING)
ENDED = (JobState.SETTLED, JobState.LOST)  # nothing can be done
OPEN = tuple(state for state in JobState if state != JobState.SETTLED)


class Outcome(StrEnum):
    """How the chain ended a job."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    MISSED = "missed"  # the deadline passed; the miss bond paid
    KEY_LOST = "key lost"  # the channel was given new keys; a small part of the miss bond paid
    UNSEEN = "unseen"  # while nobody watched; the chain's history of it is gone
    FORGOTTEN = "forgotten"  # its escrow has begun another job or epoch


@dataclass(frozen=True, slots=True)
class JobKey:
    """One forced job. `posted_lt` is a logical time before that of its PostJob; the closer, the faster it is found."""

    escrow: Address
    epoch: int
    seq: int
    posted_lt: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The terms of a job, from the escrow's proven state, and its request. ciphertext: None if the cell holds none."""

    request_digest: int
    max_fee_nano: int
    deadline: int
    binding: Binding
    ciphertext: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the journal. Which fields are there follows from `state`."""

    id: int
    key: JobKey
    state: JobState
    terms: Accepted | None = None
    receipt: Receipt | None = None
    response: bytes | None = field(default=None, repr=False)
    reason: RejectReason | None = None
    signature: bytes | None = field(default=None, repr=False)
    outcome: Outcome | None = None
    note: str | None = None

    def channel(self, global_id: int) -> Channel:
        """Only for an accepted job."""
        return Channel(global_id, self.key.escrow, self.key.epoch, self.accepted.binding.key_epoch)

    def slot(self, global_id: int) -> Slot:
        escrow = f"{self.key.escrow.wc}:{self.key.escrow.hash_part.hex()}"
        return Slot(Kind.FORCED_RECEIPT, escrow, self.key.epoch, self.accepted.binding.key_epoch, self.key.seq)

    @property
    def accepted(self) -> Accepted:
        if self.terms is None:
            raise ValueError(f"job {self.id} has not been accepted")
        return self.terms

    def __str__(self) -> str:
        return f"job {self.id} (escrow {self.key.escrow.hash_part.hex()[:8]}, seq {self.key.seq})"
