"""A kernel that thinks fast, for tests of everything around it."""

from __future__ import annotations

import threading
import time
from typing import Any

from cocoon.agent.kernel import Result
from cocoon.kernels.errors import InvalidRequest, PromptTooLong

__all__ = ["MODEL", "WordKernel", "slow"]

MODEL = 0xABCDEF


class WordKernel:
    """Answers with the prompt's words, backwards; a word is a token. `broken`: runs that fail before one works."""

    def __init__(self) -> None:
        self.model_id = MODEL.to_bytes(32, "big")
        self.runs = 0
        self.broken = 0
        self.wait_for_cancel = False
        self.think_sec = 0.0

    def count_tokens(self, request: dict[str, Any]) -> int:
        prompt = request.get("prompt")
        if not isinstance(prompt, str):
            raise InvalidRequest("send a prompt")
        words = len(prompt.split())
        if words > 100:
            raise PromptTooLong(words, 100)
        return words

    def asked_tokens(self, request: dict[str, Any]) -> int | None:
        asked = request.get("max_tokens")
        return asked if isinstance(asked, int) else None

    def complete(
        self, request: dict[str, Any], *, max_tokens: int, cancel: threading.Event, owner: str | None = None
    ) -> Result:
        self.runs += 1
        time.sleep(self.think_sec)
        if self.broken > 0:
            self.broken -= 1
            raise RuntimeError("out of memory")
        words = request["prompt"].split()
        answer = words[::-1][:max_tokens]
        if self.wait_for_cancel:
            assert cancel.wait(30)
            answer = answer[:1]
        return Result({"text": " ".join(answer)}, len(words), len(answer))


def slow() -> WordKernel:
    """For agents in processes of their own: takes long enough to be killed at work."""
    kernel = WordKernel()
    kernel.think_sec = 0.3
    return kernel
