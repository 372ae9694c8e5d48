"""One process at a time: what two would do with the same keys, money or files, neither could undo."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["alone"]


@contextmanager
def alone(path: Path, taken: Exception) -> Iterator[None]:
    """Holds a lock on the file `path` for the time of the context, at most as long as the process lives. Raises `taken`
    if somebody else holds it.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise taken from error
        yield
