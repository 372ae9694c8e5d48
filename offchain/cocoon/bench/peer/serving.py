"""The two sides' language: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Engine", "serve"]


class Engine(Protocol):
    """What every engine is asked. Times are in seconds, from tokens in to the choice of the next one."""

    weight_bytes: int
    version: str

    def streams(self, count: int) -> None:
        """From now on `count` answers at once, each behind the same prompt."""
        ...

    def decode(self, steps: int) -> float:
        """Greedily, for all streams together; afterwards they are where they were."""
        ...

    def prefill(self) -> float:
        """The prompt, once more, for one stream."""
        ...

    def logits(self, windows: list[list[int]], path: str) -> None:
        """[W, L, vocabulary] float32 as a .npy file: after each token of each window."""
        ...

    def greedy(self, tokens: list[int], count: int) -> dict[str, Any]:
        """`tokens` that follow, the `top_logits` of the first and the `least_margin` between two best ones."""
        ...


def serve(make: Callable[..., Engine]) -> None:
    """Answers until standard input ends. The first line holds the arguments of `make`."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not garble the replies

    def reply(value: Any) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    engine = make(**json.loads(sys.stdin.readline()))
    reply({"weight_bytes": engine.weight_bytes, "version": engine.version})
    for line in sys.stdin:
        order = json.loads(line)
        reply(getattr(engine, order.pop("op"))(**order))
