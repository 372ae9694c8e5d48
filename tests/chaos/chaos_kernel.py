"""A kernel that takes its time, in a way that repeats: the prompt's words backwards, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cocoon.agent.kernel import Began, Ended, Event, Piece
from cocoon.bench.null_kernel import NullKernel, NullRun

__all__ = ["MODEL", "PacedKernel"]

MODEL = 0xABCDEF
_PAUSE_SEC = 0.01
_AT_ONCE = 8


class _PacedRun(NullRun):
    """Says a few words, then waits; says nothing while its kernel is `stalled`."""

    def __init__(
        self, kernel: PacedKernel, pieces: list[str], prompt: int, allowed: int, told: Callable[[Event], None]
    ) -> None:
        self._kernel, self._words, self._tell = kernel, pieces, told
        self._leave, self._made, self._over, self._timer = allowed, 0, False, False
        self._loop = asyncio.get_running_loop()
        told(Began(prompt, 0))
        self._go_on()

    def allow(self, tokens: int) -> None:
        self._leave = max(self._leave, tokens)
        self._go_on()

    def cancel(self) -> None:
        self._finish("cancelled")

    def _go_on(self) -> None:
        if not self._over and not self._timer:
            self._timer = True
            self._loop.call_later(_PAUSE_SEC, self._say)

    def _say(self) -> None:
        self._timer = False
        if self._over:
            return
        if self._kernel.stalled:
            self._go_on()
            return
        for word in self._words[self._made : min(self._made + _AT_ONCE, self._leave)]:
            self._made += 1
            self._kernel.made += 1
            self._tell(Piece(word))
        if self._made == len(self._words):
            self._finish("stop")
        elif self._made < self._leave:
            self._go_on()

    def _finish(self, reason: str) -> None:
        if not self._over:
            self._over = True
            self._tell(Ended({"finish_reason": reason, "build": "chaos"}))


class PacedKernel(NullKernel):
    """`made`: tokens said so far. `stalled`: answers stop where they are."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.made = 0
        self.stalled = False

    def run(self, pieces: list[str], prompt: int, allowed: int, told: Callable[[Event], None]) -> NullRun:
        return _PacedRun(self, pieces, prompt, allowed, told) if pieces else super().run(pieces, prompt, allowed, told)
