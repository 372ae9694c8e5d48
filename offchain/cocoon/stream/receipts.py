"""Receipts of streams: their compact form on the wire, and the chain over all of a channel's incarnation.

The chain is one hash over all receipts in the order the worker counted them; a paid voucher names it, and so commits to
what was delivered for the money.
"""

from __future__ import annotations

import hashlib
import struct

from ..crypto.statements import Channel
from ..wire.common import Kind
from ..wire.escrow import Receipt, ReceiptDisclosure, ReceiptOutcome
from ..wire.hashing import struct_hash
from .errors import FrameMalformed

__all__ = ["EMPTY_CHAIN", "RECEIPT_BYTES", "extend_chain", "pack_receipt", "receipt_hash", "unpack_receipt"]

EMPTY_CHAIN = 0
_FORMAT = struct.Struct(">IQI32s32s32s32s32s")
RECEIPT_BYTES = _FORMAT.size
_LABEL = b"cocoon receipt chain 1 "


def receipt_hash(receipt: Receipt) -> bytes:
    """What the worker signs."""
    return struct_hash(receipt)


def extend_chain(chain: int, digest: bytes) -> int:
    """The chain with one more receipt, of this `receipt_hash`."""
    return int.from_bytes(hashlib.sha256(_LABEL + chain.to_bytes(32, "big") + digest).digest(), "big")


def pack_receipt(receipt: Receipt) -> bytes:
    """Everything but the domain, which follows from the channel."""
    outcome = receipt.outcome
    hashes = (
        receipt.request_digest,
        outcome.response_digest,
        outcome.model_id,
        outcome.disclosure.usage_commitment,
        outcome.disclosure.measurement,
    )
    return _FORMAT.pack(
        receipt.seq, receipt.fee_nano, receipt.issued_at, *(value.to_bytes(32, "big") for value in hashes)
    )


def unpack_receipt(data: bytes, channel: Channel) -> Receipt:
    """FrameMalformed."""
    try:
        seq, fee, issued_at, *hashes = _FORMAT.unpack(data)
    except struct.error as error:
        raise FrameMalformed(f"a receipt of {len(data)} bytes") from error
    request, response, model, commitment, measurement = (int.from_bytes(value, "big") for value in hashes)
    outcome = ReceiptOutcome(response, model, ReceiptDisclosure(commitment, measurement))
    return Receipt(channel.domain(Kind.STREAM_RECEIPT), seq, fee, issued_at, request, outcome)
