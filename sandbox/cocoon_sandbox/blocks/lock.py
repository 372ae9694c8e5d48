"""One process per data directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cocoon_sandbox.errors import SandboxError

__all__ = ["DirectoryLock"]


class DirectoryLock:
    """Holds `directory` (created if need be); the system gives it back even when the process is killed."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = os.open(directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise SandboxError(f"another network runs in {directory}: stop it, or choose another directory") from error

    def release(self) -> None:
        """Give the directory back."""
        os.close(self._file)
