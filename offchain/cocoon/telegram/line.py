"""What the bot sends to one chat: one call at a time, paced, tried again when Telegram says so."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiogram import Bot
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.types import BufferedInputFile, LinkPreviewOptions

from .errors import ChatGone, Undelivered

__all__ = ["ChatLine"]

log = logging.getLogger(__name__)
_TRIES = 6
_BACKOFF_SEC = 1.0
_MOST_WAIT_SEC = 900
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)  # Telegram would fetch what a model or a user wrote


class ChatLine:
    """gap_sec: between the end of one message or edit and the next, and so at most one in this time."""

    def __init__(self, bot: Bot, chat_id: int, gap_sec: float) -> None:
        self._bot, self.chat_id, self._gap = bot, chat_id, gap_sec
        self._free_at = 0.0
        self._turn = asyncio.Lock()

    async def say(self, text: str) -> int:
        """The message's number. Undelivered, or ChatGone."""

        async def call() -> int:
            sent = await self._bot.send_message(self.chat_id, text, link_preview_options=_NO_PREVIEW)
            return sent.message_id

        return await self._insist(call)

    async def change(self, message_id: int, text: str) -> None:
        """Undelivered if there is no such message any more; ChatGone."""
        await self._insist(lambda: self._edit(message_id, text))

    async def try_change(self, message_id: int, fresh: Callable[[], str | None]) -> str | None:
        """Change once to what `fresh` gives when it is this call's turn. None if that was nothing, or did not work,
        for it will change again anyway. ChatGone.
        """
        async with self._turn:
            await self._wait()
            text = fresh()
            if text is None:
                return None
            try:
                await self._once(lambda: self._edit(message_id, text))
            except ChatGone:
                raise
            except (TelegramAPIError, ClientDecodeError) as error:
                log.info("an edit was left out: %s", type(error).__name__)
                return None
            return text

    async def send_file(self, name: str, content: bytes, caption: str) -> None:
        async def call() -> None:
            await self._bot.send_document(self.chat_id, BufferedInputFile(content, name), caption=caption)

        await self._insist(call)

    async def typing(self) -> None:
        """Show that an answer is being made, for about five seconds. It does not matter if that fails."""
        try:
            await self._bot.send_chat_action(self.chat_id, "typing")
        except (TelegramAPIError, ClientDecodeError) as error:
            log.info("a chat action was left out: %s", type(error).__name__)

    async def _edit(self, message_id: int, text: str) -> None:
        try:
            await self._bot.edit_message_text(
                text, chat_id=self.chat_id, message_id=message_id, link_preview_options=_NO_PREVIEW
            )
        except TelegramBadRequest as error:
            if "message is not modified" not in error.message:
                raise

    async def _insist[T](self, call: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            waited = 0.0
            for number in range(_TRIES):
                waited += await self._wait()
                try:
                    return await self._once(call)
                except TelegramRetryAfter as error:
                    last: Exception = error
                except (TelegramNetworkError, TelegramServerError, ClientDecodeError) as error:
                    last = error
                    self._hold(_BACKOFF_SEC * 2**number)
                except TelegramAPIError as error:
                    raise Undelivered(f"Telegram refused a message ({type(error).__name__})") from error
                if waited + self._free_at - time.monotonic() > _MOST_WAIT_SEC:
                    break
            raise Undelivered(f"Telegram did not take a message ({type(last).__name__}); it is given up") from last

    async def _once[T](self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except TelegramRetryAfter as error:
            self._hold(error.retry_after)
            raise
        except TelegramForbiddenError as error:
            raise ChatGone("this chat has blocked the bot") from error
        finally:
            self._hold(self._gap)

    def _hold(self, seconds: float) -> None:
        self._free_at = max(self._free_at, time.monotonic() + seconds)

    async def _wait(self) -> float:
        """Seconds that had to be waited."""
        left = max(0.0, self._free_at - time.monotonic())
        await asyncio.sleep(left)
        return left
