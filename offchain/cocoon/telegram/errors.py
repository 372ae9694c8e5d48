"""Errors of the bot: those that stop it, and those that somebody in a chat is told."""

from __future__ import annotations

from ..errors import CocoonError

__all__ = ["BotError", "ChatGone", "OverBudget", "Refused", "Undelivered"]


class BotError(CocoonError):
    """The bot can't start or go on: a setting, its token, its database."""


class Refused(CocoonError):
    """A question that is not asked; nothing was spent. The message is for whoever asked."""


class OverBudget(Refused):
    """A budget does not cover what an answer may cost."""


class Undelivered(CocoonError):
    """Telegram did not take a message, however often it was tried."""


class ChatGone(Undelivered):
    """Nobody can be written to in this chat any more: the bot was blocked, or the account is gone."""
