"""Requests under way, as the page shows them: numbers and names only, never a word of what is asked or answered."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["LiveBoard", "LiveRequest"]

_REMEMBERED = 50


@dataclass(slots=True)
class LiveRequest:
    """started: unix time. seconds: how long it took, once ended. state: `waiting`, `streaming`, `done`, `failed`."""

    id: int
    endpoint: str
    model: str
    key_name: str
    started: float = field(default_factory=time.time)
    first_token_sec: float | None = None
    seconds: float | None = None
    tokens: int = 0
    fee_nano: int = 0
    worker_index: int | None = None
    state: str = "waiting"
    receipts: tuple[str, ...] = ()

    def token(self, worker_index: int, count: int) -> None:
        if self.first_token_sec is None:
            self.first_token_sec, self.state = time.time() - self.started, "streaming"
        self.tokens += count
        self.worker_index = worker_index


class LiveBoard:
    """Those under way, and the last ones that ended."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.live: dict[int, LiveRequest] = {}
        self.ended: deque[LiveRequest] = deque(maxlen=_REMEMBERED)

    def of_key(self, key_name: str) -> int:
        """Requests under way that this key pays for."""
        return sum(entry.key_name == key_name for entry in self.live.values())

    @contextmanager
    def request(self, endpoint: str, model: str, key_name: str) -> Iterator[LiveRequest]:
        entry = LiveRequest(next(self._numbers), endpoint, model, key_name)
        self.live[entry.id] = entry
        try:
            yield entry
            if entry.state != "failed":  # its answer said so: a stream that has begun ends without an exception
                entry.state = "done"
        except BaseException:
            entry.state = "failed"
            raise
        finally:
            entry.seconds = time.time() - entry.started
            del self.live[entry.id]
            self.ended.appendleft(entry)
