"""Evidence against a worker: two different receipts for one request number. On the disk before anything else happens
to it, and there until the chain has judged it: neither a restart nor a closed channel may save the worker.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytoniq_core import Address, Cell

from cocoon_sandbox.boc import to_boc

from ..chain.base import ChainTransaction
from ..chain.trace import trace
from ..crypto.ed25519 import verify
from ..errors import ClientError
from ..wire.common import PaymentReason
from ..wire.escrow import SignedReceipt
from ..wire.slashing import SubmitEquivocation
from .reading import burned, paid, succeeded
from .store import ClientStore, StoredChannel
from .streamed import StreamLied

if TYPE_CHECKING:
    from .channel import Channel

__all__ = [
    "Equivocated", "Evidence", "EvidenceRefused", "Slashed", "keep_evidence", "report_equivocation", "unsent_evidence",
]  # fmt: skip

log = logging.getLogger(__name__)
# made when first needed: a store of this version from before there was such a table stays usable
_TABLE = """
CREATE TABLE IF NOT EXISTS evidence (
    escrow TEXT NOT NULL, epoch TEXT NOT NULL, key_epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    registry TEXT NOT NULL, worker TEXT NOT NULL, salt INTEGER NOT NULL, client_key BLOB NOT NULL,
    session_key TEXT NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL, sent INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (escrow, epoch, key_epoch, seq)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two receipts of one number, and what it takes to report them once the store has forgotten the channel.
    `session_key` signed both.
    """

    channel: StoredChannel
    session_key: int
    first: SignedReceipt = field(repr=False)
    second: SignedReceipt = field(repr=False)


class Equivocated(StreamLied):
    """The worker signed two receipts with one number. `evidence` is kept in the store; report it over `channel`."""

    def __init__(self, channel: Channel, evidence: Evidence) -> None:
        super().__init__(
            "the worker signed two receipts with one number; report_equivocation takes its stake",
            receipts=(evidence.first, evidence.second),
        )
        self.channel, self.evidence = channel, evidence


class EvidenceRefused(ClientError):
    """The chain does not believe it, or does not any more; reporting it again changes nothing."""


@dataclass(frozen=True, slots=True)
class Slashed:
    """`slashed_nano` is the worker's whole stake; `received_nano` of it came here, to the reporter and the harmed."""

    slashed_nano: int
    received_nano: int
    transactions: tuple[ChainTransaction, ...] = field(repr=False)


def keep_evidence(store: ClientStore, evidence: Evidence) -> None:
    """One pair for each number. A store that can't be written is told of and no more: the worker lied all the same."""
    stored, said = evidence.channel, evidence.first.receipt
    try:
        store._write(_TABLE)
        store._write(
            "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            _name(said.domain.contract), str(said.domain.epoch), said.domain.key_epoch, said.seq,
            _name(stored.registry), _name(stored.worker), stored.salt, stored.client_key,
            f"{evidence.session_key:064x}", to_boc(evidence.first.to_cell()), to_boc(evidence.second.to_cell()),
        )  # fmt: skip
    except ClientError as error:
        log.error("evidence against worker %s lasts no longer than this process: %s", _name(stored.worker), error)


def unsent_evidence(store: ClientStore) -> list[Evidence]:
    """What the chain has not judged yet, oldest first."""
    store._write(_TABLE)
    rows = store._db.execute(
        "SELECT escrow, registry, worker, salt, client_key, session_key, first, second FROM evidence WHERE sent = 0 "
        "ORDER BY rowid"
    )
    return [
        Evidence(
            StoredChannel(Address(escrow), Address(registry), Address(worker), salt, client_key),
            int(key, 16),
            *(SignedReceipt.from_cell(Cell.one_from_boc(said)) for said in (first, second)),
        )
        for escrow, registry, worker, salt, client_key, key, first, second in rows
    ]


async def report_equivocation(
    channel: Channel, first: SignedReceipt, second: SignedReceipt, session_key: int
) -> Slashed:
    """See `Channel.report_equivocation`. BadSignature if the worker did not sign one of them."""
    a, b = first.receipt, second.receipt
    if a == b:
        raise EvidenceRefused("these receipts are the same: that is no fault")
    if (a.domain, a.seq) != (b.domain, b.seq):
        raise EvidenceRefused("these receipts are for different requests: that is no fault")
    if a.domain.contract != channel.address:
        raise EvidenceRefused("these receipts are of another channel; report them there")
    for signed in (first, second):
        verify(session_key, signed.receipt, signed.signature)
    stored = channel.stored
    identity = channel.deployment.escrow_identity(channel.client_address, stored.worker, stored.salt)
    body = SubmitEquivocation(channel.new_query_id(), session_key, identity, first, second)
    value = (await channel.fees()).submit_evidence()
    sent = await channel.wallet.send(channel.chain, channel.deployment.slashing, value, body.to_cell())
    caused = await trace(channel.chain, sent)
    if not any(item.account == channel.deployment.slashing for item in caused):
        raise ClientError("the report did not reach Slashing; see what became of the wallet's message, and try again")
    _settle(channel.store, first)
    slashing = [item for item in caused if item.account == stored.worker]
    if not any(succeeded(item) for item in slashing):
        raise EvidenceRefused("the worker could not be slashed: its key is not (or no longer) slashable, or was before")
    received = paid(slashing, channel.client_address, PaymentReason.SLASH_REWARD)
    return Slashed(received + burned(slashing), received, tuple(caused))


def _settle(store: ClientStore, signed: SignedReceipt) -> None:
    """The chain has judged the evidence with this receipt's number."""
    domain = signed.receipt.domain
    store._write(_TABLE)
    store._write(
        "UPDATE evidence SET sent = 1 WHERE escrow = ? AND epoch = ? AND key_epoch = ? AND seq = ?",
        _name(domain.contract), str(domain.epoch), domain.key_epoch, signed.receipt.seq,
    )  # fmt: skip


def _name(address: Address) -> str:
    name: str = address.to_str(is_user_friendly=False)
    return name
