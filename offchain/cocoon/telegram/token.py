"""The bot's token: from the environment, or from a file that only its owner can read. It appears in no message."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from .errors import BotError

__all__ = ["TOKEN_VARIABLE", "read_token"]

TOKEN_VARIABLE = "COCOON_TELEGRAM_TOKEN"
_TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{20,100}")
_MOST_BYTES = 1024


def read_token(file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """BotError if there is none, it is none, or others can read its file."""
    said = environment.get(TOKEN_VARIABLE)
    if said is None and file is None:
        raise BotError(f"the bot's token is missing: set {TOKEN_VARIABLE}, or token_file; @BotFather makes one")
    where = TOKEN_VARIABLE if said is not None else str(file)
    token = (said if said is not None else _read(file)).strip()
    if not _TOKEN.fullmatch(token):
        raise BotError(f"{where} holds no bot token (digits, a colon, a secret); copy it again from @BotFather")
    return token


def _read(file: Path | None) -> str:
    assert file is not None
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise BotError(f"others can read {file}, or it is no file: chmod 600 {file}, and get a new token")
            return opened.read(_MOST_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise BotError(f"can't read token_file: {error}") from error
