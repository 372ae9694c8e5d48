"""Answers under way, one for each chat: bought, shown while they grow, stopped when somebody asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ..gateway.backend import Model
from .buying import Buyer, Growing, Order, Outcome
from .errors import ChatGone, Refused, Undelivered
from .line import ChatLine
from .memory import Conversation
from .reply import LiveReply
from .texts import footer

__all__ = ["Answering", "Chat"]

log = logging.getLogger(__name__)
_TYPING_SEC = 4.5
_MOST_CHATS = 10_000
_FAREWELL_SEC = 8.0
_RESTARTING = "The bot is being stopped; ask again in a moment."


@dataclass(slots=True)
class Chat:
    """What is known of a chat while the process lives. answer: the one under way, buying it and showing it."""

    line: ChatLine
    conversation: Conversation
    growing: Growing | None = None
    buying: asyncio.Task[Outcome] | None = None
    handling: int = 0


class Answering:
    """banner: what has to be said of the network now. line: makes the way to a chat. at_once: answers under way in all
    chats.
    """

    def __init__(
        self, buyer: Buyer, banner: Callable[[], str | None], line: Callable[[int], ChatLine],
        conversation: Callable[[], Conversation], *, at_once: int,
    ) -> None:  # fmt: skip
        self._buyer, self._banner, self._line, self._conversation = buyer, banner, line, conversation
        self._at_once = at_once
        self._chats: OrderedDict[int, Chat] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def chat(self, chat_id: int) -> Chat:
        found = self._chats.get(chat_id)
        if found is None:
            found = self._chats[chat_id] = Chat(self._line(chat_id), self._conversation())
            if len(self._chats) > _MOST_CHATS:
                self._forget_one(chat_id)
        self._chats.move_to_end(chat_id)
        return found

    def begin(self, chat: Chat, user_id: int, model: Model, question: str) -> None:
        """Start an answer; it goes on by itself. Refused, with nothing spent, if it can't be."""
        if chat.growing is not None:
            raise Refused("One answer at a time: wait for the one that is being written, or /stop it.")
        if len(self._tasks) >= self._at_once:
            raise Refused("Too many people are asking right now; try again in a moment. Nothing was spent.")
        order = self._buyer.reserve(chat.line.chat_id, user_id, model, chat.conversation.ask(question))
        chat.growing = Growing()
        # Eager: a task that is cancelled before its first step would never settle what was reserved.
        chat.buying = asyncio.Task(
            self._buyer.buy(order, chat.growing), loop=asyncio.get_running_loop(), eager_start=True
        )
        chat.buying.add_done_callback(lambda _done, news=chat.growing.news: news.set())  # type: ignore[misc]
        task = asyncio.create_task(self._answer(chat, order, chat.growing, chat.buying, question))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def stop(self, chat: Chat, why: str) -> bool:
        """End the answer under way; its last edit says `why`. False if there is none."""
        if chat.growing is None or chat.buying is None or chat.buying.done():
            return False
        if chat.growing.stopping is None:
            chat.growing.stopping = why
            chat.buying.cancel()
        return True

    def renew(self, chat: Chat) -> None:
        """Forget what was said; an answer under way is still shown, and forgotten as well."""
        chat.conversation = self._conversation()

    async def close(self) -> None:
        """End every answer, settled and shown as far as that is possible soon."""
        for chat in self._chats.values():
            self.stop(chat, _RESTARTING)
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=_FAREWELL_SEC)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    async def _answer(
        self, chat: Chat, order: Order, growing: Growing, buying: asyncio.Task[Outcome], question: str
    ) -> None:
        conversation, reply = chat.conversation, LiveReply(chat.line)
        simulated = self._banner() is not None  # the network may change meanwhile, and the question is already out
        try:
            try:
                await self._follow(chat.line, reply, growing, buying)
            except ChatGone:
                self.stop(chat, "the chat is gone")
                raise
            finally:
                await asyncio.wait({buying})
            outcome = _outcome(buying, order)
            if growing.text.strip():
                conversation.add(question, growing.text)
            await reply.finish(growing.text, footer(outcome, simulated=simulated or self._banner() is not None))
        except Undelivered as error:
            log.warning("an answer was paid for and not delivered: %s", error)
        finally:
            buying.cancel()
            chat.growing = chat.buying = None

    async def _follow(self, line: ChatLine, reply: LiveReply, growing: Growing, buying: asyncio.Task[Outcome]) -> None:
        """Show the answer while it is being bought. ChatGone."""

        def fresh() -> str | None:
            return None if buying.done() else growing.text

        await line.typing()
        while not buying.done():
            try:
                async with asyncio.timeout(_TYPING_SEC):
                    await growing.news.wait()
            except TimeoutError:
                if not reply.begun:
                    await line.typing()
                continue
            growing.news.clear()
            try:
                await reply.grow(fresh)
            except ChatGone:
                raise
            except Undelivered as error:
                log.info("a part of an answer is shown later: %s", error)

    def _forget_one(self, newest: int) -> None:
        for chat_id, chat in self._chats.items():
            if chat_id != newest and chat.growing is None and not chat.handling:
                del self._chats[chat_id]
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an answer failed by a bug", exc_info=error)


def _outcome(buying: asyncio.Task[Outcome], order: Order) -> Outcome:
    if buying.cancelled():
        return Outcome(_RESTARTING, order.reserved.nano)
    if (error := buying.exception()) is not None:
        log.error("buying an answer failed by a bug", exc_info=error)
        return Outcome("The bot failed; whoever runs it finds more in its log.", order.reserved.nano)
    return buying.result()
