"""Processes that end with whoever holds their leash, however that one ended: a pipe that only the holder could write to
comes to its end. What they start in turn, in sessions of their own too, ends with them if it follows as well.
"""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType
from typing import Self

__all__ = ["Leash", "follow", "held_fds"]

_VARIABLE = "COCOON_LEASH"
_ENDED = 1


class Leash:
    """Start a process with `fds` as its `pass_fds` and with `environment`. Letting go ends it at once."""

    def __init__(self) -> None:
        self._theirs, self._mine = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._mine)
        os.close(self._theirs)

    @property
    def fds(self) -> tuple[int]:
        return (self._theirs,)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, _VARIABLE: f"{self._theirs}:{os.fstat(self._theirs).st_ino}"}


def held_fds() -> tuple[int, ...]:
    """`pass_fds` for what this process starts: with its environment it is on the same leash, if there is one.

    The variable may have come without the pipe, whose number may be anything's by now.
    """
    fd, _, inode = os.environ.get(_VARIABLE, "").partition(":")
    with contextlib.suppress(OSError, ValueError):
        if os.fstat(int(fd)).st_ino == int(inode):
            return (int(fd),)
    return ()


def follow() -> None:
    """End this process, without another word, once nobody holds its leash. Does nothing if it is on none."""
    for fd in held_fds():
        threading.Thread(target=_end_with, args=(fd,), name="leash", daemon=True).start()


def _end_with(fd: int) -> None:
    os.read(fd, 1)  # nobody writes
    os._exit(_ENDED)
