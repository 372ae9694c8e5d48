"""The language of these tests: a worker and a client with a channel between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cocoon.agent.kernel import Event
from cocoon.agent.serving import StreamServer
from cocoon.bench.null_kernel import NullKernel, NullRun
from cocoon.bench.stage import ChannelStage
from cocoon.client.store import ClientStore
from cocoon.client.stream import Delta, FastChannel, Finished
from cocoon.signer.keys import SignerKeys
from cocoon.stream.frames import Frame

__all__ = ["WORDS", "Held", "Pair", "Tamper", "collect", "until"]

WORDS = " ".join(f"w{number}" for number in range(200))
type Tamper = Callable[[Frame], list[Frame]]


@dataclass
class Pair:
    """Both sides. `server` and `url` are the worker's; connections that are made are closed with it."""

    stage: ChannelStage
    keys: SignerKeys
    store: ClientStore
    server: StreamServer
    url: str
    connected: list[FastChannel] = field(default_factory=list)

    async def connect(self, **options: Any) -> FastChannel:
        made = await FastChannel.connect(self.stage.channel(self.store), self.url, **options)
        self.connected.append(made)
        return made

    @property
    def served(self) -> Any:
        """The worker's only channel."""
        (found,) = self.server._channels.values()
        return found

    async def recorded(self) -> Any:
        """What the worker's book has on disk."""
        return await self.server._book.load(self.stage.escrow, self.served.record.epoch)


class _HeldRun(NullRun):
    """Says three words, and no more, whatever is allowed; it can be cancelled."""

    def allow(self, tokens: int) -> None:
        super().allow(min(tokens, 3))


class Held(NullKernel):
    """Begins its answers and does not go on."""

    def run(self, pieces: list[str], prompt: int, allowed: int, told: Callable[[Event], None]) -> NullRun:
        return _HeldRun(pieces, prompt, allowed, told)


async def collect(fast: FastChannel, prompt: str, max_fee: int = 10**7, **options: Any) -> tuple[str, Finished]:
    """(text as it came, the end)."""
    text, finished = "", None
    async for found in fast.stream({"prompt": prompt, **options}, max_fee=max_fee):
        if isinstance(found, Delta):
            text += found.text
        else:
            finished = found
    assert finished is not None
    return text, finished


async def until(holds: Callable[[], bool], seconds: float = 5) -> None:
    """Looks every few milliseconds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
