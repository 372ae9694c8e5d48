"""Signed statements: every field is bound, small-order keys are refused, errors are Cocoon's own."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address

from cocoon.crypto import statements
from cocoon.crypto.ed25519 import check_sound, public_key, sign
from cocoon.crypto.errors import BadSignature, KeyUnsound, StatementMismatch
from cocoon.crypto.statements import Channel
from cocoon.crypto.usage import Usage
from cocoon.wire.common import Kind
from cocoon.wire.escrow import RejectReason, SignedReceipt

ESCROW, OTHER = Address((0, b"\x11" * 32)), Address((0, b"\x22" * 32))
KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
CHANNEL = Channel(-239, ESCROW, 7, 1)
FACTS: dict[str, Any] = {
    "kind": Kind.FORCED_RECEIPT, "seq": 3, "request_digest": 10, "response_digest": 11, "model_id": 12,
    "channel": CHANNEL,
}  # fmt: skip


def _receipt() -> SignedReceipt:
    receipt = statements.receipt(
        CHANNEL, Kind.FORCED_RECEIPT, seq=3, fee_nano=50, issued_at=1, request_digest=10, response_digest=11,
        model_id=12, usage=Usage(1, 0, 1), measurement=4,
    )  # fmt: skip
    return SignedReceipt(receipt, sign(KEY, receipt))


def test_receipt_of_this_job_is_believed() -> None:
    statements.verify_receipt(_receipt(), session_key=public_key(KEY), max_fee_nano=50, measurement=4, **FACTS)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": Kind.STREAM_RECEIPT}, {"seq": 4}, {"request_digest": 0}, {"response_digest": 0}, {"model_id": 0},
        {"channel": replace(CHANNEL, escrow=OTHER)}, {"channel": replace(CHANNEL, epoch=8)},
        {"channel": replace(CHANNEL, key_epoch=2)}, {"channel": replace(CHANNEL, global_id=-3)}, {"max_fee_nano": 49},
        {"measurement": 5},
    ],
)  # fmt: skip
def test_receipt_about_something_else_is_refused(change: dict[str, Any]) -> None:
    facts = {"max_fee_nano": 50, **FACTS, **change}
    with pytest.raises(StatementMismatch):
        statements.verify_receipt(_receipt(), session_key=public_key(KEY), **facts)


def test_receipt_altered_after_signing_is_refused() -> None:
    signed = _receipt()
    forged = replace(signed, receipt=replace(signed.receipt, fee_nano=49))
    with pytest.raises(BadSignature):
        statements.verify_receipt(forged, session_key=public_key(KEY), max_fee_nano=50, **FACTS)


def test_receipt_of_a_kind_that_is_none_is_not_built() -> None:
    with pytest.raises(StatementMismatch):
        statements.receipt(CHANNEL, Kind.CLOSE, seq=1, fee_nano=0, issued_at=0, request_digest=0, response_digest=0,
                           model_id=0, usage=Usage(0, 0, 0), measurement=0)  # fmt: skip


def test_other_statements_hold_only_as_signed() -> None:
    key = public_key(KEY)
    rejected = sign(KEY, statements.rejection(CHANNEL, seq=3, request_digest=10, reason=RejectReason.TOO_LONG))
    statements.verify_rejection(
        rejected, session_key=key, channel=CHANNEL, seq=3, request_digest=10, reason=RejectReason.TOO_LONG
    )
    with pytest.raises(BadSignature):
        statements.verify_rejection(
            rejected, session_key=key, channel=CHANNEL, seq=3, request_digest=10, reason=RejectReason.MALFORMED
        )
    paid = sign(KEY, statements.voucher(CHANNEL, cumulative_nano=5, receipt_chain=6))
    statements.verify_voucher(paid, client_key=key, channel=CHANNEL, cumulative_nano=5, receipt_chain=6)
    with pytest.raises(BadSignature):
        statements.verify_voucher(paid, client_key=key, channel=CHANNEL, cumulative_nano=6, receipt_chain=6)
    closed = sign(KEY, statements.close(CHANNEL, cumulative_nano=5))
    statements.verify_close(closed, key=key, channel=CHANNEL, cumulative_nano=5)
    with pytest.raises(BadSignature):
        statements.verify_close(closed[:-1], key=key, channel=CHANNEL, cumulative_nano=5)


@pytest.mark.parametrize(
    "raw",
    [
        "00" * 32, "00" * 31 + "80", "01" + "00" * 31, "01" + "00" * 30 + "80", "ec" + "ff" * 30 + "7f",
        "ec" + "ff" * 31, "ed" + "ff" * 30 + "7f", "ee" + "ff" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ],
)  # fmt: skip
def test_key_of_small_order_is_refused(raw: str) -> None:
    with pytest.raises(KeyUnsound):
        check_sound(int.from_bytes(bytes.fromhex(raw), "big"))
    with pytest.raises(KeyUnsound):
        statements.verify_close(
            bytes(64), key=int.from_bytes(bytes.fromhex(raw), "big"), channel=CHANNEL, cumulative_nano=0
        )
