"""Evidence against a worker: two different receipts for one request number."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Slashed", "report_equivocation"]


@dataclass(frozen=True, slots=True)
class Slashed:
    """`slashed_nano` is the worker's whole stake; `received_nano` of it came here, to the reporter and the harmed."""

    slashed_nano: int
    received_nano: int
    transactions: tuple[ChainTransaction, ...] = field(repr=False)


async def report_equivocation(
    channel: Channel, first: SignedReceipt, second: SignedReceipt, session_key: int
) -> Slashed:
    """See `Channel.report_equivocation`. BadSignature if the worker did not sign one of them."""
    a, b = first.receipt, second.receipt
    if a == b:
        raise ClientError("these receipts are the same: that is no fault")
    if (a.domain, a.seq) != (b.domain, b.seq):
        raise ClientError("these receipts are for different requests: that is no fault")
    if a.domain.contract != channel.address:
        raise ClientError("these receipts are of another channel; report them there")
    for signed in (first, second):
        verify(session_key, signed.receipt, signed.signature)
    stored = channel.stored
    identity = channel.deployment.escrow_identity(channel.client_address, stored.worker, stored.salt)
    body = SubmitEquivocation(channel.new_query_id(), session_key, identity, first, second)
    value = (await channel.fees()).submit_evidence()
    sent = await channel.wallet.send(channel.chain, channel.deployment.slashing, value, body.to_cell())
    caused = await trace(channel.chain, sent)
    slashing = [item for item in caused if item.account == stored.worker]
    if not any(succeeded(item) for item in slashing):
        raise ClientError("the worker could not be slashed: its key is not (or no longer) slashable, or was before")
    received = paid(slashing, channel.client_address, PaymentReason.SLASH_REWARD)
    return Slashed(received + burned(slashing), received, tuple(caused))
