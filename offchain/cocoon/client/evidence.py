"""Evidence against a worker: two different receipts for one request number. On the disk before anything else happens
to it, and there until the chain has judged it: neither a restart nor a closed channel may save the worker.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..chain.base import ChainTransaction
from ..chain.trace import trace
from ..crypto.ed25519 import verify
from ..errors import ClientError
from ..wire.common import PaymentReason
from ..wire.escrow import SignedReceipt
from ..wire.slashing import SubmitEquivocation
from .reading import burned, paid, succeeded
from .store import ClientStore, Evidence
from .streamed import StreamLied

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Equivocated", "EvidenceRefused", "Slashed", "keep_evidence", "report_equivocation"]

log = logging.getLogger(__name__)


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
    """A store that can't be written is told of and no more: the worker lied all the same."""
    try:
        store.keep_evidence(evidence)
    except ClientError as error:
        log.error("evidence against worker %r lasts no longer than this process: %s", evidence.channel.worker, error)


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
    channel.store.evidence_judged(first)
    slashing = [item for item in caused if item.account == stored.worker]
    if not any(succeeded(item) for item in slashing):
        raise EvidenceRefused("the worker could not be slashed: its key is not (or no longer) slashable, or was before")
    received = paid(slashing, channel.client_address, PaymentReason.SLASH_REWARD)
    return Slashed(received + burned(slashing), received, tuple(caused))
