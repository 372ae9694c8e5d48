"""The bot's commands, and the questions. Only in private chats: budgets and receipts belong to one person."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiogram import F, Router
from aiogram.filters import Command, CommandObject
from aiogram.types import BotCommand, Message, TelegramObject

from ..gateway.backend import Backend, Model
from . import texts
from .answering import Answering, Chat
from .budgets import Budgets
from .errors import Refused, Undelivered
from .ledger import ChatLedger
from .settings import BotSettings
from .splitting import clean, split

__all__ = ["MENU", "Desk", "make_router"]

log = logging.getLogger(__name__)
MENU = [
    BotCommand(command="new", description="Forget what was said"),
    BotCommand(command="stop", description="End the answer that is being written"),
    BotCommand(command="model", description="Show or choose the model"),
    BotCommand(command="cost", description="What this chat cost, with receipts"),
    BotCommand(command="help", description="How to use this bot"),
    BotCommand(command="start", description="Who can read this chat"),
]
_NEWEST_RECEIPTS = 5
_MOST_WAITING = 8


@dataclass(frozen=True, slots=True)
class Desk:
    """What the handlers need."""

    settings: BotSettings
    backend: Backend
    banner: Callable[[], str | None]
    budgets: Budgets
    ledger: ChatLedger
    answering: Answering

    def model(self, chat_id: int) -> Model:
        """The model that answers in this chat. Refused if none is on offer."""
        offered = self.backend.models()
        chosen = self.ledger.model(chat_id) or self.settings.model
        if chosen is None:
            found = next((model for model in offered if model.workers), None)
        else:
            found = next((model for model in offered if chosen in model.names), None)
        if found is None:
            raise Refused("This chat's model is not on offer any more; /model shows which are. Nothing was spent.")
        return found


def make_router(desk: Desk) -> Router:
    router = Router()
    router.message.outer_middleware(_gate(desk))

    @router.message(Command("start"))
    async def start(message: Message, chat: Chat, user_id: int) -> None:
        await _say(chat, texts.start(desk.banner(), desk.budgets.left(user_id)))

    @router.message(Command("help"))
    async def help_(message: Message, chat: Chat) -> None:
        await _say(chat, texts.HELP)

    @router.message(Command("new"))
    async def new(message: Message, chat: Chat) -> None:
        desk.answering.renew(chat)
        await _say(chat, "Forgotten. The next question begins anew.")

    @router.message(Command("stop"))
    async def stop(message: Message, chat: Chat) -> None:
        if not desk.answering.stop(chat, "You stopped this answer."):
            await _say(chat, "No answer is being written.")

    @router.message(Command("model"))
    async def model(message: Message, chat: Chat, command: CommandObject) -> None:
        await _say(chat, _choose(desk, chat.line.chat_id, (command.args or "").strip()))

    @router.message(Command("cost"))
    async def cost(message: Message, chat: Chat, user_id: int) -> None:
        found = desk.ledger.cost(chat.line.chat_id, _NEWEST_RECEIPTS)
        budgets = desk.budgets
        await _say(chat, texts.cost(found, budgets.spent(user_id), budgets.limits.of(user_id), budgets.left(user_id)))

    @router.message(Command("receipt"))
    async def receipt(message: Message, chat: Chat, command: CommandObject) -> None:
        wanted = (command.args or "").strip()
        document = desk.ledger.receipt(chat.line.chat_id, wanted)
        if document is None:
            await _say(chat, "There is no such receipt in this chat; /cost lists the last ones.")
            return
        await chat.line.send_file(f"{wanted}.json", document.encode(), "Check it: cocoon receipt verify FILE")

    @router.message(F.text.startswith("/"))
    async def unknown(message: Message, chat: Chat) -> None:
        await _say(chat, f"There is no such command.\n\n{texts.HELP}")

    @router.message(F.text)
    async def question(message: Message, chat: Chat, user_id: int) -> None:
        asked = clean(message.text or "")
        try:
            desk.answering.begin(chat, user_id, desk.model(chat.line.chat_id), asked)
        except Refused as error:
            await _say(chat, str(error))

    @router.message()
    async def other(message: Message, chat: Chat) -> None:
        await _say(chat, "I can read text only.")

    return router


def _gate(desk: Desk) -> Callable[[Any, TelegramObject, dict[str, Any]], Awaitable[Any]]:
    """Lets each message of a known person in a private chat through, once."""

    async def pass_on(
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
    ) -> Any:
        assert isinstance(event, Message)
        user, chat_id = event.from_user, event.chat.id
        if event.chat.type != "private" or user is None:
            return None
        if not desk.ledger.take(data["bot"].id, chat_id, event.message_id):
            return None
        chat = desk.answering.chat(chat_id)
        if chat.handling >= _MOST_WAITING:
            log.warning("a message was dropped: %d of its chat are waiting to be replied to", chat.handling)
            return None
        chat.handling += 1
        try:
            if desk.settings.users and user.id not in desk.settings.users:
                return await _say(chat, texts.STRANGER.format(user_id=user.id))
            return await handler(event, {**data, "chat": chat, "user_id": user.id})
        except Undelivered as error:
            log.warning("a reply was not delivered: %s", error)
            return None
        finally:
            chat.handling -= 1

    return pass_on


async def _say(chat: Chat, text: str) -> None:
    for part in split(text):
        await chat.line.say(part)


def _choose(desk: Desk, chat_id: int, name: str) -> str:
    offered = desk.backend.models()
    if name:
        found = next((model for model in offered if name in model.names), None)
        if found is None:
            return f"There is no model {name[:80]!r}.\n\n{texts.models(offered, None)}"
        desk.ledger.choose(chat_id, found.model_id)
        return f"From now on {found.names[0]} answers here."
    try:
        return texts.models(offered, desk.model(chat_id).model_id)
    except Refused:
        return texts.models(offered, None)
