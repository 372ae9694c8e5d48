"""A kernel that costs nothing: what is left of a request's time is the protocol's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..agent.kernel import Began, Ended, Event, Piece, Result
from ..kernels.engine.request import Metering
from ..kernels.errors import InvalidRequest, OverBudget

__all__ = ["NullKernel", "NullRun"]


class NullRun:
    """Says every piece as soon as it is allowed to."""

    def __init__(self, pieces: list[str], prompt: int, allowed: int, told: Callable[[Event], None]) -> None:
        self._pieces, self._told = pieces, told
        self._lock = threading.RLock()
        self._allowed, self._said, self._ended = 0, 0, False
        told(Began(prompt, 0))
        self.allow(allowed)

    def allow(self, tokens: int) -> None:
        with self._lock:
            self._allowed = max(self._allowed, tokens)
            while self._said < min(self._allowed, len(self._pieces)):
                self._said += 1
                self._told(Piece(self._pieces[self._said - 1]))
            if self._said == len(self._pieces):
                self._end("stop")

    def cancel(self) -> None:
        with self._lock:
            self._end("cancelled")

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._told(Ended({"finish_reason": reason, "build": "null"}))


class NullKernel:
    """Answers with the prompt's words, backwards; a word is a token."""

    def __init__(self, model: int = 0xABCDEF) -> None:
        self.model_id = model.to_bytes(32, "big")
        self.ready = True

    def count_tokens(self, request: dict[str, Any]) -> int:
        return len(_words(request))

    def asked_tokens(self, request: dict[str, Any]) -> int | None:
        _words(request)
        asked = request.get("max_tokens")
        return asked if isinstance(asked, int) else None

    def complete(
        self, request: dict[str, Any], *, max_tokens: int, cancel: threading.Event, owner: str | None = None
    ) -> Result:
        words = _words(request)
        answer = words[::-1][:max_tokens]
        return Result({"text": " ".join(answer), "finish_reason": "stop"}, len(words), len(answer))

    def start(
        self,
        request: dict[str, Any],
        metering: Metering,
        told: Callable[[Event], None],
        *,
        max_tokens: int,
        owner: str | None = None,
    ) -> NullRun:
        words = _words(request)
        most = metering.most(len(words))
        if len(words) > metering.prepaid or most == 0:
            told(OverBudget(len(words)))
            return NullRun([], 0, 0, lambda _event: None)
        limit = max_tokens if most is None else min(most, max_tokens)
        pieces = [(" " if index else "") + word for index, word in enumerate(words[::-1][:limit])]
        return self.run(pieces, len(words), metering.allowed, told)

    def run(self, pieces: list[str], prompt: int, allowed: int, told: Callable[[Event], None]) -> NullRun:
        """One answer; for kernels that are to do something else with it."""
        return NullRun(pieces, prompt, allowed, told)


def _words(request: dict[str, Any]) -> list[str]:
    prompt = request.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequest("send a prompt of at least one word")
    return prompt.split()
