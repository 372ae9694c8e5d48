"""What the owner sends: in one message of a wallet whose key is here, or as instructions for one elsewhere."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pytoniq_core import Address

from ..chain.wallet import Transfer, format_ton
from ..wire.common import WorkerRoles
from ..wire.registry import RegisterWorker
from .choices import Choices

__all__ = ["Instruction", "instructions", "registration"]


def registration(choices: Choices, operator: Address, measurement: int, query_id: int, fee_nano: int) -> Transfer:
    """RegisterWorker; what is not used of the fee comes back."""
    roles = WorkerRoles(operator, choices.payout, measurement)
    body = RegisterWorker(query_id, choices.stake_nano, choices.bond_nano, roles)
    return Transfer(choices.registry, choices.stake_nano + choices.bond_nano + fee_nano, body.to_cell())


@dataclass(frozen=True, slots=True)
class Instruction:
    """One transfer for a wallet that this machine knows nothing of. payload: BoC in base64, None for a plain one."""

    what: str
    address: str
    amount_nano: int
    payload: str | None
    link: str

    def to_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "address": self.address,
            "amount_nano": self.amount_nano,
            "payload": self.payload,
            "link": self.link,
        }

    def lines(self) -> list[str]:
        found = [f"{self.what}:", f"  to      {self.address}", f"  amount  {format_ton(self.amount_nano)}"]
        if self.payload is not None:
            found.append(f"  payload {self.payload}")
        return [*found, f"  link    {self.link}"]


def instructions(register: Transfer, operator: Address, operator_nano: int, *, test_only: bool) -> list[Instruction]:
    """The registration and, if the operator's wallet lacks anything, its first money."""
    found = [_instruction("register the worker (send it once)", register, test_only)]
    if operator_nano > 0:
        money = Transfer(operator, operator_nano, bounce=False)
        found.append(_instruction("fund the operator's wallet", money, test_only))
    return found


def _instruction(what: str, transfer: Transfer, test_only: bool) -> Instruction:
    address = transfer.to.to_str(is_bounceable=transfer.bounce, is_test_only=test_only)
    query = {"amount": str(transfer.value)}
    payload = None
    if transfer.body is not None:
        data = transfer.body.to_boc()
        payload = base64.b64encode(data).decode()
        query["bin"] = base64.urlsafe_b64encode(data).decode()
    return Instruction(what, address, transfer.value, payload, f"ton://transfer/{address}?{urlencode(query)}")
