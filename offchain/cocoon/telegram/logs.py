"""Logs that hold neither the token nor what was said."""

from __future__ import annotations

import logging

from aiogram.exceptions import ClientDecodeError

__all__ = ["Discreet", "set_up_logs"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Discreet(logging.Formatter):
    """Replaces the token wherever it is, tracebacks included: every URL of the Bot API carries it."""

    def __init__(self, token: str) -> None:
        super().__init__(_FORMAT)
        self._token = token

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace(self._token, "<token>")


def set_up_logs(token: str) -> None:
    """For the whole process."""
    handler = logging.StreamHandler()
    handler.setFormatter(Discreet(token))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("aiogram.event").setLevel(logging.WARNING)  # a line for each message is of no use
    logging.getLogger("aiogram.dispatcher").addFilter(_without_updates)


def _without_updates(record: logging.LogRecord) -> bool:
    """aiogram shows updates it can't read in full; they hold messages."""
    if isinstance(record.args, tuple):
        record.args = tuple("unreadable" if isinstance(entry, ClientDecodeError) else entry for entry in record.args)
    return True
