"""The log for machines: one JSON object a line; and how many lines of each level there were."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from datetime import UTC, datetime

__all__ = ["LevelCounter", "start_logging"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said)


class LevelCounter(logging.Handler):
    """Counts records by level."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[record.levelname.lower()] += 1


def start_logging(*, as_json: bool) -> LevelCounter:
    """To stderr, from INFO on."""
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(_JsonFormatter() if as_json else logging.Formatter(_TEXT))
    counter = LevelCounter()
    logging.basicConfig(level=logging.INFO, handlers=[shown, counter], force=True)
    return counter
