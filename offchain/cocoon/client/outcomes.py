"""How a forced job can end, and the check that an answer is what the worker was paid for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..chain.base import ChainTransaction
from ..crypto.errors import CryptoError
from ..crypto.response import ResponseKey, open_response, response_digest
from ..crypto.statements import Channel as SignedChannel
from ..crypto.statements import verify_receipt, verify_rejection
from ..crypto.usage import Usage, price
from ..errors import ClientError
from ..wire.common import Kind
from ..wire.escrow import Binding, DeliverJob, RejectJob, RejectReason, SignedReceipt
from .store import StoredJob

__all__ = ["Answer", "BadDelivery", "Expired", "KeyLost", "Outcome", "Rejected", "check_delivery", "check_rejection"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A delivered and verified answer. `transaction` is the escrow's that paid for it."""

    text: str = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    usage: Usage
    fee_nano: int
    receipt: SignedReceipt = field(repr=False)
    transaction: ChainTransaction = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The worker signed that the request is the client's fault; nothing was paid, the job's money is in the deposit."""

    reason: RejectReason
    transaction: ChainTransaction = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expired:
    """The worker stayed silent: `refund_nano` came back, with `compensation_nano` out of its miss bond.

    `penalty_nano` is what the worker lost in all.
    """

    refund_nano: int
    compensation_nano: int
    penalty_nano: int
    transactions: tuple[ChainTransaction, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyLost:
    """The worker's enclave was restarted and its key is gone: the job's money came back, with a compensation."""

    refund_nano: int
    transaction: ChainTransaction = field(repr=False)


Outcome = Answer | Rejected | Expired | KeyLost


class BadDelivery(ClientError):
    """The chain took a delivery (every field that it can check holds) that the client can't accept.

    `receipt` is the worker's signature under it. Close the channel, and use another worker.
    """

    def __init__(self, message: str, receipt: SignedReceipt) -> None:
        super().__init__(message)
        self.receipt = receipt


def check_delivery(
    message: DeliverJob,
    transaction: ChainTransaction,
    *,
    job: StoredJob,
    seq: int,
    channel: SignedChannel,
    binding: Binding,
) -> Answer:
    """Verify every signed field, decrypt, and compare usage and fee. BadDelivery says what does not hold."""
    receipt = message.signed.receipt
    try:
        verify_receipt(
            message.signed,
            session_key=binding.keys.session_key,
            channel=channel,
            kind=Kind.FORCED_RECEIPT,
            seq=seq,
            request_digest=job.request_digest,
            response_digest=response_digest(message.response),
            model_id=binding.model_id,
            max_fee_nano=job.max_fee_nano,
            measurement=binding.keys.measurement,
        )
        key = ResponseKey(job.secret, job.request_digest, Kind.FORCED_RECEIPT, seq)
        opened = open_response(message.response, key)
        opened.usage.verify(receipt.outcome.disclosure.usage_commitment)
    except CryptoError as error:
        raise BadDelivery(f"the worker's delivery is no answer: {error}", message.signed) from error
    owed = price(opened.usage, binding.terms)
    if receipt.fee_nano > owed:
        raise BadDelivery(
            f"the worker took {receipt.fee_nano} nanoTON, but the usage it signed for costs {owed} in this channel",
            message.signed,
        )
    text = opened.body.get("text")
    return Answer(
        text if isinstance(text, str) else "", opened.body, opened.usage, receipt.fee_nano, message.signed, transaction
    )


def check_rejection(
    message: RejectJob,
    transaction: ChainTransaction,
    *,
    job: StoredJob,
    seq: int,
    channel: SignedChannel,
    binding: Binding,
) -> Rejected:
    """ClientError unless the worker signed it; the chain has checked the same."""
    try:
        reason = RejectReason(message.reason)
        verify_rejection(
            message.signature,
            session_key=binding.keys.session_key,
            channel=channel,
            seq=seq,
            request_digest=job.request_digest,
            reason=reason,
        )
    except (CryptoError, ValueError) as error:
        raise ClientError(f"the job was rejected without a valid statement of the worker: {error}") from error
    return Rejected(reason, transaction)
