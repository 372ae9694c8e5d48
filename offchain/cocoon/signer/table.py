"""What has been signed, by sequence number. A receipt and a rejection for one number exclude each other."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ..crypto.errors import StatementMismatch
from ..crypto.statements import RECEIPT_KINDS
from ..wire.common import DOMAIN_TAG, Kind
from ..wire.escrow import Receipt, RejectionStatement
from ..wire.hashing import struct_hash
from .errors import AlreadySigned, SeqClosed, SignerFull

__all__ = ["STREAM_WINDOW", "Signed", "SignedTable", "Slot", "Statement"]

STREAM_WINDOW = 1024

type Statement = Receipt | RejectionStatement


@dataclass(frozen=True, slots=True)
class Slot:
    """What may be signed once. `space` is the kind of receipt; `escrow` the raw account (workchain:hex).

    The network is left out on purpose: one key signs for one network only, and the narrower name refuses more.
    """

    space: Kind
    escrow: str
    epoch: int
    key_epoch: int
    seq: int

    @classmethod
    def of(cls, statement: Statement) -> Slot:
        """StatementMismatch if the statement is not one that takes a slot."""
        domain = statement.domain
        if domain.tag != DOMAIN_TAG:
            raise StatementMismatch(f"protocol tag {domain.tag:#x} is not this version's")
        if isinstance(statement, RejectionStatement):
            expected, space = {Kind.REJECTION}, Kind.FORCED_RECEIPT  # only forced jobs are rejected on chain
        else:
            expected, space = (
                set(RECEIPT_KINDS),
                Kind(domain.kind) if domain.kind in RECEIPT_KINDS else Kind.FORCED_RECEIPT,
            )
        if domain.kind not in expected:
            raise StatementMismatch(f"a {type(statement).__name__} can't be of kind {domain.kind}")
        escrow = f"{domain.contract.wc}:{domain.contract.hash_part.hex()}"
        return cls(space, escrow, domain.epoch, domain.key_epoch, statement.seq)


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement with its signature. `response` is what a receipt is for; None for a rejection, or once forgotten."""

    slot: Slot
    statement: Statement
    signature: bytes
    response: bytes | None


class SignedTable:
    """Keeps every statement; keeps responses, which are large, up to a budget and forgets the oldest first.

    Streams are many: of each channel's, numbers more than STREAM_WINDOW below the greatest signed are closed for good
    and forgotten, so that nothing is ever signed for them again.
    """

    def __init__(self, *, max_entries: int = 500_000, max_response_bytes: int = 256 << 20) -> None:
        self._entries: dict[Slot, Signed] = {}
        self._responses: OrderedDict[Slot, bytes] = OrderedDict()
        self._response_bytes = 0
        self._max_entries = max_entries
        self._greatest: dict[tuple[str, int, int], int] = {}  # stream seqs, by escrow, epoch and key epoch
        self._max_response_bytes = max_response_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, slot: Slot) -> Signed | None:
        entry = self._entries.get(slot)
        if entry is None:
            return None
        return Signed(entry.slot, entry.statement, entry.signature, self._responses.get(slot))

    def recall(self, slot: Slot, statement: Statement) -> Signed | None:
        """What is stored, if it is this very statement; None if nothing is. AlreadySigned, SeqClosed or SignerFull
        otherwise.
        """
        stored = self.find(slot)
        if stored is None:
            if slot.space == Kind.STREAM_RECEIPT and slot.seq <= self._floor(slot):
                raise SeqClosed(f"seq {slot.seq} is far behind what was signed in this channel: take a new one")
            if len(self._entries) >= self._max_entries:
                raise SignerFull(
                    "the signer's table is full: finish the open jobs and restart it, which rotates its keys"
                )
            return None
        if struct_hash(stored.statement) != struct_hash(statement):
            raise AlreadySigned(stored)
        return stored

    def store(self, slot: Slot, statement: Statement, signature: bytes, response: bytes | None) -> Signed:
        """Remember a signature that is about to leave."""
        self._entries[slot] = Signed(slot, statement, signature, None)
        if slot.space == Kind.STREAM_RECEIPT:
            self._raise_floor(slot)
        if response is not None:
            self._responses[slot] = response
            self._response_bytes += len(response)
        while self._response_bytes > self._max_response_bytes:
            _, oldest = self._responses.popitem(last=False)
            self._response_bytes -= len(oldest)
        return Signed(slot, statement, signature, response)

    def _floor(self, slot: Slot) -> int:
        """Numbers up to this one are closed."""
        return self._greatest.get((slot.escrow, slot.epoch, slot.key_epoch), 0) - STREAM_WINDOW

    def _raise_floor(self, slot: Slot) -> None:
        channel = (slot.escrow, slot.epoch, slot.key_epoch)
        before = self._floor(slot)
        self._greatest[channel] = max(slot.seq, self._greatest.get(channel, 0))
        # a jump may close any number of them, but what was kept lies within one window
        for seq in range(before + 1, min(self._floor(slot), before + STREAM_WINDOW) + 1):
            self._entries.pop(Slot(slot.space, slot.escrow, slot.epoch, slot.key_epoch, seq), None)
