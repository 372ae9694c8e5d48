"""A kernel for agents in processes of their own: streams slowly enough to be killed, or told to stop, in mid-answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cocoon.agent.kernel import Event
from cocoon.bench.null_kernel import NullKernel, NullRun

__all__ = ["slow"]

_PAUSE_SEC = 0.02


class _SlowRun(NullRun):
    """One word at a time, whatever is allowed."""

    def __init__(self, pieces: list[str], prompt: int, allowed: int, told: Callable[[Event], None]) -> None:
        self._leave, self._timer = allowed, False
        super().__init__(pieces, prompt, 0, told)
        self._go_on()

    def allow(self, tokens: int) -> None:
        self._leave = max(getattr(self, "_leave", 0), tokens)
        self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            if not self._timer and not self._ended and self._said < self._leave:
                self._timer = True
                timer = threading.Timer(_PAUSE_SEC, self._next)
                timer.daemon = True
                timer.start()

    def _next(self) -> None:
        with self._lock:
            self._timer = False
            super().allow(self._said + 1)
        self._go_on()


class _SlowKernel(NullKernel):
    def run(self, pieces: list[str], prompt: int, allowed: int, told: Callable[[Event], None]) -> NullRun:
        return _SlowRun(pieces, prompt, allowed, told)


def slow() -> NullKernel:
    return _SlowKernel()
