"""An answer to be iterated over, made by the kernel's process."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any

from ..engine.request import Completion, Finished, Token
from ..errors import KernelError
from .answers import Event
from .process import KernelProcess
from .running import DIFFERS

__all__ = ["Found", "Generation", "stream"]

_POLL_SEC = 0.05

type Found = Generator[Token | Completion, None, None]


class Generation(Iterator[Token]):
    """A running answer. Iterate over it; the texts of the tokens joined are the answer.

    `completion` is None until the iterator is exhausted. A cancelled generation ends soon and shows no text held back
    for a stop string. `close` one that is not iterated to its end: others may have to wait for it.
    """

    def __init__(self, tokens: Found) -> None:
        self._tokens = tokens
        self.completion: Completion | None = None

    def __next__(self) -> Token:
        found = next(self._tokens)
        if isinstance(found, Completion):
            self.completion = found
            self.close()
            raise StopIteration
        return found

    def close(self) -> None:
        """Ends it where it is."""
        self._tokens.close()

    def finish(self) -> Completion:
        """Runs to the end and returns the whole answer."""
        for _ in self:
            pass
        assert self.completion is not None
        return self.completion


def stream(process: KernelProcess, order: dict[str, Any], cancel: threading.Event | None, shown: list[Token]) -> Found:
    """One run. shown: the tokens of an earlier run, and then all of them."""
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    number, seen = process.submit(order, events.put), itertools.count()
    told = False
    try:
        while True:
            if cancel is not None and cancel.is_set() and not told:
                told = True
                process.cancel(number)
            try:
                event = events.get(timeout=None if cancel is None or told else _POLL_SEC)
            except queue.Empty:
                continue
            match event:
                case None:
                    raise process.crashed()
                case KernelError():
                    raise event
                case Token() if (at := next(seen)) == len(shown):
                    shown.append(event)
                    yield event
                case Token() if event != shown[at]:
                    raise KernelError(DIFFERS)
                case Finished():
                    if event.reason != "cancelled" and event.completion_tokens < len(shown):
                        raise KernelError(DIFFERS)
                    yield _completion(event, shown)
                    return
    finally:
        process.cancel(number)  # nothing to do when it has ended
        process.forget(number)


def _completion(found: Finished, tokens: list[Token]) -> Completion:
    return Completion(
        "".join(token.text for token in tokens),
        tuple(token.id for token in tokens),
        found.prompt_tokens,
        found.cached_tokens,
        len(tokens),
        found.reason,
        tuple((token.logprob, token.top) for token in tokens if token.logprob is not None),
    )
