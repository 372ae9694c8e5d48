"""Channels whose worker did not answer the handshake. One that answers after all is taken up; of the others the deposit
is taken back after their deadline, tried until the chain shows that they are gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from pytoniq_core import Address

from ..chain.wallet import format_ton
from ..client.channel import Channel
from ..errors import CocoonError
from ..wire.escrow import EscrowStorage

__all__ = ["Answered", "Unanswered"]

log = logging.getLogger(__name__)
_LONGEST_SEC = 600.0
_ON_THE_WAY_SEC = 300.0  # a wallet's message is valid for two minutes


@dataclass(frozen=True, slots=True)
class Answered:
    """A channel that is bound by now. worker_index: None if the worker is gone."""

    channel: Channel
    worker_index: int | None
    state: EscrowStorage


@dataclass(slots=True)
class _Waiting:
    """seen: whether it was ever on the chain. not_before, since: seconds of time.monotonic; pause_sec: what the next
    failure adds to it.
    """

    channel: Channel
    worker_index: int | None
    deposit_nano: int
    pause_sec: float
    seen: bool
    not_before: float = 0.0
    since: float = field(default_factory=time.monotonic)


class Unanswered:
    """retry_sec: after a first failure; twice as long after each further one, up to ten minutes."""

    def __init__(self, retry_sec: float) -> None:
        self._retry_sec = retry_sec
        self._waiting: dict[Address, _Waiting] = {}

    @property
    def locked_nano(self) -> int:
        """In deposits."""
        return sum(waiting.deposit_nano for waiting in self._waiting.values())

    def add(self, channel: Channel, worker_index: int | None, deposit_nano: int, *, seen: bool = True) -> None:
        """seen: False if it is not even known whether the message that opens it arrives."""
        log.warning("%r is not answered by its worker; its deposit is taken back after its deadline", channel)
        self._waiting[channel.address] = _Waiting(channel, worker_index, deposit_nano, self._retry_sec, seen)

    async def look(self) -> AsyncIterator[Answered]:
        """What was answered since, to be taken up at once; of the rest, deposits that can be taken back now are.
        Failures are for later.
        """
        for waiting in list(self._waiting.values()):
            if time.monotonic() < waiting.not_before:
                continue
            try:
                answered = await self._decided(waiting)
            except (CocoonError, OSError, TimeoutError) as error:
                log.warning("%r: %s; tried again in %g s", waiting.channel, error, waiting.pause_sec)
                waiting.not_before = time.monotonic() + waiting.pause_sec
                waiting.pause_sec = min(2 * waiting.pause_sec, _LONGEST_SEC)
                continue
            if answered is not None:
                yield answered

    async def _decided(self, waiting: _Waiting) -> Answered | None:
        channel = waiting.channel
        if not await channel.is_open():
            if waiting.seen or time.monotonic() > waiting.since + _ON_THE_WAY_SEC:
                # refused, which refunds; cancelled by what seemed to fail; or never sent
                channel.store.forget_channel(channel.address)
                del self._waiting[channel.address]
            return None
        waiting.seen = True
        state = await channel.state()
        if state.binding is not None:
            del self._waiting[channel.address]
            return Answered(channel, waiting.worker_index, state)
        if await channel.chain.time() >= state.deadline:
            done = await channel.cancel_open()
            del self._waiting[channel.address]
            log.info("cancelled %r; %s came back", channel, format_ton(done.received_nano))
        return None
