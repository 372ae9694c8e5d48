"""The chain's time for a worker that may lose sight of the chain: answers that were made still get their receipts."""

from __future__ import annotations

import asyncio

from ..chain.base import Chain
from ..errors import ChainUnavailable

__all__ = ["SteadyClock"]


class SteadyClock:
    """Unix seconds: the chain's while it can be asked, and from there by this machine's own clock while it can't."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._heard: tuple[int, float] | None = None  # the chain's time, and the event loop's at that moment

    async def now(self) -> int:
        """ChainUnavailable if the chain has never answered."""
        clock = asyncio.get_running_loop().time
        try:
            self._heard = (await self._chain.time(), clock())
        except ChainUnavailable:
            if self._heard is None:
                raise
        at, then = self._heard
        return at + int(clock() - then)
