"""The gateway's channels: opened, topped up, rebound and closed by themselves, within the limits their owner sets.

One channel per worker and model. Money is locked in deposits only; what is not spent comes back when a channel is
closed, after the dispute window. `maintain` does what nobody waits for: topping up ahead,
closing, collecting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any

from pytoniq_core import Address

from ..chain.wallet import format_ton
from ..client.channel import Channel
from ..client.client import BindFailed, Client
from ..errors import CocoonError
from ..wire.common import ModelTerms
from ..wire.escrow import EscrowStatus, EscrowStorage
from .errors import PoolExhausted
from .facts import WorkerFacts
from .held import Connect, Fast, Held, Lease, PoolLimits
from .unanswered import Answered, Unanswered

__all__ = ["ChannelPool"]

log = logging.getLogger(__name__)
_CONNECT_SEC = 10.0
_FINISH_SEC = 30.0


class ChannelPool:
    """`channels` is for showing; everything else goes through `use`. accepted: measurements, whatever the registry
    lists.
    """

    def __init__(
        self, client: Client, connect: Connect, limits: PoolLimits, accepted: frozenset[int] = frozenset()
    ) -> None:
        self._client, self._connect, self.limits, self._accepted = client, connect, limits, accepted
        self.channels: list[Held] = []
        self._opening: dict[tuple[int, int], asyncio.Lock] = {}
        self._unanswered = Unanswered(limits.maintain_sec)
        self._coming_nano = 0
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[Lease]] = set()

    @property
    def registry(self) -> Address:
        return self._client.deployment.registry

    @property
    def locked_nano(self) -> int:
        """In deposits, those being opened or topped up included, and those that no worker answered."""
        held = sum(held.deposit_nano - held.claimed_nano for held in self.channels)
        return held + self._coming_nano + self._unanswered.locked_nano

    def terms(self, model_id: int) -> dict[int, ModelTerms]:
        """Worker index -> prices of the channel that is open with it."""
        return {
            held.worker_index: held.binding.terms for held in self.channels if held.usable and held.model_id == model_id
        }

    async def recover(self, workers: Mapping[str, int]) -> None:
        """Take up the channels of the client's store again. workers: address -> index."""
        for channel in await self._client.channels():
            index = workers.get(channel.stored.worker.to_str(is_user_friendly=False))
            state = await channel.state()
            if state.binding is None:
                self._unanswered.add(channel, index, state.deposit_nano)
                self._wake.set()
            else:
                self._take_up(Answered(channel, index, state))

    @contextlib.asynccontextmanager
    async def use(self, worker: WorkerFacts, model_id: int, *, need_nano: int) -> AsyncIterator[Lease]:
        """A connected channel to `worker` with `need_nano` set aside in it. PoolExhausted, or what opening raised."""
        # A request that is given up must not leave a channel half opened: the money would be nobody's.
        task = self._spawn(self._ready(worker, model_id, need_nano))
        try:
            lease = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_end_unused)
            raise
        try:
            yield lease
        finally:
            lease.end()
            if lease.held.available_nano < self.limits.low_water_nano:
                self._wake.set()

    async def maintain(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self.limits.maintain_sec)
            self._wake.clear()
            async for answered in self._unanswered.look():
                self._take_up(answered)
            for held in list(self.channels):
                try:
                    await self._care(held)
                except (CocoonError, OSError, TimeoutError) as error:
                    log.warning("%r: %s", held.channel, error)

    def _spawn(self, work: Coroutine[Any, Any, Lease]) -> asyncio.Task[Lease]:
        """Run to the end even if whoever wanted it has gone; `close` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waited has seen it
        return task

    async def close(self) -> None:
        """Disconnect. Channels stay open on the chain and are taken up again by the next start."""
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=_FINISH_SEC)
            for task in unfinished:
                task.cancel()
        for held in self.channels:
            if held.fast is not None:
                try:
                    await held.fast.close()
                except CocoonError as error:
                    log.warning("%r was not left in order: %s", held.channel, error)
                held.fast = None

    def retire(self, worker_index: int) -> None:
        """Close every channel to this worker, soon."""
        for held in self.channels:
            if held.worker_index == worker_index and held.usable:
                held.closing_until = 0
        self._wake.set()

    # ---- getting one ----

    async def _ready(self, worker: WorkerFacts, model_id: int, need_nano: int) -> Lease:
        async with self._opening.setdefault((worker.index, model_id), asyncio.Lock()):
            held = self._find(worker.index, model_id) or await self._open(worker, model_id, need_nano)
        async with held.lock:
            if not held.usable:  # closed while this waited
                raise PoolExhausted(f"the channel to worker {worker.index} is being closed")
            if held.binding.key_epoch < worker.key_epoch:
                if held.streams:  # what runs under the old keys may end; nothing new is sealed to them
                    raise PoolExhausted(f"the channel to worker {worker.index} still serves under its former keys")
                await self._rebind(held, worker)
            await self._connected(held, worker)
            if held.available_nano < need_nano:
                await self._top_up(held, max(self.limits.top_up_nano, need_nano - held.available_nano))
                await self._connected(held, worker)
            return Lease(held, need_nano)  # before the lock is free: the next one counts on what this one leaves

    def _find(self, worker_index: int, model_id: int) -> Held | None:
        for held in self.channels:
            if held.usable and (held.worker_index, held.model_id) == (worker_index, model_id):
                return held
        return None

    async def _open(self, worker: WorkerFacts, model_id: int, need_nano: int) -> Held:
        deposit = max(self.limits.deposit_nano, need_nano)
        if sum(held.usable for held in self.channels) >= self.limits.most_channels:
            self._close_one_idle()
            raise PoolExhausted(f"all {self.limits.most_channels} channels that the owner allows are open")
        self._check_room(deposit)
        self._coming_nano += deposit
        try:
            channel = await self._client.open(
                worker.index,
                deposit=deposit,
                model_id=model_id,
                term=self.limits.term_sec,
                max_prices=worker.models[model_id],  # the very offer it was chosen for
                accepted_measurement=worker.measurement if worker.measurement in self._accepted else None,
            )
        except BindFailed as error:
            if error.unanswered is not None:
                self._unanswered.add(error.unanswered, worker.index, deposit, seen=False)
                self._wake.set()
            raise
        finally:
            self._coming_nano -= deposit
        try:
            state = await channel.state()
        except BaseException:  # it is bound: `maintain` takes it up
            self._unanswered.add(channel, worker.index, deposit)
            self._wake.set()
            raise
        held = _held(channel, worker.index, state)
        held.opened_by = next(
            (item.hash.hex() for item in channel.transactions if item.account == channel.address), None
        )
        self.channels.append(held)
        log.info("opened %r to worker %d with %s", channel, worker.index, format_ton(deposit))
        return held

    async def _connected(self, held: Held, worker: WorkerFacts) -> None:
        if held.fast is not None and held.fast.alive:
            return
        if held.fast is not None and held.fast.lied is not None:
            raise held.fast.lied  # to whoever asks next: the one it was told to may have left
        assert worker.endpoint is not None  # the choice leaves out workers without
        held.fast = await asyncio.wait_for(self._connect(held.channel, worker.endpoint), _CONNECT_SEC)

    def _room(self) -> bool:
        """Whether a top-up stays within the owner's limit."""
        return self.locked_nano + self.limits.top_up_nano <= self.limits.most_locked_nano

    def _check_room(self, nano: int, keep: Held | None = None) -> None:
        if self.locked_nano + nano > self.limits.most_locked_nano:
            self._close_one_idle(keep)
            raise PoolExhausted(
                f"{format_ton(nano)} more would lock more than the {format_ton(self.limits.most_locked_nano)} that the "
                "gateway's owner allows (pool.most_locked_nano)"
            )

    def _close_one_idle(self, keep: Held | None = None) -> None:
        """Make room for later: the deposit comes back after the dispute window."""
        idle = [held for held in self.channels if held.usable and held.streams == 0 and held is not keep]
        if idle:
            min(idle, key=lambda held: held.used_at).closing_until = 0
            self._wake.set()

    # ---- keeping them ----

    def _take_up(self, found: Answered) -> None:
        """A channel that this process did not open, or saw no answer of."""
        state, index = found.state, found.worker_index
        held = _held(found.channel, -1 if index is None else index, state)
        twin = self._find(held.worker_index, held.model_id)  # opened while nobody knew of this one
        if state.status == EscrowStatus.CLOSING or index is None or twin is not None:
            held.closing_until = state.deadline if state.status == EscrowStatus.CLOSING else 0
            self._wake.set()
        self.channels.append(held)

    async def _care(self, held: Held) -> None:
        async with held.lock:
            now = await self._client.chain.time()
            if held.closing_until is not None:
                await self._closing(held, now)
                return
            await self._reread(held)
            idle = held.streams == 0 and time.monotonic() - held.used_at > self.limits.idle_sec
            if idle or now > held.binding.channel_end - self.limits.margin_sec:
                held.closing_until = 0
                self._wake.set()
            elif held.fast is not None and held.available_nano < self.limits.low_water_nano and self._room():
                await self._top_up(held, self.limits.top_up_nano)

    async def _closing(self, held: Held, now: int) -> None:
        if held.streams:
            return
        if held.closing_until == 0:
            if held.fast is not None:
                fast, held.fast = held.fast, None
                if fast.alive and await self._ended(held, fast):
                    return
                await fast.close()
            if (await held.channel.state()).status == EscrowStatus.ACTIVE:
                await held.channel.begin_close()
            held.closing_until = (await held.channel.state()).deadline
            log.info("closing %r; it ends after the dispute window", held.channel)
        elif held.closing_until is not None and now >= held.closing_until:
            done = await held.channel.finish_close()
            self.channels.remove(held)
            log.info("closed %r; %s came back", held.channel, format_ton(done.received_nano))

    async def _ended(self, held: Held, fast: Fast) -> bool:
        """Whether the worker agreed to end the channel at once; if not, it ends after the dispute window."""
        try:
            done = await fast.end_channel()
        except CocoonError as error:
            log.warning("%r is not ended at once: %s", held.channel, error)
            return False
        await fast.close()
        self.channels.remove(held)
        log.info("ended %r; %s came back", held.channel, format_ton(done.received_nano))
        return True

    async def _reread(self, held: Held) -> None:
        if not await held.channel.is_open():
            log.warning("%r has been closed by its worker or its end", held.channel)
            self.channels.remove(held)
            return
        state = await held.channel.state()
        held.deposit_nano, held.claimed_nano = state.deposit_nano, state.claimed_nano
        if state.binding is not None:
            held.binding = state.binding
        if state.status == EscrowStatus.CLOSING:
            held.closing_until = state.deadline

    async def _top_up(self, held: Held, nano: int) -> None:
        self._check_room(nano, held)
        self._coming_nano += nano
        try:
            await held.channel.top_up(nano)
        finally:
            self._coming_nano -= nano
        held.deposit_nano += nano
        if held.fast is not None:
            held.fast.deposited(held.deposit_nano)
        log.info("topped %r up by %s", held.channel, format_ton(nano))

    async def _rebind(self, held: Held, worker: WorkerFacts) -> None:
        """The worker's enclave was restarted; its new measurement has passed the choice."""
        if held.fast is not None:
            fast, held.fast = held.fast, None
            await fast.close()
        await held.channel.rebind(worker.measurement)
        await self._reread(held)
        log.info("rebound %r to the new keys of worker %d", held.channel, worker.index)


def _held(channel: Channel, worker_index: int, state: EscrowStorage) -> Held:
    assert state.binding is not None  # it is answered
    return Held(channel, worker_index, state.binding, state.deposit_nano, state.claimed_nano, state.epoch)


def _end_unused(task: asyncio.Task[Lease]) -> None:
    """Whoever wanted it has gone."""
    if not task.cancelled() and task.exception() is None:
        task.result().end()
