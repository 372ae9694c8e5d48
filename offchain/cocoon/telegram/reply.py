"""An answer in a chat while it grows: messages that are edited, a new one when one is full."""

from __future__ import annotations

from collections.abc import Callable

from .errors import ChatGone, Undelivered
from .line import ChatLine
from .splitting import MOST_UNITS, clean, split, units

__all__ = ["LiveReply"]

_GROWING = " …"


class LiveReply:
    """`grow` as often as there is news, `finish` once."""

    def __init__(self, line: ChatLine) -> None:
        self._line = line
        self._sent: list[tuple[int, str]] = []  # (message, text it shows), one for each part

    @property
    def begun(self) -> bool:
        return bool(self._sent)

    async def grow(self, text: Callable[[], str | None]) -> None:
        """Show what `text` gives when Telegram may be sent it; nothing if that is None by then. ChatGone."""
        parts = self._parts(text())
        if not parts:
            return
        if not self._sent:
            await self._say(parts[0] if len(parts) > 1 else _growing(parts[0]))
            return
        position = len(self._sent) - 1
        message, shown = self._sent[position]

        def fresh() -> str | None:
            now = self._parts(text())
            if len(now) <= position:
                return None
            newest = now[position] if len(now) > position + 1 else _growing(now[position])
            return None if newest == shown else newest

        done = await self._line.try_change(message, fresh)
        if done is not None:
            self._sent[position] = (message, done)
        parts = self._parts(text())
        if len(parts) > len(self._sent) and self._sent[position][1] == parts[position]:
            await self._say(_growing(parts[position + 1]) if len(parts) == position + 2 else parts[position + 1])

    async def finish(self, text: str, footer: str) -> None:
        """Show all of it, and `footer` under it, whatever it takes. Undelivered, or ChatGone."""
        parts = split(clean(text))
        if parts and units(parts[-1]) + units(footer) + 2 <= MOST_UNITS:
            parts[-1] = f"{parts[-1]}\n\n{footer}"
        else:
            parts.append(footer)
        for position, part in enumerate(parts):
            if position >= len(self._sent):
                await self._say(part)
                continue
            message, shown = self._sent[position]
            if shown == part:
                continue
            try:
                await self._line.change(message, part)
                self._sent[position] = (message, part)
            except ChatGone:
                raise
            except Undelivered:  # deleted by the user: it was paid for, so it is shown again
                self._sent[position] = (await self._line.say(part), part)

    def _parts(self, text: str | None) -> list[str]:
        return [] if text is None else split(clean(text))

    async def _say(self, part: str) -> None:
        self._sent.append((await self._line.say(part), part))


def _growing(part: str) -> str:
    return part + _GROWING if units(part) + units(_GROWING) <= MOST_UNITS else part
