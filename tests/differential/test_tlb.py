"""The reader of the scheme is no rubber stamp: it refuses what is malformed, in a scheme and in a cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytoniq_core import begin_cell
from tlb import Named, Schema, SchemeError
from tlb_cells import CellMismatch, Codec, Record

CODEC = Codec(Schema.parse((Path(__file__).parents[2] / "contracts" / "scheme.tlb").read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "a$0 x:uint8 = A; b$01 = A;",  # tags not prefix-free
        "a$0 x:Missing = A;",
        "a x:uint8 = A;",  # a tag that would be computed
        "a#1 x:uint8 x:uint8 = A;",
        "a#1 = A; a#2 = B;",
        "a#1 x:(Maybe uint8 uint8) = A; nothing$0 {X:Type} = Maybe X;",
        "a#1 x:uint8 = A",
        "a#1 x:^ = A;",
    ],
)
def test_schema_parse_malformed_is_refused(text: str) -> None:
    with pytest.raises(SchemeError):
        Schema.parse(text)


def test_codec_decode_of_another_cell_is_refused() -> None:
    body = CODEC.encode(Named("EscrowMessage"), Record("expire_job", {"query_id": 7}))
    bits = body.bits.to01()
    for wrong in (bits[:-1], bits + "0", "1" + bits, bits[:31] + "0" + bits[32:]):
        with pytest.raises(CellMismatch):
            CODEC.decode(Named("EscrowMessage"), begin_cell().store_bits(wrong).end_cell())
    with pytest.raises(CellMismatch):
        CODEC.decode(Named("EscrowMessage"), begin_cell().store_cell(body).store_ref(body).end_cell())
    with pytest.raises(CellMismatch):
        CODEC.encode(Named("RejectReason"), 9)
