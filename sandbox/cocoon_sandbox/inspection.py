"""Transactions and accounts as JSON: addresses as `workchain:hex`, amounts in nanoTON, cells as base64."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from pytoniq_core import Address, Cell
from pytoniq_core.boc.address import ExternalAddress

from cocoon_sandbox.account import AccountView
from cocoon_sandbox.boc import to_boc
from cocoon_sandbox.errors import BadCell, SandboxError
from cocoon_sandbox.message import Message
from cocoon_sandbox.transaction import Transaction

__all__ = ["account_json", "message_json", "parse_address", "parse_hash", "transaction_json"]


def parse_address(text: str) -> Address:
    """An address in any of its forms. SandboxError if it is none, or of a workchain that isn't there."""
    try:
        address = Address(text)
        if len(address.hash_part) != 32:
            raise ValueError("an account id has 32 bytes")
    except Exception as error:
        raise SandboxError(f"{text!r} is no address: give it as workchain:hex or as a wallet shows it") from error
    if address.wc not in (-1, 0):
        raise SandboxError(f"workchain {address.wc} does not exist here: use 0 (or -1, the masterchain)")
    return address


def parse_hash(text: str) -> bytes:
    """32 bytes in hex, base64 or URL-safe base64."""
    try:
        digest = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        try:
            digest = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            digest = b""
    if len(digest) != 32:
        raise SandboxError(f"{text!r} is no hash: give its 32 bytes as 64 hex digits or as base64")
    return digest


def message_json(message: Message) -> dict[str, Any]:
    """A message; `body` and `state_init` are bags of cells."""
    result: dict[str, Any] = {
        "hash": message.hash.hex(),
        "kind": message.kind,
        "source": _address(message.src),
        "destination": _address(message.dst),
        "opcode": None if message.opcode is None else f"{message.opcode:#010x}",
        "body": _boc(message.body),
        "state_init": None if message.state_init is None else _boc(message.state_init),
    }
    if message.kind == "internal":
        result |= {
            "value_nano": message.value,
            "forward_fee_nano": message.fwd_fee,
            "bounce": message.bounce,
            "bounced": message.bounced,
        }
    if message.kind != "external-in":
        result |= {"created_lt": message.created_lt, "created_at": message.created_at}
    return result


def transaction_json(transaction: Transaction, block_seqno: int) -> dict[str, Any]:
    """A transaction that is in block `block_seqno` of its workchain."""
    result: dict[str, Any] = {
        "hash": transaction.hash.hex(),
        "account": _address(transaction.account),
        "lt": transaction.lt,
        "time": transaction.now,
        "block": block_seqno,
        "fees_nano": transaction.total_fees,
        "status_before": transaction.status_before,
        "status_after": transaction.status_after,
        "previous": None if not transaction.prev_lt else transaction.prev_hash.hex(),
        "in_message": None if transaction.in_msg is None else message_json(transaction.in_msg),
        "out_messages": [message_json(message) for message in transaction.out_msgs],
    }
    try:
        phases = transaction.phases
    except BadCell:
        return result  # a kind without phases (tick-tock)
    result |= {"success": transaction.success, "aborted": phases.aborted, "destroyed": phases.destroyed}
    result["bounce"] = phases.bounce
    result["storage_fees_nano"] = transaction.storage_fees
    compute, action = phases.compute, phases.action
    if compute.skipped is not None:
        result["compute"] = {"skipped": compute.skipped}
    else:
        result["compute"] = {
            "exit_code": compute.exit_code,
            "gas_used": compute.gas_used,
            "gas_limit": compute.gas_limit,
            "gas_fees_nano": compute.gas_fees,
            "steps": compute.vm_steps,
        }
    if action is not None:
        result["action"] = {
            "success": action.success,
            "result_code": action.result_code,
            "failed_action": action.result_arg,
            "actions": action.total_actions,
            "messages": action.messages_created,
            "forward_fees_nano": action.forward_fees,
        }
    return result


def account_json(account: AccountView) -> dict[str, Any]:
    """An account; `code` and `data` are bags of cells."""
    code, data = account.code, account.data
    return {
        "address": _address(account.address),
        "friendly": account.address.to_str(is_bounceable=account.status == "active"),
        "status": account.status,
        "balance_nano": account.balance,
        "last_transaction": account.last_hash.hex() if account.last_lt else None,
        "last_lt": account.last_lt,
        "storage": {
            "cells": account.storage_used.cells,
            "bits": account.storage_used.bits,
            "paid_until": account.last_paid,
            "due_nano": account.due_payment,
        },
        "code_hash": None if code is None else code.hash.hex(),
        "code": None if code is None else _boc(code),
        "data": None if data is None else _boc(data),
    }


def _address(address: Address | ExternalAddress | None) -> str | None:
    if address is None:
        return None
    if isinstance(address, ExternalAddress):
        return f"external:{address.external_address or 0:x}"
    text: str = address.to_str(is_user_friendly=False)
    return text


def _boc(cell: Cell) -> str:
    return base64.b64encode(to_boc(cell)).decode()
