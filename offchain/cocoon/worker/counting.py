"""A kernel that counts what passes through it, for the operator's eyes; nothing of a request is kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..agent.engine_kernel import EngineKernel
from ..agent.kernel import Began, Ended, Event, Kernel, Piece, Result, Run, StreamKernel
from ..kernels.errors import RequestError

if TYPE_CHECKING:
    from ..kernels.engine.request import Metering

__all__ = ["CountingKernel", "CountingStreamKernel", "Tally", "counted"]

_WINDOW_SEC = 60.0


@dataclass(slots=True)
class Tally:
    """Counts since the start. slots: answers the kernel computes together; None where it does not say. first_tokens:
    streams whose answer began, first_tokens_sec after they were asked for in all.
    """

    slots: int | None = None
    running: int = 0
    answers: int = 0
    streams: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    first_tokens: int = 0
    first_tokens_sec: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _recent: deque[tuple[float, int]] = field(default_factory=deque, repr=False)

    def begin(self) -> None:
        with self._lock:
            self.running += 1

    def end(self, error: BaseException | None = None, *, streamed: bool = False) -> None:
        """error: what it ended with. A request at fault is no answer, and no failure of the kernel's."""
        with self._lock:
            self.running -= 1
            self.answers += error is None
            self.streams += streamed and error is None
            self.failures += error is not None and not isinstance(error, RequestError)

    def prompt(self, tokens: int, cached: int) -> None:
        with self._lock:
            self.prompt_tokens += tokens - cached
            self.cached_tokens += cached

    def first_token(self, seconds: float) -> None:
        with self._lock:
            self.first_tokens += 1
            self.first_tokens_sec += seconds

    def produced(self, tokens: int) -> None:
        with self._lock:
            self.completion_tokens += tokens
            self._recent.append((time.monotonic(), tokens))
            self._forget()

    def tokens_per_sec(self) -> float:
        """Over the last minute."""
        with self._lock:
            self._forget()
            return sum(tokens for _, tokens in self._recent) / _WINDOW_SEC

    @property
    def waiting(self) -> int:
        """Answers begun that have no slot yet."""
        return 0 if self.slots is None else max(0, self.running - self.slots)

    def _forget(self) -> None:
        oldest = time.monotonic() - _WINDOW_SEC
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()


class CountingKernel:
    """Any kernel, counted."""

    def __init__(self, kernel: Kernel, tally: Tally) -> None:
        self._kernel, self._tally = kernel, tally

    @property
    def model_id(self) -> bytes:
        return self._kernel.model_id

    def count_tokens(self, request: dict[str, Any]) -> int:
        return self._kernel.count_tokens(request)

    def asked_tokens(self, request: dict[str, Any]) -> int | None:
        return self._kernel.asked_tokens(request)

    def complete(
        self, request: dict[str, Any], *, max_tokens: int, cancel: threading.Event, owner: str | None = None
    ) -> Result:
        self._tally.begin()
        try:
            done = self._kernel.complete(request, max_tokens=max_tokens, cancel=cancel, owner=owner)
        except BaseException as error:
            self._tally.end(error)
            raise
        self._tally.end()
        self._tally.prompt(done.prompt_tokens, done.cached_tokens)
        self._tally.produced(done.completion_tokens)
        return done


class CountingStreamKernel(CountingKernel):
    """A kernel that streams, counted."""

    def __init__(self, kernel: StreamKernel, tally: Tally) -> None:
        super().__init__(kernel, tally)
        self._streams = kernel

    @property
    def ready(self) -> bool:
        return self._streams.ready

    def start(
        self,
        request: dict[str, Any],
        metering: Metering,
        told: Callable[[Event], None],
        *,
        max_tokens: int,
        owner: str | None = None,
    ) -> Run:
        telling = _Telling(told, self._tally)
        self._tally.begin()
        try:
            return self._streams.start(request, metering, telling, max_tokens=max_tokens, owner=owner)
        except BaseException as error:
            telling.over(error)
            raise


class _Telling:
    """Passes on what the kernel says. The last word, an Ended or an error, counts once."""

    def __init__(self, told: Callable[[Event], None], tally: Tally) -> None:
        self._told, self._tally, self._is_over = told, tally, False
        self._since: float | None = time.monotonic()  # None once the answer has begun

    def __call__(self, event: Event) -> None:
        match event:
            case Began():
                self._tally.prompt(event.prompt_tokens, event.cached_tokens)
            case Piece():
                if self._since is not None:
                    self._tally.first_token(time.monotonic() - self._since)
                    self._since = None
                self._tally.produced(1)
            case Ended():
                self.over()
            case _:
                self.over(event)
        self._told(event)

    def over(self, error: BaseException | None = None) -> None:
        if not self._is_over:
            self._is_over = True
            self._tally.end(error, streamed=True)


def counted(kernel: Kernel) -> tuple[Kernel, Tally]:
    """The kernel, and what it does from now on."""
    tally = Tally(slots=kernel.slots if isinstance(kernel, EngineKernel) else None)
    if isinstance(kernel, StreamKernel):
        return CountingStreamKernel(kernel, tally), tally
    return CountingKernel(kernel, tally), tally
