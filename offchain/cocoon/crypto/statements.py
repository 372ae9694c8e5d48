"""Every statement the protocol signs: how it is built, and what has to hold for it to be believed.

All of them begin with a `SignedDomain`: kind, network, contract, the contract's incarnation and the key generation, so
none can be replayed as another kind, elsewhere, or after re-opening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict, Unpack

from pytoniq_core import Address

from ..wire.common import DOMAIN_TAG, Kind, SignedDomain
from ..wire.escrow import (
    CloseStatement,
    Receipt,
    ReceiptDisclosure,
    ReceiptOutcome,
    RejectionStatement,
    RejectReason,
    SignedReceipt,
    VoucherStatement,
)
from .ed25519 import verify
from .errors import StatementMismatch
from .usage import Usage

__all__ = [
    "RECEIPT_KINDS", "Channel", "ReceiptFacts", "check_receipt", "close", "receipt", "rejection", "verify_close",
    "verify_receipt", "verify_rejection", "verify_voucher", "voucher",
]  # fmt: skip

RECEIPT_KINDS = frozenset({Kind.STREAM_RECEIPT, Kind.FORCED_RECEIPT})


@dataclass(frozen=True, slots=True)
class Channel:
    """One incarnation of one escrow under one key of its worker."""

    global_id: int
    escrow: Address
    epoch: int
    key_epoch: int

    def domain(self, kind: Kind) -> SignedDomain:
        return SignedDomain(DOMAIN_TAG, kind, self.global_id, self.escrow, self.epoch, self.key_epoch)


class ReceiptFacts(TypedDict):
    """What a client knows of the response it got. measurement: left out, or None, if it does not care."""

    channel: Channel
    kind: Kind
    seq: int
    request_digest: int
    response_digest: int
    model_id: int
    max_fee_nano: int
    measurement: NotRequired[int | None]


def receipt(
    channel: Channel,
    kind: Kind,
    *,
    seq: int,
    fee_nano: int,
    issued_at: int,
    request_digest: int,
    response_digest: int,
    model_id: int,
    usage: Usage,
    measurement: int,
) -> Receipt:
    """What a worker signs for one response. Digests are hashes of ciphertext cells, `issued_at` is unix time."""
    if kind not in RECEIPT_KINDS:
        raise StatementMismatch(f"{kind.name} is not a kind of receipt")
    disclosure = ReceiptDisclosure(usage.commitment, measurement)
    outcome = ReceiptOutcome(response_digest, model_id, disclosure)
    return Receipt(channel.domain(kind), seq, fee_nano, issued_at, request_digest, outcome)


def rejection(channel: Channel, *, seq: int, request_digest: int, reason: RejectReason) -> RejectionStatement:
    """The request is its client's fault, for an enumerated reason."""
    return RejectionStatement(channel.domain(Kind.REJECTION), seq, request_digest, reason)


def voucher(channel: Channel, *, cumulative_nano: int, receipt_chain: int) -> VoucherStatement:
    """The client pays up to `cumulative_nano` over the channel's life, for the receipts hashed into `receipt_chain`."""
    return VoucherStatement(channel.domain(Kind.VOUCHER), cumulative_nano, receipt_chain)


def close(channel: Channel, *, cumulative_nano: int) -> CloseStatement:
    """Both sides agree that this is what the worker gets in all."""
    return CloseStatement(channel.domain(Kind.CLOSE), cumulative_nano)


def verify_receipt(signed: SignedReceipt, *, session_key: int, **facts: Unpack[ReceiptFacts]) -> None:
    """Whether `signed` is the worker's word for exactly this response: `check_receipt`, and BadSignature or KeyUnsound
    as `ed25519.verify`.
    """
    check_receipt(signed.receipt, **facts)
    verify(session_key, signed.receipt, signed.signature)


def check_receipt(receipt: Receipt, **facts: Unpack[ReceiptFacts]) -> None:
    """StatementMismatch names what differs from the facts."""
    outcome, measurement = receipt.outcome, facts.get("measurement")
    _expect("domain", receipt.domain, facts["channel"].domain(facts["kind"]))
    _expect("seq", receipt.seq, facts["seq"])
    _expect("request digest", receipt.request_digest, facts["request_digest"])
    _expect("response digest", outcome.response_digest, facts["response_digest"])
    _expect("model", outcome.model_id, facts["model_id"])
    if measurement is not None:
        _expect("measurement", outcome.disclosure.measurement, measurement)
    if receipt.fee_nano > facts["max_fee_nano"]:
        raise StatementMismatch(
            f"the receipt asks for {receipt.fee_nano} nanoTON, more than the {facts['max_fee_nano']} allowed"
        )


def verify_rejection(
    signature: bytes, *, session_key: int, channel: Channel, seq: int, request_digest: int, reason: RejectReason
) -> None:
    """Whether the worker signed that this request is its client's fault."""
    verify(session_key, rejection(channel, seq=seq, request_digest=request_digest, reason=reason), signature)


def verify_voucher(
    signature: bytes, *, client_key: int, channel: Channel, cumulative_nano: int, receipt_chain: int
) -> None:
    """Whether the client signed for this much."""
    verify(client_key, voucher(channel, cumulative_nano=cumulative_nano, receipt_chain=receipt_chain), signature)


def verify_close(signature: bytes, *, key: int, channel: Channel, cumulative_nano: int) -> None:
    """Whether `key` (the client's or the worker's) agreed to this final split."""
    verify(key, close(channel, cumulative_nano=cumulative_nano), signature)


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise StatementMismatch(f"signed for another {what}: {found!r} instead of {expected!r}")
