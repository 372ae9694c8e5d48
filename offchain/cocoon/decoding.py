"""Cells in words: messages by their opcode, contract data by the hash of its code, as `cocoon.wire` lays them out.

What is not Cocoon's stays as it is: a cell, in base64. A body or data that has a known opcode or code but does not
decode is named as malformed, with the reason.
"""

from __future__ import annotations

import base64
from dataclasses import fields
from functools import cache
from typing import Any

from pytoniq.contract.wallets.wallet import WALLET_V3_R1_CODE, WALLET_V3_R2_CODE, WALLET_V4_R2_CODE
from pytoniq_core import Address, Cell

from cocoon_sandbox.boc import parse_boc, to_boc

from .contracts_build import ENTRYPOINTS, load
from .errors import WireError
from .wire import common, escrow, registry, slashing, worker
from .wire.codec import Struct

__all__ = ["decode_body", "decode_data", "with_decoded_data", "with_decoded_messages"]

_MODULES = (common, registry, worker, escrow, slashing)
_STORAGE: dict[str, type[Struct]] = {
    "Registry": registry.RegistryStorage,
    "Worker": worker.WorkerStorage,
    "Escrow": escrow.EscrowStorage,
    "Slashing": slashing.SlashingData,
}
_WALLETS = {"wallet v3r1": WALLET_V3_R1_CODE, "wallet v3r2": WALLET_V3_R2_CODE, "wallet v4r2": WALLET_V4_R2_CODE}
_OPCODE_BITS = 32
_BOUNCED = 0xFFFFFFFF
_HEX_FROM = 1 << 64


def with_decoded_messages(transaction: dict[str, Any]) -> dict[str, Any]:
    """A transaction as the sandbox shows it, plus what its messages say."""
    for message in (transaction.get("in_message"), *transaction.get("out_messages", ())):
        if message is not None:
            decoded = decode_body(parse_boc(base64.b64decode(message["body"])))
            if decoded is not None:
                message["decoded"] = decoded
    return transaction


def with_decoded_data(account: dict[str, Any]) -> dict[str, Any]:
    """An account as the sandbox shows it, plus what contract it is and what its data says."""
    if account.get("code_hash") and account.get("data"):
        decoded = decode_data(bytes.fromhex(account["code_hash"]), parse_boc(base64.b64decode(account["data"])))
        if decoded is not None:
            account["decoded"] = decoded
    return account


def decode_body(body: Cell) -> dict[str, Any] | None:
    """What a message body says; None if its opcode is not known."""
    if len(body.bits) < _OPCODE_BITS:
        return None
    source = body.begin_parse()
    opcode = source.load_uint(_OPCODE_BITS)
    if opcode == 0:
        try:
            return {"comment": source.load_snake_string()}
        except Exception:  # noqa: BLE001 - the library's errors are of any type, and bytes that are no text are common
            return None
    if opcode == _BOUNCED and source.remaining_bits >= _OPCODE_BITS:
        known = _messages().get(source.load_uint(_OPCODE_BITS))
        return None if known is None else {"bounced": known.__name__}
    known = _messages().get(opcode)
    return None if known is None else _decode(known.__name__, known, body)


def decode_data(code_hash: bytes, data: Cell) -> dict[str, Any] | None:
    """What a contract's data says; None if its code is not known."""
    name = _contracts().get(code_hash)
    if name is None:
        return None
    storage = _STORAGE.get(name)
    return {"contract": name} if storage is None else _decode(name, storage, data)


def _decode(name: str, struct: type[Struct], cell: Cell) -> dict[str, Any]:
    try:
        return {name: _plain(struct.from_cell(cell))}
    except WireError as error:
        return {name: {"malformed": str(error)}}


@cache
def _messages() -> dict[int, type[Struct]]:
    """Every message Cocoon's contracts take or send, by opcode."""
    found: dict[int, type[Struct]] = {}
    for module in _MODULES:
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, Struct) and value.PREFIX[1] == _OPCODE_BITS:
                found[value.PREFIX[0]] = value
    return found


@cache
def _contracts() -> dict[bytes, str]:
    """Code hash -> name, of Cocoon's contracts as built here and of common wallets."""
    known = {load(name).hash: name for name in ENTRYPOINTS}
    return known | {code.hash: name for name, code in _WALLETS.items()}


def _plain(value: Any) -> Any:
    """A wire value as JSON: structs as objects, addresses raw, hashes, keys and bytes in hex, cells in base64."""
    if isinstance(value, Struct):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}  # type: ignore[arg-type]
    if isinstance(value, Address):
        return value.to_str(is_user_friendly=False)
    if isinstance(value, Cell):
        return base64.b64encode(to_boc(value)).decode()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, int) and value >= _HEX_FROM:
        return f"{value:#066x}"  # a hash or a key; other readers of JSON could not take the number anyway
    return value
