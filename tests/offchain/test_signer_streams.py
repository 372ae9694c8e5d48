"""Numbers of streams: signed once, and old ones closed for good."""

from __future__ import annotations

import pytest
from pytoniq_core import Address

from cocoon.crypto import statements
from cocoon.crypto.ed25519 import verify
from cocoon.crypto.errors import StatementMismatch
from cocoon.crypto.usage import Usage
from cocoon.signer.errors import AlreadySigned, SeqClosed
from cocoon.signer.keys import SignerKeys
from cocoon.signer.messages import pack_stream_receipt, unpack_stream_receipt
from cocoon.signer.table import STREAM_WINDOW, SignedTable
from cocoon.wire.common import Kind
from cocoon.wire.escrow import Receipt


def _receipt(seq: int, fee: int = 5, kind: Kind = Kind.STREAM_RECEIPT, epoch: int = 1) -> Receipt:
    channel = statements.Channel(-217, Address((0, b"\1" * 32)), epoch, 1)
    return statements.receipt(
        channel, kind, seq=seq, fee_nano=fee, issued_at=1, request_digest=2, response_digest=3, model_id=4,
        usage=Usage(1, 0, 1, b"\1" * 32), measurement=0,
    )  # fmt: skip


def test_stream_receipt_signed_again_is_the_same_and_another_is_refused() -> None:
    keys = SignerKeys()
    signature = keys.sign_stream_receipt(_receipt(1))
    verify(keys.identity().session_key, _receipt(1), signature)
    assert keys.sign_stream_receipt(_receipt(1)) == signature
    with pytest.raises(AlreadySigned):
        keys.sign_stream_receipt(_receipt(1, fee=6))


def test_receipt_of_a_forced_job_is_not_signed_without_its_response() -> None:
    with pytest.raises(StatementMismatch):
        SignerKeys().sign_stream_receipt(_receipt(1, kind=Kind.FORCED_RECEIPT))


@pytest.mark.parametrize("steps", [[1] * 3000, [1, 5000, 1, 700, 1, 1024, 1023, 3], [2000, 1]])
def test_number_behind_the_window_is_never_signed_whatever_was_signed_there(steps: list[int]) -> None:
    table = SignedTable()
    keys, seq, signed = SignerKeys(table), 0, []
    for step in steps:
        seq += step
        keys.sign_stream_receipt(_receipt(seq))
        signed.append(seq)
    assert len(table) == sum(found > seq - STREAM_WINDOW for found in signed)
    for found in (1, seq - STREAM_WINDOW):
        with pytest.raises(SeqClosed):
            keys.sign_stream_receipt(_receipt(found, fee=9))
    keys.sign_stream_receipt(_receipt(1, epoch=2))  # another incarnation has numbers of its own


def test_number_within_the_window_is_signed_out_of_order() -> None:
    keys = SignerKeys()
    keys.sign_stream_receipt(_receipt(2000))
    keys.sign_stream_receipt(_receipt(2000 - STREAM_WINDOW + 1))
    with pytest.raises(AlreadySigned):
        keys.sign_stream_receipt(_receipt(2000 - STREAM_WINDOW + 1, fee=6))


def test_stream_receipt_crosses_the_signers_socket_unchanged() -> None:
    assert unpack_stream_receipt(pack_stream_receipt(_receipt(7))) == _receipt(7)
