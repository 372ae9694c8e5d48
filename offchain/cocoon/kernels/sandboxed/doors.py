"""Who may be in the kernel's process: many requests together, or one alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["Doors"]


class Doors:
    """Who wants to be alone waits until all others have left, and lets nobody in meanwhile."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._alone, self._wanting = 0, False, 0

    @property
    def free(self) -> bool:
        """Whether one more could go in now."""
        return not self._alone and self._wanting == 0

    def enter_now(self) -> bool:
        """Goes in among others if nothing has to be waited for: whether it is in. `leave` in the end."""
        with self._changed:
            free = self.free
            self._inside += free
        return free

    def enter(self, *, alone: bool) -> None:
        """Waits, and goes in. `leave` in the end, from any thread."""
        with self._changed:
            self._wanting += alone
            try:
                self._changed.wait_for(lambda: not self._alone and (self._inside == 0 if alone else self._wanting == 0))
            finally:
                self._wanting -= alone
                self._changed.notify_all()  # an interrupted wait must not keep the others out
            self._alone = alone
            self._inside += 1

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._alone = False
            self._changed.notify_all()

    @contextlib.contextmanager
    def open(self, *, alone: bool) -> Iterator[None]:
        self.enter(alone=alone)
        try:
            yield
        finally:
            self.leave()
