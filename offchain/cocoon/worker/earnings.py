"""What has arrived at the payout address, from proven transactions; remembered, so that each is read once.

A comment can be forged by anybody: only payments of escrows that this worker's own books know count as its earnings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pytoniq_core import Address

from ..chain.base import Chain
from ..wire.codec import read_body
from ..wire.common import Payment, PaymentReason
from .directory import write_secret

__all__ = ["Earnings", "read_earnings"]

_PAGE = 256


@dataclass(frozen=True, slots=True)
class Earnings:
    """nanoTON by the escrow that paid it, up to logical time `lt` of the payout address."""

    lt: int
    by_escrow: dict[str, int]

    def received(self, escrows: tuple[str, ...]) -> int:
        """From these."""
        return sum(self.by_escrow.get(escrow, 0) for escrow in escrows)

    def others(self, escrows: tuple[str, ...]) -> int:
        """Said to be earnings, from elsewhere: another worker with this payout address, or somebody's joke."""
        return sum(self.by_escrow.values()) - self.received(escrows)


async def read_earnings(chain: Chain, payout: Address, memory: Path) -> Earnings:
    """Up to now. memory: what was read before; it may be removed at any time."""
    found = _recall(memory, payout)
    total = dict(found.by_escrow)
    lt = found.lt
    while page := await chain.transactions(payout, after_lt=lt, limit=_PAGE):
        for transaction in page:
            message = transaction.in_msg
            if message is None or message.kind != "internal" or message.bounced or message.src is None:
                continue
            said = read_body(message.body, Payment)
            if said is not None and said.reason == PaymentReason.EARNINGS:
                name = message.src.to_str(is_user_friendly=False)
                total[name] = total.get(name, 0) + message.value
        lt = page[-1].lt
    if lt != found.lt and memory.parent.is_dir():
        document = {"payout": payout.to_str(is_user_friendly=False), "lt": lt, "by_escrow": total}
        write_secret(memory, json.dumps(document))
    return Earnings(lt, total)


def _recall(memory: Path, payout: Address) -> Earnings:
    try:
        found = json.loads(memory.read_text())
        if found["payout"] == payout.to_str(is_user_friendly=False):
            return Earnings(int(found["lt"]), {str(name): int(nano) for name, nano in found["by_escrow"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Earnings(0, {})  # it is only a memory: everything is read once more
    return Earnings(0, {})
