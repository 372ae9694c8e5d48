"""Messages on their way: what the agent wants delivered, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pytoniq_core import Address, Cell

__all__ = ["Attempts", "Parcel", "ParcelState", "Sending", "TrackedParcel"]


class ParcelState(StrEnum):
    OPEN = "open"  # in a signed message whose fate is unknown
    LANDED = "landed"  # the wallet sent it; the destination has not answered for it yet
    DONE = "done"
    FAILED = "failed"  # refused by its destination, or never sent


@dataclass(frozen=True, slots=True)
class Parcel:
    """One internal message to be sent by the operator's wallet. At most one per `purpose` is under way.

    patience_sec: the longest pause before it is sent again after refusals.
    """

    purpose: str
    to: Address
    value_nano: int
    body: Cell
    job: int | None = None
    patience_sec: int = 300


@dataclass(frozen=True, slots=True)
class Sending:
    """A signed external message: once journaled, these bytes are sent until used or expired, and no others."""

    id: int
    message: Cell
    seqno: int
    valid_until: int
    after_lt: int

    @property
    def body_hash(self) -> bytes:
        digest: bytes = self.message.refs[-1].hash
        return digest


@dataclass(frozen=True, slots=True)
class TrackedParcel:
    """A parcel in the journal. `created_lt` is known once it has landed."""

    id: int
    sending: int
    purpose: str
    job: int | None
    to: Address
    body_hash: bytes
    created_lt: int | None


@dataclass(frozen=True, slots=True)
class Attempts:
    """`failures`: exit codes since the last success, newest first (None: it never left); `last_failed_at` in unix
    time.
    """

    under_way: bool
    failures: tuple[int | None, ...]
    last_failed_at: int
