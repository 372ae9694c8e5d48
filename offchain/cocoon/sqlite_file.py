"""SQLite files that hold keys or money: readable by their owner only, of one version, in WAL mode."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .errors import CocoonError

__all__ = ["open_sqlite"]

_BUSY_SEC = 5.0


def open_sqlite(
    path: Path | None,
    schema: str,
    version: int,
    *,
    of: str,
    refusal: type[CocoonError],
    synchronous: str,
    check_same_thread: bool = True,
) -> sqlite3.Connection:
    """The database at `path`, made with `schema` if it is new; None keeps everything in memory. Autocommits.

    `refusal` says what is wrong with the file `of` the one who asks. synchronous: FULL outlives a power cut, NORMAL
    only the process.
    """
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(
            ":memory:" if path is None else path,
            isolation_level=None,
            timeout=_BUSY_SEC,
            check_same_thread=check_same_thread,
        )
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            db.executescript(f"BEGIN; {schema} PRAGMA user_version={version}; COMMIT;")
        elif found != version:
            raise refusal(f"{path} was written by another version of cocoon ({found}); use that one, or another file")
    except (OSError, sqlite3.Error) as error:
        raise refusal(f"the file of {of}, {path}, can't be used: {error}; choose another file") from error
    return db
