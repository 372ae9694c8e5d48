"""A bot under test: the real aiogram client on the stand-in, a scripted backend behind it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot_api import TOKEN, BotApi, bot_api
from scripted import NAME, ScriptedBackend

from cocoon.attestation.trust import SIMULATED_BANNER
from cocoon.telegram.database import open_database
from cocoon.telegram.serve import Chatting, chatting
from cocoon.telegram.settings import BotSettings

ALICE, BOB = 1001, 1002
NOTHING = "NOTHING IS CONFIDENTIAL"


@dataclass
class Bench:
    api: BotApi
    backend: ScriptedBackend
    bot: Chatting
    db: sqlite3.Connection

    async def ask(self, chat: int, text: str) -> list[str]:
        """Write, wait for the footer, and give what the chat then shows."""
        begun = len(self.api.shown(chat))
        self.api.write(chat, text)
        await self.api.until(lambda: any("—\n" in said for said in self.api.shown(chat)[begun:]))
        return self.api.shown(chat)[begun:]

    async def command(self, chat: int, text: str) -> str:
        """Write, and give the one message that comes back."""
        begun = len(self.api.shown(chat))
        self.api.write(chat, text)
        await self.api.until(lambda: len(self.api.shown(chat)) > begun)
        return self.api.shown(chat)[begun]

    def reserved(self) -> int:
        found: int = self.db.execute("SELECT coalesce(sum(reserved_nano), 0) FROM days").fetchone()[0]
        return found


@asynccontextmanager
async def chatting_bot(
    backend: ScriptedBackend | None = None, *, banner: Callable[[], str | None] = lambda: SIMULATED_BANNER,
    db: sqlite3.Connection | None = None, api: BotApi | None = None, **settings: Any,
) -> AsyncIterator[Bench]:  # fmt: skip
    """edit_sec is short unless given, to save time."""
    backend = backend or ScriptedBackend()
    async with contextlib.AsyncExitStack() as stack:
        api = api or await stack.enter_async_context(bot_api())
        db = db or stack.enter_context(contextlib.closing(open_database(None)))
        given = {"market": Path("unused"), "bot_api": api.base_url, "model": NAME, "edit_sec": 0.02, **settings}
        bot = await stack.enter_async_context(chatting(BotSettings(**given), TOKEN, backend, banner, db))
        yield Bench(api, backend, bot, db)
