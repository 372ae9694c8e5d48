"""What has been signed, by sequence number. A receipt and a rejection for one number exclude each other."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ..crypto.errors import StatementMismatch
from ..crypto.statements import RECEIPT_KINDS
from ..wire.common import DOMAIN_TAG, Kind
from ..wire.escrow import Receipt, RejectionStatement
from .errors import AlreadySigned, SignerFull

__all__ = ["Signed", "SignedTable", "Slot", "Statement"]

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
    """Keeps every statement; keeps responses, which are large, up to a budget and forgets the oldest first."""

    def __init__(self, *, max_entries: int = 500_000, max_response_bytes: int = 256 << 20) -> None:
        self._entries: dict[Slot, Signed] = {}
        self._responses: OrderedDict[Slot, bytes] = OrderedDict()
        self._response_bytes = 0
        self._max_entries = max_entries
        self._max_response_bytes = max_response_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, slot: Slot) -> Signed | None:
        entry = self._entries.get(slot)
        if entry is None:
            return None
        return Signed(entry.slot, entry.statement, entry.signature, self._responses.get(slot))

    def recall(self, slot: Slot, statement: Statement) -> Signed | None:
        """What is stored, if it is this very statement; None if nothing is. AlreadySigned or SignerFull otherwise."""
        stored = self.find(slot)
        if stored is None:
            if len(self._entries) >= self._max_entries:
                raise SignerFull(
                    "the signer's table is full: finish the open jobs and restart it, which rotates its keys"
                )
            return None
        if stored.statement.to_cell().hash != statement.to_cell().hash:
            raise AlreadySigned(stored)
        return stored

    def store(self, slot: Slot, statement: Statement, signature: bytes, response: bytes | None) -> Signed:
        """Remember a signature that is about to leave."""
        self._entries[slot] = Signed(slot, statement, signature, None)
        if response is not None:
            self._responses[slot] = response
            self._response_bytes += len(response)
        while self._response_bytes > self._max_response_bytes:
            _, oldest = self._responses.popitem(last=False)
            self._response_bytes -= len(oldest)
        return Signed(slot, statement, signature, response)
