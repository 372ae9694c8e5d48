"""From a transaction to everything it caused: what an operation really cost, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..errors import ChainError
from .base import Chain, ChainMessage, ChainTransaction
from .delivery import patiently

__all__ = ["find_caused", "received", "trace"]


async def trace(
    chain: Chain, transaction: ChainTransaction, *, timeout_sec: float = 60.0, limit: int = 64
) -> list[ChainTransaction]:
    """`transaction` and all that its messages caused, in order of logical time.

    Waits until every message has arrived. ChainError after `timeout_sec` or beyond `limit` transactions.
    """
    found = [transaction]
    pending = [message for message in transaction.out_msgs if message.kind == "internal"]
    try:
        async with asyncio.timeout(timeout_sec):
            while pending:
                caused = await find_caused(chain, pending.pop(0))
                found.append(caused)
                if len(found) > limit:
                    raise ChainError(f"transaction {transaction.hash.hex()} caused more than {limit} others")
                pending += [message for message in caused.out_msgs if message.kind == "internal"]
    except TimeoutError as error:
        raise ChainError(
            f"{len(pending) + 1} messages caused by transaction {transaction.hash.hex()} have not arrived within "
            f"{timeout_sec:g} s; look again later"
        ) from error
    return sorted(found, key=lambda item: item.lt)


async def find_caused(chain: Chain, message: ChainMessage) -> ChainTransaction:
    """The transaction that received internal `message`; waits until it is there, for a lost network two minutes."""
    if message.dst is None:
        raise ChainError("an outbound external message is received by nobody")
    while True:
        if (found := received(await patiently(lambda: _since(chain, message)), message)) is not None:
            return found
        await patiently(chain.next_block)


async def _since(chain: Chain, message: ChainMessage) -> list[ChainTransaction]:
    """Every transaction of the receiver after the message was made."""
    assert message.dst is not None
    after, found = message.created_lt, []
    while page := await chain.transactions(message.dst, after_lt=after):
        found += page
        after = page[-1].lt
    return found


def received(transactions: Sequence[ChainTransaction], message: ChainMessage) -> ChainTransaction | None:
    """The one of `transactions` that `message` started."""
    for transaction in transactions:
        if transaction.in_msg is not None and transaction.in_msg.hash == message.hash:
            return transaction
    return None
