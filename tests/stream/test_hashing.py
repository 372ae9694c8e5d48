"""Hashes and bags computed from bytes are those of the cells."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from pytoniq_core import Address

from cocoon.crypto import statements
from cocoon.crypto.request import RequestBinding
from cocoon.crypto.usage import Usage
from cocoon.errors import WireError
from cocoon.wire.bag import struct_boc
from cocoon.wire.blob import blob_hash, bytes_to_cell
from cocoon.wire.codec import Struct
from cocoon.wire.common import Kind
from cocoon.wire.escrow import EscrowIdentity, RejectReason, SignedReceipt, TopUpEscrow
from cocoon.wire.hashing import struct_hash
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import SetOffer
from cocoon_sandbox.boc import to_boc

CHANNEL = statements.Channel(-217, Address((-1, os.urandom(32))), (1 << 64) - 1, 7)
RECEIPT = statements.receipt(
    CHANNEL, Kind.STREAM_RECEIPT, seq=5, fee_nano=6, issued_at=7, request_digest=1 << 255, response_digest=9,
    model_id=10, usage=Usage(1, 2, 3), measurement=11,
)  # fmt: skip
SIGNED = SignedReceipt(RECEIPT, bytes(64))
IDENTITY = EscrowIdentity(CHANNEL.escrow, CHANNEL.escrow, CHANNEL.escrow, 1)


@pytest.mark.parametrize(
    "value",
    [
        RECEIPT,
        SIGNED,
        statements.voucher(CHANNEL, cumulative_nano=0, receipt_chain=(1 << 256) - 1),
        statements.close(CHANNEL, cumulative_nano=1),
        statements.rejection(CHANNEL, seq=1, request_digest=2, reason=RejectReason.MALFORMED),
        RequestBinding(CHANNEL.domain(Kind.FORCED_RECEIPT), Address((0, os.urandom(32))), 3),
        TopUpEscrow(9),
        SubmitEquivocation(1, 2, IDENTITY, SIGNED, SIGNED),  # more than one reference
        SetOffer(1, 2, {}),  # a dictionary: the long way
    ],
    ids=lambda value: type(value).__name__,
)
def test_struct_hash_and_bag_equal_the_cells(value: Struct) -> None:
    assert struct_hash(value) == value.to_cell().hash
    assert struct_boc(value) == to_boc(value.to_cell())


@pytest.mark.parametrize("value", [replace(RECEIPT, seq=1 << 32), replace(RECEIPT, fee_nano=-1), TopUpEscrow(1 << 64)])
def test_struct_hash_of_what_does_not_fit_is_refused(value: Struct) -> None:
    with pytest.raises(WireError):
        struct_hash(value)
    with pytest.raises(WireError):
        struct_boc(value)


@pytest.mark.parametrize("size", [0, 1, 122, 123, 124, 127, 500, 634, 635, 636, 1648, 20_000])
def test_blob_hash_equals_the_cells(size: int) -> None:
    data = os.urandom(size)
    assert blob_hash(data) == bytes_to_cell(data).hash
