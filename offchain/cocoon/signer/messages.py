"""What travels over the signer's socket: frames of a 4-byte length and one JSON object; bytes as base64, cells as BoC.

Call: `{"op": name, ...}`. Answer: `{"ok": {...}}` or `{"error": {"type": name, "message": text, ...}}`.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import Any

from pytoniq_core import Address, Cell

from ..crypto.request import RequestBinding
from ..crypto.statements import Channel
from ..errors import CocoonError, WireError
from ..stream.receipts import pack_receipt, unpack_receipt
from ..wire.codec import Struct
from ..wire.common import Kind
from ..wire.escrow import Receipt, RejectionStatement
from .errors import SignerRefused, SignerUnavailable
from .line import Fields
from .table import Signed, Slot

__all__ = [
    "pack_binding", "pack_bytes", "pack_signed", "pack_slot", "pack_stream_receipt", "pack_struct",
    "unpack_binding", "unpack_bytes", "unpack_signed", "unpack_slot", "unpack_stream_receipt",
    "unpack_struct",
]  # fmt: skip


def pack_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unpack_bytes(fields: Fields, name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, str):
        raise SignerRefused(f"{name} is missing")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise SignerRefused(f"{name} is not base64") from error


def pack_struct(value: Struct) -> str:
    return pack_bytes(value.to_cell().to_boc())


def unpack_struct[T: Struct](fields: Fields, name: str, struct: type[T]) -> T:
    data = unpack_bytes(fields, name)
    try:
        return struct.from_cell(Cell.one_from_boc(data))
    except WireError as error:
        raise SignerRefused(f"{name} is not a {struct.__name__}: {error}") from error
    except Exception as error:
        raise SignerRefused(f"{name} is not a bag of cells: {error}") from error


@lru_cache(maxsize=1024)
def pack_binding(binding: RequestBinding) -> str:
    """Remembered: all requests of a channel have the same."""
    return pack_struct(binding)


@lru_cache(maxsize=1024)
def unpack_binding(packed: str) -> RequestBinding:
    return unpack_struct({"binding": packed}, "binding", RequestBinding)


def pack_stream_receipt(receipt: Receipt) -> Fields:
    """As it lies on the wire between client and worker: no cells are built for it."""
    domain = receipt.domain
    escrow = f"{domain.contract.wc}:{domain.contract.hash_part.hex()}"
    channel = [domain.global_id, escrow, domain.epoch, domain.key_epoch]
    return {"channel": channel, "receipt": pack_bytes(pack_receipt(receipt))}


def unpack_stream_receipt(fields: Fields) -> Receipt:
    match fields.get("channel"):
        case [int(global_id), str(escrow), int(epoch), int(key_epoch)]:
            try:
                channel = Channel(global_id, Address(escrow), epoch, key_epoch)
                return unpack_receipt(unpack_bytes(fields, "receipt"), channel)
            except CocoonError as error:
                raise SignerRefused(f"this is not a stream's receipt: {error}") from error
            except Exception as error:
                raise SignerRefused(f"this is not a channel: {error}") from error
    raise SignerRefused("this is not a channel")


def pack_slot(slot: Slot) -> list[Any]:
    return [int(slot.space), slot.escrow, slot.epoch, slot.key_epoch, slot.seq]


def unpack_slot(value: Any) -> Slot:
    match value:
        case [int(space), str(escrow), int(epoch), int(key_epoch), int(seq)] if space in set(Kind):
            return Slot(Kind(space), escrow, epoch, key_epoch, seq)
    raise SignerRefused("this is not a slot")


def pack_signed(signed: Signed | None) -> Fields | None:
    if signed is None:
        return None
    return {
        "slot": pack_slot(signed.slot),
        "is_receipt": isinstance(signed.statement, Receipt),
        "statement": pack_struct(signed.statement),
        "signature": pack_bytes(signed.signature),
        "response": None if signed.response is None else pack_bytes(signed.response),
    }


def unpack_signed(value: Any) -> Signed | None:
    """SignerUnavailable if the other side is not a signer of this version."""
    if value is None:
        return None
    try:
        statement: Receipt | RejectionStatement
        if value["is_receipt"]:
            statement = unpack_struct(value, "statement", Receipt)
        else:
            statement = unpack_struct(value, "statement", RejectionStatement)
        response = None if value["response"] is None else unpack_bytes(value, "response")
        return Signed(unpack_slot(value["slot"]), statement, unpack_bytes(value, "signature"), response)
    except (KeyError, TypeError, SignerRefused) as error:
        raise SignerUnavailable(f"the signer's answer can't be read: {error}; restart the signer") from error
