"""The bot put together and run: Telegram on one side, a backend on the other; everything ends with the context."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import AiogramError, TelegramNotFound, TelegramUnauthorizedError

from ..gateway.backend import Backend
from .answering import Answering
from .budgets import Budgets
from .buying import Buyer
from .errors import BotError
from .handlers import MENU, Desk, make_router
from .ledger import ChatLedger
from .line import ChatLine
from .memory import Conversation
from .settings import BotSettings

__all__ = ["Chatting", "chatting"]


@dataclass(frozen=True, slots=True)
class Chatting:
    """A bot that answers as @username. polling: ends only if it fails."""

    username: str
    budgets: Budgets
    ledger: ChatLedger
    answering: Answering
    polling: asyncio.Task[None]


@contextlib.asynccontextmanager
async def chatting(
    settings: BotSettings,
    token: str,
    backend: Backend,
    banner: Callable[[], str | None],
    db: sqlite3.Connection,
    *,
    keep_days: int = 90,
) -> AsyncIterator[Chatting]:
    """Answer for the time of the context. BotError if Telegram does not know the token, or can't be reached."""
    budgets, ledger = Budgets(db, settings.limits), ChatLedger(db, keep_days=keep_days)
    budgets.recover()
    ledger.prune()
    session = AiohttpSession(api=TelegramAPIServer.from_base(settings.bot_api))
    bot = Bot(token, session=session)
    try:
        username = await _introduce(bot)
        answering = Answering(
            Buyer(backend, budgets, ledger, max_tokens=settings.max_tokens, answer_sec=settings.answer_sec),
            banner,
            lambda chat_id: ChatLine(bot, chat_id, settings.edit_sec),
            lambda: Conversation(settings.context_turns, settings.context_bytes),
            at_once=settings.at_once,
        )
        dispatcher, started = Dispatcher(), asyncio.Event()
        dispatcher.include_router(make_router(Desk(settings, backend, banner, budgets, ledger, answering)))

        async def up() -> None:
            started.set()

        dispatcher.startup.register(up)
        polling = asyncio.create_task(
            dispatcher.start_polling(bot, handle_signals=False, close_bot_session=False, allowed_updates=["message"])
        )
        try:
            up_or_failed = [asyncio.ensure_future(started.wait()), polling]
            await asyncio.wait(up_or_failed, return_when=asyncio.FIRST_COMPLETED)
            up_or_failed[0].cancel()
            yield Chatting(username, budgets, ledger, answering, polling)
        finally:
            if not polling.done():
                await dispatcher.stop_polling()
            await asyncio.wait({polling})
            await answering.close()
    finally:
        await session.close()


async def _introduce(bot: Bot) -> str:
    try:
        me = await bot.me()
        await bot.set_my_commands(MENU)
    except (TelegramUnauthorizedError, TelegramNotFound) as error:
        raise BotError("Telegram does not know this token; get a new one from @BotFather") from error
    except AiogramError as error:
        raise BotError(f"the Bot API can't be used ({type(error).__name__}); check bot_api and the network") from error
    return me.username or str(me.id)
