"""The sandbox under measurement, in a process of its own so that the measuring client does not share its interpreter.

Run as `python -m cocoon.bench.subject ACCOUNTS TRANSACTIONS NOW`. It prints one line of JSON with where it is once it
serves; each line on its standard input has it run a quarter of the transfers and print what that took; at end of file
it ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from pytoniq_core import Address

from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.network import Network

from .transfers import FUNDS_NANO, Transfers, make_quarters

__all__ = ["funded_ledger", "resident_bytes"]


def funded_ledger(accounts: int, transfers: Transfers | None = None) -> Ledger:
    """A ledger with so many accounts, and the wallets of `transfers` among them."""
    ledger = Ledger(now=int(time.time()))
    for address in () if transfers is None else transfers.wallets:
        ledger.credit(address, FUNDS_NANO)
    for number in range(accounts - len(ledger.accounts)):
        ledger.credit(Address((0, number.to_bytes(4, "big") * 8)), FUNDS_NANO)
    return ledger


def resident_bytes(pid: int | str = "self") -> int:
    """Memory of a process that is really there; 0 where the system doesn't tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0][1]) * 1024 if lines else 0


async def _serve(accounts: int, transactions: int, now: int) -> None:
    quarters = make_quarters(transactions, now)
    wallets = tuple(address for quarter in quarters for address in quarter.wallets)
    network = Network(funded_ledger(accounts, Transfers(wallets, (), ())))
    async with network:
        wallet = wallets[0].to_str(is_user_friendly=False)
        _say(config=network.global_config(), wallet=wallet, accounts=len(network.ledger.accounts))
        waiting = iter(quarters)
        while await asyncio.to_thread(sys.stdin.readline):
            _say(**await _timed(network, next(waiting)))


async def _timed(network: Network, transfers: Transfers) -> dict[str, Any]:
    blocks = network.collator.seqno
    begun = time.perf_counter()
    await transfers.submit(network.submit)
    await network.settle()
    return {
        "transactions": transfers.transactions,
        "seconds": time.perf_counter() - begun,
        "blocks": network.collator.seqno - blocks,
        "rss_bytes": resident_bytes(),
        "executor_rss_bytes": resident_bytes(network.executor.child_pid or 0),
    }


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(*map(int, sys.argv[1:])))
