"""Several answers for one request: side by side, and all or none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["together"]


async def together(
    count: int, one: Callable[[int], Awaitable[None]], *, at_once: int, seconds: float | None = None
) -> None:
    """`one` for 0, 1, ... count - 1, `at_once` of them at a time. The first failure ends the others and is raised
    itself, not in a group; TimeoutError after `seconds`, if any are given.
    """
    turns = asyncio.Semaphore(at_once)

    async def in_turn(index: int) -> None:
        async with turns:
            await one(index)

    async with asyncio.timeout(seconds):
        if count == 1:
            await one(0)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(count):
                    group.create_task(in_turn(index))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
