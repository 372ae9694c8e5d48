"""A channel as the pool holds it, the connection over it, and the limits that its owner sets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..client.channel import Channel, Done
from ..client.stream import Delta, Finished
from ..client.streamed import StreamLied
from ..stream.asked import Asked
from ..wire.escrow import Binding

__all__ = ["Connect", "Fast", "Held", "Lease", "PoolLimits"]

TON = 10**9


class Fast(Protocol):
    """What the pool needs of a `FastChannel`."""

    @property
    def available_nano(self) -> int:
        """Deposit that neither vouchers nor requests under way may take."""
        ...

    @property
    def alive(self) -> bool: ...

    @property
    def lied(self) -> StreamLied | None:
        """What a connection that is not alive was given up for."""
        ...

    def stream(self, body: Asked, *, max_fee: int) -> AsyncIterator[Delta | Finished]: ...

    def deposited(self, deposit_nano: int) -> None:
        """The chain shows a greater deposit."""
        ...

    async def end_channel(self) -> Done:
        """End the channel on the chain at once, the worker agreeing."""
        ...

    async def close(self) -> None: ...


Connect = Callable[[Channel, str], Awaitable[Fast]]


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The owner's. deposit_nano: of a new channel. low_water_nano: topped up below this, by top_up_nano.
    most_locked_nano: in all channels together. idle_sec: unused for so long, a channel is closed; margin_sec: so long
    before its end as well.
    """

    deposit_nano: int = TON // 2
    low_water_nano: int = TON // 10
    top_up_nano: int = TON // 2
    most_locked_nano: int = 5 * TON
    most_channels: int = 8
    term_sec: int = 7 * 86400
    idle_sec: int = 86400
    margin_sec: int = 3600
    maintain_sec: float = 15.0


@dataclass(slots=True)
class Held:
    """A channel of the pool. reserved_nano: for requests that are about to be sent; once sent, the connection itself
    counts them.
    """

    channel: Channel
    worker_index: int
    binding: Binding
    deposit_nano: int
    claimed_nano: int = 0
    epoch: int = 0
    closing_until: int | None = None
    fast: Fast | None = None
    reserved_nano: int = 0
    streams: int = 0
    used_at: float = field(default_factory=time.monotonic)
    opened_by: str | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def model_id(self) -> int:
        return self.binding.model_id

    @property
    def available_nano(self) -> int:
        left = self.deposit_nano - self.claimed_nano if self.fast is None else self.fast.available_nano
        return left - self.reserved_nano

    @property
    def usable(self) -> bool:
        return self.closing_until is None


class Lease:
    """A channel for one request, its money set aside from the start. Call `sent` in the very step that sends it, and
    `end` once.
    """

    def __init__(self, held: Held, need_nano: int) -> None:
        self.held, self._reserved = held, need_nano
        held.reserved_nano += need_nano
        held.streams += 1

    def end(self) -> None:
        self.sent()
        self.held.streams -= 1
        self.held.used_at = time.monotonic()

    def sent(self) -> None:
        self.held.reserved_nano -= self._reserved
        self._reserved = 0
