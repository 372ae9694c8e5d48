"""The two ends of a process's pipes: nobody who asks it something ever waits for a pipe that is not read."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO

__all__ = ["Inlet", "Outbox"]

_ROOM_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16
_LOOK_SEC = 0.2


class Outbox:
    """Messages to the process, written by a thread of its own, in order."""

    def __init__(self, pipe: IO[bytes], room: int = _ROOM_BYTES) -> None:
        """room: bytes of messages that may wait. One that is longer has to be the only one."""
        self._pipe, self._room = pipe, room
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes, self._closed = 0, False
        self._since: float | None = None
        threading.Thread(target=self._write, daemon=True).start()

    @property
    def stuck_sec(self) -> float:
        """For how long the message that is being written has not got through; 0 if there is none."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def put(self, message: bytes, *, wait: bool = False) -> bool:
        """False if there is no room for it; with `wait`, waits for room. What is put after `close` is lost."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closed or self._fits(message))
            if not self._closed:
                if not self._fits(message):
                    return False
                self._waiting.append(message)
                self._bytes += len(message)
                self._changed.notify_all()
            return True

    def close(self) -> None:
        """Nothing more is written. The thread ends once a write under way does: end the process, and it fails."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _fits(self, message: bytes) -> bool:
        return self._bytes == 0 or self._bytes + len(message) <= self._room

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # it has died: who listens to it tells everybody
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._waiting)
                    if self._closed:
                        break
                    message = self._waiting.popleft()
                    self._since = time.monotonic()
                self._pipe.write(message)
                self._pipe.flush()
                with self._changed:
                    self._since = None
                    self._bytes -= len(message)
                    self._changed.notify_all()
        self.close()
        with contextlib.suppress(OSError):
            self._pipe.close()


class Inlet:
    """What the process says. `look` is called a few times a second, whatever comes or does not; it may raise."""

    def __init__(self, pipe: IO[bytes], look: Callable[[], None]) -> None:
        self._file, self._look = pipe.fileno(), look
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)
        self._held, self._at = b"", 0
        self._looked = 0.0

    def read(self, count: int) -> bytes:
        """At most `count` bytes, none at the end. Raises OSError."""
        if self._at == len(self._held):
            self._held, self._at = self._more(), 0
        part = self._held[self._at : self._at + count]
        self._at += len(part)
        return part

    def _more(self) -> bytes:
        while True:
            ready = self._poll.poll(_LOOK_SEC * 1000)
            if time.monotonic() - self._looked >= _LOOK_SEC:
                self._looked = time.monotonic()
                self._look()
            if ready:
                return os.read(self._file, _PIECE_BYTES)
