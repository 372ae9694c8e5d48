"""Stop strings, cut out of a stream of text."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidRequest

__all__ = ["StopScanner"]

_MAX_STOPS = 16
_MAX_STOP_CHARS = 1024


class StopScanner:
    """Cuts a stream of text before the first stop string; holds back what may turn out to be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises InvalidRequest for empty, too long or too many stop strings."""
        if len(stops) > _MAX_STOPS or not all(0 < len(stop) <= _MAX_STOP_CHARS for stop in stops):
            raise InvalidRequest(f"send at most {_MAX_STOPS} stop strings of 1 to {_MAX_STOP_CHARS} characters")
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """(text that may be shown, whether a stop string was found); nothing may be pushed after it was."""
        self._held += text
        found = [at for at in map(self._held.find, self._stops) if at >= 0]
        if found:
            return self._held[: min(found)], True
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, False

    def flush(self) -> str:
        """What was held back in vain."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """Length of the longest proper beginning of `stop` that the held text ends with."""
        lengths = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((n for n in lengths if self._held.endswith(stop[:n])), 0)
