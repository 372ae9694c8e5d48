"""What travels over the signer's socket: frames of a 4-byte length and one JSON object; bytes as base64, cells as BoC.

Call: `{"op": name, ...}`. Answer: `{"ok": {...}}` or `{"error": {"type": name, "message": text, ...}}`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
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
from .table import Signed, Slot

__all__ = [
    "MAX_FRAME_BYTES", "pack_binding", "pack_bytes", "pack_signed", "pack_slot", "pack_stream_receipt", "pack_struct",
    "read_frame", "unpack_binding", "unpack_bytes", "unpack_signed", "unpack_slot", "unpack_stream_receipt",
    "unpack_struct", "write_frame",
]  # fmt: skip

MAX_FRAME_BYTES = 1 << 20
type Fields = dict[str, Any]


async def read_frame(reader: asyncio.StreamReader) -> Fields | None:
    """The next object, None at the end of the stream. SignerRefused for a frame that is none."""
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        if length > MAX_FRAME_BYTES:
            raise SignerRefused(f"a frame of {length} bytes is too long")
        data = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SignerRefused(f"a frame is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SignerRefused("a frame is not an object")
    return value


async def write_frame(writer: asyncio.StreamWriter, value: Fields) -> None:
    data = json.dumps(value, separators=(",", ":")).encode()
    if len(data) > MAX_FRAME_BYTES:
        raise SignerRefused(f"a frame of {len(data)} bytes is too long")
    writer.write(len(data).to_bytes(4, "big") + data)
    await writer.drain()


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
