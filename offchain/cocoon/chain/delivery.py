"""Bringing a signed wallet message to execution, once, and finding out what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pytoniq_core import Address, Cell

from ..errors import ChainUnavailable, MessageRefused, WalletError
from .base import AccountState, Chain, ChainTransaction
from .cells import Reader, Unreadable

__all__ = ["WalletOrder", "deliver", "patiently", "wallet_seqno"]

_PATIENCE_SEC = 120.0
_RETRY_SEC = 0.2


@dataclass(frozen=True, slots=True)
class WalletOrder:
    """What can be read off a signed v4 wallet message."""

    wallet: Address
    seqno: int
    valid_until: int
    transfers: int
    body_hash: bytes

    @classmethod
    def of(cls, message: Cell) -> WalletOrder:
        """WalletError if `message` is no external message with its body in a reference."""
        try:
            outer = Reader(message)
            outer.expect(0b10, 2, "external message")
            outer.address()
            wallet = outer.address()
            if wallet is None or not message.refs:
                raise Unreadable("it names no wallet")
            body = Reader(message.refs[-1])
            body.skip(512 + 32)
            valid_until, seqno = body.uint(32), body.uint(32)
            return cls(wallet, seqno, valid_until, body.refs_left, message.refs[-1].hash)
        except Unreadable as error:
            raise WalletError(f"this is no signed wallet message: {error}") from error


def wallet_seqno(account: AccountState) -> int:
    """Seqno of the next message of a v3 or v4 wallet; 0 if it is not deployed."""
    return 0 if account.data is None else int(account.data.begin_parse().load_uint(32))


async def deliver(chain: Chain, message: Cell) -> ChainTransaction:
    """Send a signed wallet message and wait until the chain shows the wallet's transaction.

    WalletError if it can't be executed (wrong seqno, refused), expired (it can never be executed any more), failed,
    or sent fewer messages than it says. A network that goes away is waited for and the message sent again: its seqno
    makes sure that it is executed once. ChainUnavailable after two minutes without a network, the outcome unknown.
    """
    order = WalletOrder.of(message)
    account = await patiently(lambda: chain.account(order.wallet))
    if (current := wallet_seqno(account)) != order.seqno:
        raise WalletError(f"the message is signed for seqno {order.seqno}, the wallet is at {current}; sign it again")
    if await patiently(chain.time) > order.valid_until:
        raise WalletError(f"the message expired at {order.valid_until}; sign it again")
    await _until_executed(chain, message, order)
    for transaction in await patiently(lambda: chain.transactions(order.wallet, after_lt=account.last_lt)):
        incoming = transaction.in_msg
        if incoming is not None and incoming.kind == "external-in" and incoming.body.hash == order.body_hash:
            return _checked(transaction, order)
    raise WalletError(f"another message of this wallet took seqno {order.seqno}; read what it did before sending again")


async def patiently[T](ask: Callable[[], Awaitable[T]]) -> T:
    """`ask()`, again while no lite server answers. ChainUnavailable after two minutes."""
    started = time.monotonic()
    while True:
        try:
            return await ask()
        except ChainUnavailable:
            if time.monotonic() - started > _PATIENCE_SEC:
                raise
            await asyncio.sleep(_RETRY_SEC)


async def _until_executed(chain: Chain, message: Cell, order: WalletOrder) -> None:
    sent = False
    last_heard = time.monotonic()
    while True:
        try:
            if not sent:
                await _hand_over(chain, message, order)
                sent = True
            if wallet_seqno(await chain.account(order.wallet)) > order.seqno:
                return
            if await chain.time() > order.valid_until:
                raise WalletError(
                    f"the message with seqno {order.seqno} expired at {order.valid_until} without being executed; "
                    f"send it again"
                )
            await chain.next_block()
            last_heard = time.monotonic()
        except ChainUnavailable:
            sent = False
            if time.monotonic() - last_heard > _PATIENCE_SEC:
                raise
            await asyncio.sleep(_RETRY_SEC)


async def _hand_over(chain: Chain, message: Cell, order: WalletOrder) -> None:
    try:
        await chain.send(message)
    except MessageRefused as error:
        if wallet_seqno(await chain.account(order.wallet)) > order.seqno:
            return  # an earlier try did arrive
        raise WalletError(f"the wallet refused its own message: {error}") from error


def _checked(transaction: ChainTransaction, order: WalletOrder) -> ChainTransaction:
    if transaction.exit_code or transaction.aborted:
        raise WalletError(f"the wallet's own transaction failed with exit code {transaction.exit_code}")
    if len(transaction.out_msgs) < order.transfers:
        raise WalletError(
            f"the wallet sent {len(transaction.out_msgs)} of {order.transfers} messages: too little money for the "
            f"rest; send it more and try again"
        )
    return transaction
