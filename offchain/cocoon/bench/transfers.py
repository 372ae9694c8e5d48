"""A workload that two executors can run alike: signed transfers from many wallets, as bags of cells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pytoniq_core import Address, Builder

from cocoon_sandbox.boc import to_boc
from cocoon_sandbox.message import build_external, build_internal
from cocoon_sandbox.treasury import Treasury

__all__ = ["FUNDS_NANO", "VALUE_NANO", "Transfers", "make_quarters", "make_transfers"]

FUNDS_NANO = 100_000_000_000
VALUE_NANO = 10_000_000
_VALID_SEC = 86_400
_SUBWALLET = 698_983_191


@dataclass(frozen=True, slots=True)
class Transfers:
    """`chains` holds each wallet's messages in their order; a transfer makes two transactions, sender's and receiver's.

    `wallets` need FUNDS_NANO each before the first message, which deploys them; each pays its own one of `receivers`.
    """

    wallets: tuple[Address, ...]
    receivers: tuple[Address, ...]
    chains: tuple[tuple[bytes, ...], ...]

    @property
    def in_turn(self) -> list[bytes]:
        """All messages, one of each wallet before the next of the first."""
        return [message for turn in zip(*self.chains, strict=True) for message in turn]

    @property
    def transactions(self) -> int:
        return 2 * sum(len(chain) for chain in self.chains)

    async def submit(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Have every wallet send its messages one after the other, all wallets at once."""

        async def one(chain: tuple[bytes, ...]) -> None:
            for message in chain:
                await send(message)

        async with asyncio.TaskGroup() as group:
            for chain in self.chains:
                group.create_task(one(chain))


def make_transfers(transactions: int, now: int, *, wallets: int = 250, first: int = 0) -> Transfers:
    """Transfers that make about as many transactions, valid for a day from `now`; each wallet has its own receiver.

    Wallets are numbered from `first`; few transactions need fewer of them.
    """
    wallets = min(wallets, max(1, transactions // 4))
    length = max(1, round(transactions / 2 / wallets))
    numbers = range(first, first + wallets)
    senders = {number: Treasury(f"bench {number}") for number in numbers}
    return Transfers(
        tuple(senders[number].address for number in numbers),
        tuple(_receiver(number) for number in numbers),
        tuple(tuple(_message(senders[number], number, seqno, now) for seqno in range(length)) for number in numbers),
    )


def make_quarters(transactions: int, now: int) -> list[Transfers]:
    """Transfers in four parts, each of wallets of its own."""
    return [make_transfers(transactions // 4, now, first=1_000 * number) for number in range(4)]


def _receiver(number: int) -> Address:
    return Address((0, b"\x77" * 28 + number.to_bytes(4, "big")))


def _message(sender: Treasury, number: int, seqno: int, now: int) -> bytes:
    # The network fills in the missing sender and the times of a message that a contract emits.
    outgoing = build_internal(src=None, dst=_receiver(number), value=VALUE_NANO, bounce=False)
    order = Builder().store_uint(_SUBWALLET, 32).store_uint(now + _VALID_SEC, 32).store_uint(seqno, 32)
    order.store_uint(0, 8).store_uint(1, 8).store_ref(outgoing)
    body = Builder().store_bytes(sender.key.sign(order.end_cell().hash)).store_cell(order.end_cell()).end_cell()
    return to_boc(build_external(dst=sender.address, body=body, state_init=sender.state_init if seqno == 0 else None))
