"""Money that moved lately between the accounts this gateway looks at: registry, workers, its channels, its wallet."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import Chain, ChainMessage, ChainTransaction
from ..decoding import decode_body
from ..errors import ChainError

__all__ = ["Flow", "FlowWatcher"]

log = logging.getLogger(__name__)
_REMEMBERED = 200
_FIRST_LT_WINDOW = 400_000_000  # some minutes of blocks
_LEAST_NANO = 1


@dataclass(frozen=True, slots=True)
class Flow:
    """One message with value. what: its name or comment, as whoever sent it wrote it. transaction: the receiver's or,
    for a message to an account not watched, the sender's. failed: it came back.
    """

    lt: int
    time: int
    transaction: str
    source: Address | None
    destination: Address | None
    nano: int
    what: str
    failed: bool


class FlowWatcher:
    """accounts: what is watched now, asked again each time; address -> any name."""

    def __init__(self, chain: Chain, accounts: Callable[[], Mapping[Address, str]], *, poll_sec: float) -> None:
        self._chain, self._accounts, self._poll_sec = chain, accounts, poll_sec
        self._cursors: dict[Address, int] = {}
        self._seen: deque[bytes] = deque(maxlen=4 * _REMEMBERED)
        self.flows: deque[Flow] = deque(maxlen=_REMEMBERED)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.refresh()
            except ChainError as error:
                log.warning("the last transactions can't be read: %s", error)
            await asyncio.sleep(self._poll_sec)

    async def refresh(self) -> None:
        found: list[Flow] = []
        for address in self._accounts():
            for transaction in await self._new(address):
                messages = [] if transaction.in_msg is None else [transaction.in_msg]
                found += [
                    flow for message in (*messages, *transaction.out_msgs) if (flow := self._flow(transaction, message))
                ]
        self.flows.extend(sorted(found, key=lambda flow: flow.lt))

    async def _new(self, address: Address) -> list[ChainTransaction]:
        last = (await self._chain.account(address)).last_lt
        after = self._cursors.get(address, max(0, last - _FIRST_LT_WINDOW))
        if last <= after:
            return []
        found = await self._chain.transactions(address, after_lt=after)
        if found:
            self._cursors[address] = found[-1].lt
        return found

    def _flow(self, transaction: ChainTransaction, message: ChainMessage) -> Flow | None:
        if message.kind != "internal" or message.value < _LEAST_NANO or message.hash in self._seen or message.bounced:
            return None
        self._seen.append(message.hash)
        return Flow(
            lt=message.created_lt,
            time=transaction.now,
            transaction=transaction.hash.hex(),
            source=message.src,
            destination=message.dst,
            nano=message.value,
            what=_what(message),
            failed=message is transaction.in_msg and any(out.bounced for out in transaction.out_msgs),
        )


def _what(message: ChainMessage) -> str:
    said = decode_body(message.body)
    if not said:
        return "payment" if not message.body.bits else "message"
    name, value = next(iter(said.items()))
    if name == "Payment" and isinstance(value, dict):
        return str(value.get("reason", name))
    return str(value) if name == "comment" else f"{name} of {value}" if name == "bounced" else name
