"""Checks that the entries of every settings file share: a mistake is named before anything starts.

Each takes the entry's name as the file writes it. The reader of the file says which file it was.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from .errors import CocoonError

__all__ = ["SettingError", "check_names", "check_needed", "flag", "table", "text", "whole"]


class SettingError(CocoonError):
    """An entry that is unknown, missing, of another type or out of bounds."""


def check_names(given: dict[str, Any], kind: Any, prefix: str = "") -> None:
    """SettingError unless every entry is a field of the dataclass `kind`."""
    known = [entry.name for entry in fields(kind)]
    if unknown := sorted(given.keys() - set(known)):
        names = ", ".join(prefix + name for name in unknown)
        raise SettingError(f"unknown settings {names}; known are {', '.join(known)}")


def check_needed(given: dict[str, Any], kind: Any, prefix: str = "") -> None:
    """SettingError unless every field of the dataclass `kind` that has no default is there."""
    needed = [entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING]
    if absent := [prefix + name for name in needed if name not in given]:
        raise SettingError(f"{', '.join(absent)} must be set")


def text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise SettingError(f"{name} must be a text in quotes, not {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingError(f"{name} must be true or false, not {value!r}")
    return value


def whole(name: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise SettingError(f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return value


def table(name: str, value: Any, contents: str = "entries") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingError(f"{name} must be a table: write [{name}] and its {contents} below")
    return value
