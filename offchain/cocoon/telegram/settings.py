"""The bot's TOML file, every entry checked for name, type and bounds before anything starts."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ..errors import CocoonError
from ..settings_checks import check_names, text, whole
from .budgets import BudgetLimits
from .errors import BotError

__all__ = ["BotSettings"]

TON = 10**9
_MOST_NANO = (1 << 62) - 1
_URL = re.compile(r"https?://[^\s{}]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BotSettings:
    """market: file with the settings of its purchases, in the gateway's format; a wallet and a data_dir of its own.
    users: Telegram's numbers of those it answers, empty: everybody. budgets: user -> nanoTON a day, others have
    user_day_nano, all together all_day_nano. context_turns: questions with their answers that a model is shown again,
    of at most context_bytes. at_once: answers under way. edit_sec: between two messages or edits in one chat.
    """

    market: Path
    token_file: Path | None = None
    bot_api: str = "https://api.telegram.org"
    model: str | None = None
    users: frozenset[int] = frozenset()
    user_day_nano: int = TON // 20
    all_day_nano: int = TON
    budgets: dict[int, int] = field(default_factory=dict)
    max_tokens: int = 512
    context_turns: int = 6
    context_bytes: int = 8000
    at_once: int = 16
    answer_sec: float = 600.0
    edit_sec: float = 1.0

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Paths are relative to the file. BotError names the entry at fault."""
        try:
            with path.open("rb") as file:
                given = tomllib.load(file)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BotError(f"can't read the settings {path}: {error}; docs/telegram.md shows an example") from error
        if "market" not in given:
            raise BotError(f"{path}: market must be set: the file with the settings of the bot's purchases")
        try:
            check_names(given, cls)
            return cls(**{name: _entry(name, value, path.parent) for name, value in given.items()})
        except CocoonError as error:
            raise BotError(f"{path}: {error}") from error

    @property
    def limits(self) -> BudgetLimits:
        return BudgetLimits(self.user_day_nano, self.all_day_nano, self.budgets)


def _entry(name: str, value: Any, directory: Path) -> Any:
    match name:
        case "market" | "token_file":
            return directory / Path(text(name, value)).expanduser()
        case "model":
            return text(name, value)
        case "bot_api":
            if not _URL.fullmatch(text(name, value)):
                raise BotError(f"bot_api must be the address of a Bot API server, not {value!r}")
            return value.rstrip("/")
        case "users":
            if not isinstance(value, list):
                raise BotError("users must be a list of Telegram's user numbers; the bot tells strangers theirs")
            return frozenset(whole("users", entry, 1, 1 << 62) for entry in value)
        case "budgets":
            if not isinstance(value, dict) or not all(user.isdecimal() for user in value):
                raise BotError("budgets must be a table of Telegram's user numbers and nanoTON a day")
            return {int(user): whole(f"budgets.{user}", nano, 0, _MOST_NANO) for user, nano in value.items()}
        case "user_day_nano" | "all_day_nano":
            return whole(name, value, 0, _MOST_NANO)
        case "edit_sec":
            return _number(name, value, 1.0, 60.0)  # Telegram's own limit for one chat
        case "answer_sec":
            return _number(name, value, 1.0, 86400.0)
    least, most = {
        "max_tokens": (1, 1 << 20), "context_turns": (0, 1000), "context_bytes": (0, 1 << 20), "at_once": (1, 10_000),
    }[name]  # fmt: skip
    return whole(name, value, least, most)


def _number(name: str, value: Any, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most:
        raise BotError(f"{name} must be a number from {least:g} to {most:g}, not {value!r}")
    return float(value)
