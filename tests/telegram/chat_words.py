"""A kernel for chats that answers with the last message's words, backwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cocoon.agent.kernel import Event
from cocoon.bench.null_kernel import NullKernel, NullRun
from cocoon.kernels.engine.request import Metering


class ChatWords(NullKernel):
    def count_tokens(self, request: dict[str, Any]) -> int:
        return super().count_tokens(_prompt(request))

    def asked_tokens(self, request: dict[str, Any]) -> int | None:
        return super().asked_tokens(_prompt(request))

    def start(
        self, request: dict[str, Any], metering: Metering, told: Callable[[Event], None], *, max_tokens: int,
        owner: str | None = None,
    ) -> NullRun:  # fmt: skip
        return super().start(_prompt(request), metering, told, max_tokens=max_tokens, owner=owner)


def _prompt(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "prompt": request["messages"][-1]["content"]}
